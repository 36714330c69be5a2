"""Fetching official files, only when asked: what a card needs, its size, what must be accepted, the files.

Nothing else in the library reaches for the network. `needed` is known offline, `inspect` asks the Hugging Face Hub
for sizes and access, `fetch` downloads. Printing, and asking before a download, is the command line's part.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Protocol

from cosmos_lab.config import Card
from cosmos_lab.runtime.checkpoints import WeightsError
from cosmos_lab.runtime.official import ORGANIZATION

HUB = "https://huggingface.co"
WAVELET_FILES = ("encoder.jit", "decoder.jit", "mean_std.pt")
TEXT_FILES = ("*.json", "*.model", "*.txt", "*.safetensors", "pytorch_model*.bin")
# The revisions that the official releases name, of a repository or one file; others are taken as they are.
REVISIONS = {
    "nvidia/Cosmos-Predict2-0.6B-Text2Image": "80e9f1599778499e9b5435179861871b5a3561d4",
    "nvidia/Cosmos-Predict2-2B-Text2Image": "acdb5fde992a73ef0355f287977d002cbfd127e0",
    "nvidia/Cosmos-Predict2-14B-Text2Image": "015332720f70dd7b497c1cff9fd0c936a77f160b",
    "nvidia/Cosmos-Predict2-2B-Video2World": "f50c09f5d8ab133a90cac3f4886a6471e9ba3f18",
    "nvidia/Cosmos-Predict2-14B-Video2World": "03b03a377fede782647afac998f674d9f358e319",
    "nvidia/Cosmos-Predict2.5-2B/tokenizer.pth": "6787e176dce74a101d922174a95dba29fa5f0c55",
    "google-t5/t5-11b": "90f37703b3334dfe9d2b009bfcbfbf1ac9d28ea3",
    "nvidia/Cosmos-Reason1-7B": "3210bec0495fdc7a8d3dbb8d58da5711eab4b423",
}


@dataclass(frozen=True, kw_only=True)
class Part:
    """Files of one repository: name patterns in it, its revision, and the folder under the root where they belong."""

    repository: str
    patterns: tuple[str, ...]
    revision: str
    folder: str

    @property
    def license_page(self) -> str:
        """Where the license is shown and, for a gated repository, accepted."""
        return f"{HUB}/{self.repository}"


@dataclass(frozen=True, kw_only=True)
class Offer:
    """A part as the Hub has it: (name, bytes) of its files, and whether access must be asked for on its page."""

    part: Part
    files: tuple[tuple[str, int], ...]
    gated: bool

    @property
    def num_bytes(self) -> int:
        return sum(size for _, size in self.files)


class Hub(Protocol):
    """What is asked of the Hugging Face Hub."""

    def describe(self, repository: str, revision: str) -> tuple[dict[str, int], bool]:
        """Bytes by file name, and whether the repository is gated."""
        ...

    def download(self, repository: str, revision: str, name: str, folder: Path) -> Path:
        """One file into a folder, under its own name."""
        ...


class HuggingFace:
    """The Hub through its client, with the token that `hf auth login` has stored."""

    def describe(self, repository: str, revision: str) -> tuple[dict[str, int], bool]:
        from huggingface_hub import HfApi

        try:
            info = HfApi().model_info(repository, revision=revision, files_metadata=True)
        except _failures() as error:
            raise WeightsError(f"{HUB}/{repository} cannot be asked: {error}. Check name, network and token") from error
        return {file.rfilename: file.size or 0 for file in info.siblings or ()}, bool(info.gated)

    def download(self, repository: str, revision: str, name: str, folder: Path) -> Path:
        from huggingface_hub import hf_hub_download
        from huggingface_hub.errors import GatedRepoError

        try:
            return Path(hf_hub_download(repository, name, revision=revision, local_dir=folder))
        except GatedRepoError as error:
            raise WeightsError(
                f"{repository} is gated: accept its license on {HUB}/{repository}, then log in with `hf auth login`"
            ) from error
        except _failures() as error:
            fix = "Check network and disk, then run the command again"
            raise WeightsError(f"{repository}/{name} was not downloaded: {error}. {fix}") from error


def _failures() -> tuple[type[Exception], ...]:
    """What the client raises without a network: its own errors, and those of the HTTP library that it builds on."""
    from huggingface_hub.errors import HfHubHTTPError

    # Its own error inherits from the library's, which is another one in each of its major versions.
    return (OSError, HfHubHTTPError, *HfHubHTTPError.__bases__)


def needed(card: Card) -> tuple[Part, ...]:
    """The parts of a card's official files, known without the network. Raises ValueError for a card that has none."""
    if "dit" not in card.files:
        raise ValueError(f"{card.name} comes with the library: there is nothing to download")
    merged: dict[tuple[str, str], Part] = {}
    for role in ("dit", "tokenizer", "text"):
        part = _part(role, card.files[role])
        known = merged.get((part.repository, part.revision))
        patterns = part.patterns if known is None else known.patterns + part.patterns
        merged[part.repository, part.revision] = Part(
            repository=part.repository, patterns=patterns, revision=part.revision, folder=part.folder
        )
    return tuple(merged.values())


def inspect(parts: Iterable[Part], hub: Hub | None = None) -> tuple[Offer, ...]:
    """Ask the Hub for names, sizes and access. Raises WeightsError where a repository lacks a file that is needed."""
    hub = hub or HuggingFace()
    return tuple(_offer(part, *hub.describe(part.repository, part.revision)) for part in parts)


def fetch(offers: Iterable[Offer], checkpoints: str | Path, hub: Hub | None = None) -> list[Path]:
    """Download what is not there yet in full size; returns the paths of all files.

    Raises WeightsError, for a gated repository with the page on which its license is accepted.
    """
    hub, paths = hub or HuggingFace(), []
    for offer in offers:
        folder = Path(checkpoints) / offer.part.folder
        for name, size in offer.files:
            path = folder / name
            if not (path.is_file() and path.stat().st_size == size):
                path = hub.download(offer.part.repository, offer.part.revision, name, folder)
            paths.append(path)
    return paths


def _part(role: str, file: str) -> Part:
    """A card's file, `ORGANIZATION/REPOSITORY/NAME` or, in the older layout, `REPOSITORY/NAME`."""
    bare = file.removeprefix(ORGANIZATION)
    depth = 2 if role == "text" and bare == file else 1
    folder = "/".join(bare.split("/")[:depth])
    name = bare.removeprefix(folder).lstrip("/")
    repository = folder if depth == 2 else ORGANIZATION + folder
    patterns = (name,) if name else TEXT_FILES if role == "text" else WAVELET_FILES
    revision = REVISIONS.get(f"{repository}/{name}", REVISIONS.get(repository, "main"))
    return Part(
        repository=repository, patterns=patterns, revision=revision,
        folder=file.removesuffix(name).rstrip("/") if name else file,
    )  # fmt: skip


def _offer(part: Part, sizes: dict[str, int], gated: bool) -> Offer:
    chosen = tuple((name, size) for name, size in sizes.items() if any(fnmatch(name, p) for p in part.patterns))
    absent = [pattern for pattern in part.patterns if "*" not in pattern and pattern not in sizes]
    if absent or not chosen:
        wanted = ", ".join(absent or part.patterns)
        raise WeightsError(f"{part.license_page} at {part.revision} has no {wanted}: was the repository changed?")
    return Offer(part=part, files=chosen, gated=gated)
