"""Names of tokenizer weights: official and diffusers state dicts -> complete state dicts of `WaveletVAE` and `WanVAE`.

Our names are the official ones; what the files lack, and our modules hold as buffers, are the latent statistics, so
every function adds them and its result loads with `strict=True`.
"""

import json
import re
from collections.abc import Mapping
from importlib.resources import files

import torch
from einops import rearrange
from torch import Tensor

from cosmos_lab.nn.wan_vae import WAN_LATENT_MEAN, WAN_LATENT_STD

# The Haar filters, which the official files carry as buffers and `nn.haar` computes.
_HAAR_CONSTANT = re.compile(r"\.(patcher3d|unpatcher3d)\.")

_WAVELET_FROM_DIFFUSERS = (
    (r"\.down_blocks\.(\d+)\.", r".down.\1."),
    (r"\.resnets\.(\d+)\.", r".block.\1."),
    (r"\.downsamplers\.0\.(conv\d)\.", r".downsample.\1.conv3d."),
    (r"\.upsamplers\.0\.(conv\d)\.", r".upsample.\1.conv3d."),
    (r"\.mid_block\.block\.0\.", ".mid.block_1."),
    (r"\.mid_block\.block\.1\.", ".mid.block_2."),
    (r"\.mid_block\.attentions\.0\.", ".mid.attn_1.0."),
    (r"\.mid_block\.temp_attentions\.0\.", ".mid.attn_1.1."),
    (r"\.to_([qkv])\.", r".\1.conv3d."),
    (r"\.to_out\.0\.", ".proj_out.conv3d."),
    (r"\.conv_s\.", ".0.conv3d."),
    (r"\.conv_t\.", ".1.conv3d."),
    (r"\.conv_shortcut\.", ".nin_shortcut.conv3d."),
    (r"^((?:post_)?quant_conv)\.", r"\1.conv3d."),
)

_WAN_FROM_DIFFUSERS = (
    (r"\.norm1\.", ".residual.0."),
    (r"\.conv1\.", ".residual.2."),
    (r"\.norm2\.", ".residual.3."),
    (r"\.conv2\.", ".residual.6."),
    (r"\.conv_shortcut\.", ".shortcut."),
    (r"\.mid_block\.resnets\.0\.", ".middle.0."),
    (r"\.mid_block\.attentions\.0\.", ".middle.1."),
    (r"\.mid_block\.resnets\.1\.", ".middle.2."),
    (r"\.down_blocks\.", ".downsamples."),
    (r"\.conv_in\.", ".conv1."),
    (r"\.norm_out\.", ".head.0."),
    (r"\.conv_out\.", ".head.2."),
    (r"^quant_conv\.", "conv1."),
    (r"^post_quant_conv\.", "conv2."),
)


def wavelet_vae_from_official(state: Mapping[str, Tensor], *, mean: Tensor, std: Tensor) -> dict[str, Tensor]:
    """Return a `WaveletVAE` state dict from the tensors of encoder.jit and decoder.jit (merged) or of autoencoder.jit.

    mean, std: (16, latent frames of a chunk), from `statistics_from_mean_std` or `cosmos_latent_statistics`.
    """
    return {key: value for key, value in state.items() if not _HAAR_CONSTANT.search(key)} | _statistics(mean, std)


def wavelet_vae_from_diffusers(state: Mapping[str, Tensor], *, mean: Tensor, std: Tensor) -> dict[str, Tensor]:
    """Return a `WaveletVAE` state dict from diffusers' `AutoencoderKLCosmos`; mean, std: (16, 16) as above."""
    last = max((int(match[1]) for key in state if (match := re.search(r"\.up_blocks\.(\d+)\.", key))), default=0)
    # diffusers counts the decoder's levels in the order in which they run, the official code by resolution.
    reverse = (r"\.up_blocks\.(\d+)\.", lambda match: f".up.{last - int(match[1])}.")
    return _renamed(state, (reverse, *_WAVELET_FROM_DIFFUSERS)) | _statistics(mean, std)


def wan_vae_from_official(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return a `WanVAE` state dict from the tensors of tokenizer.pth, with Wan2.1's latent statistics."""
    return dict(state) | _statistics(torch.tensor(WAN_LATENT_MEAN), torch.tensor(WAN_LATENT_STD))


def wan_vae_from_diffusers(
    state: Mapping[str, Tensor], *, mean: Tensor | None = None, std: Tensor | None = None
) -> dict[str, Tensor]:
    """Return a `WanVAE` state dict from diffusers' `AutoencoderKLWan`.

    mean, std: (16,), `latents_mean` and `latents_std` of the folder's config; None stands for Wan2.1's.
    """
    blocks = [int(match[1]) for key in state if (match := re.search(r"\.up_blocks\.\d+\.resnets\.(\d+)\.", key))]
    resnets = max(blocks, default=0) + 1  # The official list is flat: each level is its resnets and one upsampler.
    flat = (
        (r"\.up_blocks\.(\d+)\.resnets\.(\d+)\.", lambda m: f".upsamples.{int(m[1]) * (resnets + 1) + int(m[2])}."),
        (r"\.up_blocks\.(\d+)\.upsamplers\.0\.", lambda m: f".upsamples.{int(m[1]) * (resnets + 1) + resnets}."),
    )
    mean = torch.tensor(WAN_LATENT_MEAN) if mean is None else mean
    std = torch.tensor(WAN_LATENT_STD) if std is None else std
    return _renamed(state, (*flat, *_WAN_FROM_DIFFUSERS)) | _statistics(mean, std)


def cosmos_latent_statistics() -> tuple[Tensor, Tensor]:
    """Return Cosmos CV8x8x8's published (mean, std), each (16 channels, 16 latent frames of a chunk)."""
    text = (files("cosmos_lab") / "constants" / "cosmos_cv8x8x8_latent_statistics.json").read_text()
    values = json.loads(text)
    mean, std = (torch.tensor(values[name]) for name in ("latents_mean", "latents_std"))
    return statistics_from_mean_std(mean, std, num_latent_frames=16)


def statistics_from_mean_std(
    mean: Tensor, std: Tensor, *, num_latent_frames: int, num_channels: int = 16
) -> tuple[Tensor, Tensor]:
    """Return (channels, num_latent_frames) statistics from mean_std.pt's channel-major tensors of any shape.

    Raises:
        ValueError: the tensors hold fewer than num_latent_frames values per channel.
    """
    if mean.shape != std.shape or mean.numel() % num_channels or mean.numel() // num_channels < num_latent_frames:
        raise ValueError(
            f"mean_std of shapes {tuple(mean.shape)}, {tuple(std.shape)} does not hold {num_channels} channels x "
            f"{num_latent_frames} latent frames: is it the mean_std.pt of this tokenizer?"
        )
    flat = (rearrange(value.reshape(-1), "(c t) -> c t", c=num_channels) for value in (mean, std))
    mean, std = (value[:, :num_latent_frames].contiguous() for value in flat)
    return mean, std


def _statistics(mean: Tensor, std: Tensor) -> dict[str, Tensor]:
    mean, std = (rearrange(value if value.ndim == 2 else value[:, None], "c t -> c t 1 1") for value in (mean, std))
    return {"latent_mean": mean, "latent_std": std}


def _renamed(state: Mapping[str, Tensor], rules: tuple) -> dict[str, Tensor]:
    return {_rename(key, rules): value for key, value in state.items()}


def _rename(key: str, rules: tuple) -> str:
    for pattern, replacement in rules:
        key = re.sub(pattern, replacement, key)
    return key
