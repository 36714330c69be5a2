"""The stage `average`: weights between those of two folders, of the world model or of its critic."""

import json
from pathlib import Path

import torch

from cosmos_lab.files import sha256, write_json
from cosmos_lab.runtime.checkpoints import CRITIC, save_weights
from cosmos_lab.runtime.ranks import Ranks
from cosmos_lab.train.building import TEXT_ENCODER, build_critic, build_dit, build_text

# What is averaged together, by file.
PARTS = {
    "world": {"dit.safetensors": build_dit, TEXT_ENCODER: lambda folder, ranks: build_text(folder, ranks).model},
    "critic": {CRITIC: build_critic},
}
# What the two folders must have alike: words mean the same to both world models, and texts to both critics.
ALIKE = {"world": {"tokenizer.json": "words"}, "critic": {"tokenizer.json": "words", TEXT_ENCODER: "text encoders"}}


def check_average(folder: Path, share: float, part: str = "world") -> None:
    """Raises ValueError for a share outside 0 to 1, FileNotFoundError where a folder lacks what is averaged of `part`,
    "world" or "critic", or what it must have in common with the other one."""
    if not 0 <= share <= 1:
        raise ValueError(f"--share lies between 0, which changes nothing, and 1, not at {share:g}")
    missing = [name for name in (*PARTS[part], *ALIKE[part]) if not (folder / name).is_file()]
    if missing:
        raise FileNotFoundError(f"nothing to average: {folder} lacks {', '.join(missing)}; name another folder")


def check_alike(folder: Path, other: Path, part: str) -> None:
    """Raises ValueError where two folders have other words, or critics that learned from other text encoders."""
    for name, what in ALIKE[part].items():
        if (folder / name).read_bytes() != (other / name).read_bytes():
            raise ValueError(f"{folder} and {other} have other {what} ({name}): their weights have no mean")


@torch.no_grad()
def average(folder: Path, other: Path, share: float = 0.5, part: str = "world") -> None:
    """Moves transformer and text encoder of `folder` (part "world"), or its critic ("critic"), by `share` towards those
    of `other`, from which they were trained.

    Wortsman et al. 2022 (arXiv 2109.01903): on the straight line between weights and what was trained from them often
    lie better ones. To train on from there, remove `runs` first, whose state knows the weights of before. Raises what
    `check_average` and `check_alike` do, and ValueError for a second average.
    """
    for place in (other, folder):
        check_average(place, share, part)
    check_alike(folder, other, part)
    notes = folder / f"{part}_training.json"
    told = json.loads(notes.read_text()) if notes.is_file() else {}
    if "averaged" in told:
        raise ValueError(f"the weights in {folder} are averaged already; train them on, or restore them, first")
    made, ranks = {}, Ranks()
    for name, build in PARTS[part].items():
        made[name], theirs = build(folder, ranks), build(other, ranks)
        # Parameters, of which one that has two names counts once.
        for parameter, wanted in zip(made[name].parameters(), theirs.parameters(), strict=True):
            parameter.lerp_(wanted, share)
    origin = {name.removesuffix(".safetensors"): sha256(other / name) for name in made}
    told |= {"averaged": {"share": share, "with": origin}, "figures": {"before_averaging": told.get("figures", {})}}
    write_json(notes, told)
    for name, module in made.items():
        save_weights(folder / name, module, dtype=torch.float16)
