"""Models from the official layout of files, as the publisher's download scripts leave it under one root:

    nvidia/Cosmos-Predict2-2B-Video2World/model-720p-16fps.pt     a transformer, keys `net.` or `net_ema.`
    nvidia/Cosmos-Predict2-2B-Video2World/tokenizer/tokenizer.pth the Wan2.1 tokenizer of clips
    Cosmos-Tokenize1-CV8x8x8-720p/{encoder.jit,decoder.jit,mean_std.pt}   the wavelet tokenizer of clips
    google-t5/t5-11b/, nvidia/Cosmos-Reason1-7B/                  text encoders

A card names its files; the `nvidia/` may be left away or put in front.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from cosmos_lab.config import Card
from cosmos_lab.nn.dit import DiT
from cosmos_lab.nn.wan_vae import WanVAE, WanVAEConfig
from cosmos_lab.nn.wavelet_vae import WaveletVAE
from cosmos_lab.runtime.checkpoints import Model, WeightsError
from cosmos_lab.runtime.key_maps import dit_key_from_predict1
from cosmos_lab.runtime.lora import LORA_ALPHA, has_adapters, merge_lora
from cosmos_lab.runtime.matching import build, check, check_device, on_meta, without_prefix
from cosmos_lab.runtime.state_files import first_existing, read_pickle, read_state
from cosmos_lab.runtime.text_folders import AbsentTextEncoder, check_text, load_text
from cosmos_lab.runtime.tokenizer_keys import (
    statistics_from_mean_std,
    wan_vae_from_official,
    wavelet_vae_from_official,
)
from cosmos_lab.runtime.torchscript import read_torchscript

ORGANIZATION = "nvidia/"


@dataclass(frozen=True, kw_only=True)
class Lora:
    """Adapters to merge into the transformer: a file of their own (`path`), or those inside its checkpoint (None).

    `alpha` None stands for the generation's official value, 16 in Predict2 and 32 in Predict2.5.
    """

    path: str | Path | None = None
    alpha: float | None = None


def load_official(
    card: Card,
    checkpoints: str | Path = "checkpoints",
    *,
    device: str | torch.device = "cpu",
    dtype: torch.dtype = torch.float32,
    text_dtype: torch.dtype | None = None,
    dit_path: str | Path | None = None,
    ema: bool = False,
    lora: Lora | None = None,
    text_encoder: bool = True,
) -> Model:
    """Read a card's networks from official files, straight to a device and dtype.

    dit_path: another checkpoint of this transformer, as after post-training; `ema` takes its averaged weights.
    text_dtype: the text encoder's, None for the official one: float32 for T5, `dtype` for Reason1.
    text_encoder: False leaves it away; prompts are then given as embeddings.
    Raises ValueError for a device or dtype that is not there, and WeightsError naming file, key and fix; whether all
    files are there is checked before the first is read.
    """
    device = check_device(device, dtype)
    adapters = {} if lora is None or lora.path is None else {"lora": _lora_file(lora.path)}
    files = find_files(card, checkpoints, dit_path=dit_path, text_encoder=text_encoder) | adapters
    if text_encoder:
        check_text(files["text"], card.text)
    # The keys of the largest file are compared first, and its weights moved last: what is wrong shows in seconds.
    state = read_dit(card, files["dit"], ema=ema, lora=lora)
    vae = load_vae(card, files["tokenizer"], device=device, dtype=dtype)
    text = AbsentTextEncoder()
    if text_encoder:
        own = torch.float32 if card.text.kind == "t5" else dtype
        text = load_text(files["text"], card.text, device=device, dtype=text_dtype or own)
    dit = build(lambda: DiT(card.dit), state, files["dit"], device=device, dtype=dtype)
    return Model(card=card, dit=dit, vae=vae, text=text, digest=fingerprint(files.values(), choices=f"{ema} {lora}"))


def find_files(
    card: Card, checkpoints: str | Path, *, dit_path: str | Path | None = None, text_encoder: bool = True
) -> dict[str, Path]:
    """Where the card's files lie: "dit", "tokenizer", "text". Raises WeightsError listing all that is missing."""
    if "dit" not in card.files:
        raise WeightsError(f"{card.name} has no official files: load it by its name or folder, without checkpoints")
    wanted = [name for name in ("dit", "tokenizer", "text") if name != "text" or text_encoder]
    found, missing = {}, []
    for name in wanted:
        by_hand = name == "dit" and dit_path is not None
        places = [Path(dit_path)] if by_hand else _places(Path(checkpoints), card.files[name])
        there = next((place for place in places if place.exists()), None)
        if there is None:
            missing.append(f"{name}: {places[0]}" + (" (given as dit_path)" if by_hand else ""))
        else:
            found[name] = there
    if missing:
        lines = "\n  ".join(missing)
        fix = f"Download them (python -m cosmos_lab download {card.name}) or name their root with checkpoints="
        raise WeightsError(f"{card.name} lacks {len(missing)} of {len(wanted)} parts:\n  {lines}\n{fix}")
    return found


def is_present(card: Card, checkpoints: str | Path) -> bool:
    """Whether all official files of a card are there; nothing is read."""
    return all(any(place.exists() for place in _places(Path(checkpoints), file)) for file in card.files.values())


def load_dit(
    card: Card,
    path: str | Path,
    *,
    ema: bool = False,
    lora: Lora | None = None,
    device: str | torch.device = "cpu",
    dtype: torch.dtype = torch.float32,
) -> DiT:
    """The transformer of an official checkpoint. Raises WeightsError for keys without a place and missing ones."""
    state = read_dit(card, path, ema=ema, lora=lora)
    return build(lambda: DiT(card.dit), state, path, device=device, dtype=dtype)


def read_dit(card: Card, path: str | Path, *, ema: bool = False, lora: Lora | None = None) -> dict[str, Tensor]:
    """The transformer's tensors by our names, in the file until they are used. Raises WeightsError as `load_dit`."""
    state = _our_names(without_prefix(read_state(path), path, ema=ema))
    if lora is not None:
        state = _with_lora(card, state, path, lora)
    elif has_adapters(state):
        raise WeightsError(f"{path} holds LoRA adapters, which do nothing unless merged: pass lora=Lora() (--use_lora)")
    check(on_meta(lambda: DiT(card.dit)).state_dict(), state, path)
    return state


def load_vae(
    card: Card, path: str | Path, *, device: str | torch.device = "cpu", dtype: torch.dtype = torch.float32
) -> WanVAE | WaveletVAE:
    """The tokenizer of clips: `tokenizer.pth`, or the folder of the TorchScript archives."""
    if isinstance(card.tokenizer, WanVAEConfig):
        state = wan_vae_from_official(read_state(path))
        return build(lambda: WanVAE(card.tokenizer), state, path, device=device, dtype=dtype)
    state = _wavelet_state(card, Path(path))
    return build(lambda: WaveletVAE(card.tokenizer), state, path, device=device, dtype=dtype)


def fingerprint(paths: Iterable[Path], choices: str = "") -> str:
    """SHA-256 over the names, sizes and first and last MiB of the weight files: whole ones would take minutes.

    `choices` stands for what was made of them beside reading.
    """
    digest = hashlib.sha256(choices.encode())
    for path in paths:
        files = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
        for file in files:
            size = file.stat().st_size
            digest.update(f"{file.name} {size}\n".encode())
            with open(file, "rb") as content:
                digest.update(content.read(2**20))
                content.seek(max(0, size - 2**20))
                digest.update(content.read())
    return digest.hexdigest()


def _places(root: Path, relative: str) -> list[Path]:
    bare = relative.removeprefix(ORGANIZATION)
    return [root / name for name in dict.fromkeys((relative, bare, ORGANIZATION + bare))]


def _our_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Cosmos-1.0 and Predict1 name their blocks `blocks.block0`; later files have our names already."""
    if not any(key.startswith("blocks.block") for key in state):
        return dict(state)
    return {dit_key_from_predict1(key): value for key, value in state.items()}


def _lora_file(path: str | Path) -> Path:
    return first_existing([Path(path)], "LoRA file", "Check the path")


def _with_lora(card: Card, state: dict[str, Tensor], path: str | Path, lora: Lora) -> dict[str, Tensor]:
    alpha = LORA_ALPHA.get(card.generation) if lora.alpha is None else lora.alpha
    if alpha is None:
        raise ValueError(f"{card.generation} has no official LoRA alpha: name that of the training, Lora(alpha=...)")
    if lora.path is None:
        return merge_lora(state, state, alpha=alpha, source=path)
    adapters = _our_names(without_prefix(read_state(lora.path), lora.path))
    return merge_lora(state, adapters, alpha=alpha, source=lora.path)


def _wavelet_state(card: Card, folder: Path) -> dict[str, Tensor]:
    """encoder.jit and decoder.jit, or autoencoder.jit that holds both, with the statistics of mean_std.pt."""
    halves = [folder / "encoder.jit", folder / "decoder.jit"]
    whole = folder / "autoencoder.jit"
    files = halves if all(half.is_file() for half in halves) or not whole.is_file() else [whole]
    statistics = read_pickle(first_existing([folder / "mean_std.pt"], "file of latent statistics", "Download it again"))
    if not (isinstance(statistics, tuple | list) and len(statistics) == 2):
        raise WeightsError(f"{folder / 'mean_std.pt'} holds no pair of mean and std: is it the file of this tokenizer?")
    length, channels = card.tokenizer.num_statistics, card.tokenizer.latent_channels
    try:
        mean, std = statistics_from_mean_std(*statistics, num_latent_frames=length, num_channels=channels)
    except ValueError as error:
        raise WeightsError(f"{folder / 'mean_std.pt'}: {error}") from error
    state = {key: value for file in files for key, value in read_torchscript(file).items()}
    return wavelet_vae_from_official(state, mean=mean, std=std)
