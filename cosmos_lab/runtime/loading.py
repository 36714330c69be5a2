"""One door for all weights: a card's name, a folder of this library, or a folder in diffusers' layout."""

from pathlib import Path

import torch

from cosmos_lab import catalog
from cosmos_lab.conventions import apply
from cosmos_lab.nn.attention import attend_by, named_attention
from cosmos_lab.runtime.checkpoints import MANIFEST, Model, WeightsError, find_folder, load_model
from cosmos_lab.runtime.diffusers_folder import INDEX, is_diffusers_folder, load_diffusers
from cosmos_lab.runtime.official import Lora, load_official


def load_any(
    name: str | Path,
    *,
    checkpoints: str | Path | None = None,
    device: str | torch.device = "cpu",
    dtype: torch.dtype = torch.float32,
    text_dtype: torch.dtype | None = None,
    conventions: str = "official",
    dit_path: str | Path | None = None,
    ema: bool = False,
    lora: Lora | None = None,
    text_encoder: bool = True,
    like: str | None = None,
    attention: str = "auto",
) -> Model:
    """Read a model by its card's name or from a folder; the options are those of `load_official` and `load_diffusers`.

    attention: see `nn.attention.ATTENTIONS`. Raises ValueError for an unknown name and for an option that this kind of
    model would ignore, WeightsError for files that are missing, damaged or another model's.
    """
    attend = named_attention(attention)
    folder, card = Path(name), catalog.cards().get(str(name))
    by_hand = {"checkpoints": checkpoints, "dit_path": dit_path, "ema": ema, "lora": lora}
    if is_diffusers_folder(folder):
        _refuse(by_hand, f"the diffusers folder {folder}")
        model = load_diffusers(
            folder, device=device, dtype=dtype, text_dtype=text_dtype, text_encoder=text_encoder, like=like
        )
    elif (folder / MANIFEST).is_file() or (card is not None and "folder" in card.files):
        _refuse(by_hand | {"text_dtype": text_dtype, "like": like}, f"{name}, which is a whole folder of its own,")
        model = load_model(find_folder(card.name) if card else folder, device=device, dtype=dtype)
    elif folder.is_dir() and card is None:
        raise WeightsError(f"{folder} holds no model: neither {MANIFEST} nor diffusers' {INDEX}. Name another folder")
    else:
        _refuse({"like": like}, f"{name}, which samples as its own card says,")
        model = load_official(
            catalog.card(str(name)), "checkpoints" if checkpoints is None else checkpoints, device=device, dtype=dtype,
            text_dtype=text_dtype, dit_path=dit_path, ema=ema, lora=lora, text_encoder=text_encoder,
        )  # fmt: skip
    attend_by(model.dit, attend)
    return apply(model, conventions)


def _refuse(options: dict[str, object], what: str) -> None:
    """An explicit choice that would not be used is an error, not a shrug."""
    unused = [name for name, value in options.items() if value]
    if unused:
        raise ValueError(f"{what} does not use {', '.join(unused)}: leave it out, or load the card of those weights")
