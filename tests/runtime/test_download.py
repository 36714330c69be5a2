"""What would be downloaded, from a Hub that lives in a dictionary: no test reaches for the network."""

from pathlib import Path

import pytest

from cosmos_lab import catalog
from cosmos_lab.runtime.checkpoints import WeightsError
from cosmos_lab.runtime.download import HuggingFace, fetch, inspect, needed
from cosmos_lab.runtime.official import find_files

V2W = "predict2-2b-video2world-720p-16fps"


class Shelf:
    """A Hub of made-up files."""

    def __init__(self, repositories, gated=()):
        self.repositories, self.gated, self.downloads = repositories, gated, []

    def describe(self, repository, revision):
        return dict(self.repositories[repository]), repository in self.gated

    def download(self, repository, revision, name, folder):
        self.downloads.append((repository, revision, name))
        path = Path(folder) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes(self.repositories[repository][name]))
        return path


def shelf_for(card, **options):
    repositories = {}
    for part in needed(card):
        names = [pattern for pattern in part.patterns if "*" not in pattern] + [
            "config.json",
            "tf_model.h5",
            "README.md",
        ]
        # Two revisions of a repository are one here.
        files = repositories.setdefault(part.repository, {})
        files |= {name: 10 + i for i, name in enumerate(names, start=len(files))}
    return Shelf(repositories, **options)


@pytest.mark.parametrize("name", [name for name, card in catalog.cards().items() if "dit" in card.files])
def test_every_card_finds_what_was_downloaded_for_it(name, tmp_path):
    card = catalog.card(name)
    shelf = shelf_for(card)
    fetch(inspect(needed(card), shelf), tmp_path, shelf)
    found = find_files(card, tmp_path)
    assert found.keys() == {"dit", "tokenizer", "text"}
    assert not list(tmp_path.rglob("tf_model.h5")) and not list(tmp_path.rglob("README.md"))


def test_repositories_revisions_and_pages():
    dit, text = needed(catalog.card(V2W))
    assert dit.repository == "nvidia/Cosmos-Predict2-2B-Video2World"
    assert dit.patterns == ("model-720p-16fps.pt", "tokenizer/tokenizer.pth")
    assert dit.revision == "f50c09f5d8ab133a90cac3f4886a6471e9ba3f18"
    assert dit.license_page == "https://huggingface.co/nvidia/Cosmos-Predict2-2B-Video2World"
    assert text.repository == text.folder == "google-t5/t5-11b"
    newer = needed(catalog.card("predict2.5-2b-post-trained"))
    assert newer[0].repository == newer[1].repository and newer[1].patterns == ("tokenizer.pth",)
    assert [part.revision for part in newer[:2]] == ["main", "6787e176dce74a101d922174a95dba29fa5f0c55"]
    older = needed(catalog.card("predict1-7b-text2world"))
    assert [part.repository for part in older] == [
        "nvidia/Cosmos-Predict1-7B-Text2World", "nvidia/Cosmos-Tokenize1-CV8x8x8-720p", "google-t5/t5-11b",
    ]  # fmt: skip
    assert older[1].folder == "Cosmos-Tokenize1-CV8x8x8-720p"


def test_sizes_and_gates_are_known_before_anything_is_fetched():
    card = catalog.card(V2W)
    shelf = shelf_for(card, gated=("nvidia/Cosmos-Predict2-2B-Video2World",))
    dit, text = inspect(needed(card), shelf)
    assert dit.gated and not text.gated and dit.num_bytes == 10 + 11 and not shelf.downloads


def test_what_is_there_is_not_fetched_again_but_what_is_cut_off_is(tmp_path):
    card = catalog.card(V2W)
    shelf = shelf_for(card)
    offers = inspect(needed(card), shelf)
    first = fetch(offers, tmp_path, shelf)
    count = len(shelf.downloads)
    assert fetch(offers, tmp_path, shelf) == first and len(shelf.downloads) == count
    first[0].write_bytes(b"cut")
    fetch(offers, tmp_path, shelf)
    assert shelf.downloads[count:] == [shelf.downloads[0]] and first[0].stat().st_size == 10


def test_a_repository_without_the_file_and_a_card_without_files_are_errors():
    card = catalog.card(V2W)
    shelf = shelf_for(card)
    del shelf.repositories["nvidia/Cosmos-Predict2-2B-Video2World"]["model-720p-16fps.pt"]
    with pytest.raises(WeightsError, match="has no model-720p-16fps.pt"):
        inspect(needed(card), shelf)
    with pytest.raises(ValueError, match="nothing to download"):
        needed(catalog.card("nano"))


def offline():
    """What the client may raise without a network, with the HTTP library that it uses."""
    from huggingface_hub import errors

    library = pytest.importorskip(errors.HfHubHTTPError.__bases__[0].__module__.partition(".")[0])
    name = "ConnectError" if hasattr(library, "ConnectError") else "ConnectionError"
    raised = (getattr(library, name), errors.OfflineModeIsEnabled, errors.LocalEntryNotFoundError, OSError)
    return [kind("no route") for kind in raised]


@pytest.mark.parametrize("number", range(4))
def test_without_a_network_the_fix_is_said(monkeypatch, tmp_path, number):
    def fails(*_, **__):
        raise offline()[number]

    monkeypatch.setattr("huggingface_hub.HfApi.model_info", fails)
    monkeypatch.setattr("huggingface_hub.hf_hub_download", fails)
    with pytest.raises(WeightsError, match="cannot be asked: .* Check name, network and token"):
        HuggingFace().describe("nvidia/some", "main")
    with pytest.raises(WeightsError, match="some/model.pt was not downloaded: .* Check network and disk, then run"):
        HuggingFace().download("nvidia/some", "main", "model.pt", tmp_path)
