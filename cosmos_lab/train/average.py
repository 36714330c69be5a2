"""The stage `average`: transformer and text encoder between two folders."""

import json
from pathlib import Path

import torch

from cosmos_lab.files import sha256, write_json
from cosmos_lab.runtime.checkpoints import save_weights
from cosmos_lab.runtime.ranks import Ranks
from cosmos_lab.train.building import build_dit, build_text

AVERAGED = ("dit", "text_encoder")


def check_average(folder: Path, share: float) -> None:
    """Raises ValueError for a share outside 0 to 1, FileNotFoundError where a folder lacks what is averaged."""
    if not 0 <= share <= 1:
        raise ValueError(f"--share lies between 0, which changes nothing, and 1, not at {share:g}")
    missing = [name for name in (*(f"{part}.safetensors" for part in AVERAGED), "tokenizer.json")
               if not (folder / name).is_file()]  # fmt: skip
    if missing:
        raise FileNotFoundError(f"nothing to average: {folder} lacks {', '.join(missing)}; name another folder")


@torch.no_grad()
def average(folder: Path, other: Path, share: float = 0.5) -> None:
    """Moves transformer and text encoder of `folder` by `share` towards those of `other`, from which they were trained.

    Wortsman et al. 2022 (arXiv 2109.01903): on the straight line between weights and what was trained from them often
    lie better ones. To train on from there, remove `runs` first, whose state knows the weights of before. Raises what
    `check_average` does, and ValueError for other words and for a second average.
    """
    check_average(other, share)
    check_average(folder, share)
    notes = folder / "world_training.json"
    told = json.loads(notes.read_text()) if notes.is_file() else {}
    if "averaged" in told:
        raise ValueError(f"the weights in {folder} are averaged already; train them on, or restore them, first")
    if (folder / "tokenizer.json").read_bytes() != (other / "tokenizer.json").read_bytes():
        raise ValueError(f"{folder} and {other} have other words (tokenizer.json): their weights have no mean")
    ranks = Ranks()
    modules = [(build_dit(place, ranks), build_text(place, ranks).model) for place in (folder, other)]
    for mine, theirs in zip(*modules, strict=True):
        # Parameters, of which one that has two names counts once.
        for parameter, wanted in zip(mine.parameters(), theirs.parameters(), strict=True):
            parameter.lerp_(wanted, share)
    origin = {name: sha256(other / f"{name}.safetensors") for name in AVERAGED}
    told |= {"averaged": {"share": share, "with": origin}, "figures": {"before_averaging": told.get("figures", {})}}
    write_json(notes, told)
    for name, mine in zip(AVERAGED, modules[0], strict=True):
        save_weights(folder / f"{name}.safetensors", mine, dtype=torch.float16)
