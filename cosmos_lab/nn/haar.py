"""The 3-D Haar transform that the wavelet tokenizer uses as its first and last layer.

One level turns every 2x2x2 cube of a channel into eight sub-bands. With s = +1 for a low-pass letter and s = -1 for a
high-pass one, the band (time, height, width) is the sum over the cube of x[i, j, k] * s_t^i * s_h^j * s_w^k, divided by
8: band LLL is the mean of the cube. The inverse is the same butterfly without the division.

The official code multiplies by sqrt(1/2) along each axis instead, and divides or multiplies by sqrt(8) per level. That
is the same in real numbers, but not in half precision, where sqrt(1/2) is 181/256 and each axis rounds.
"""

import math
from collections.abc import Callable

import torch
from einops import rearrange, repeat
from torch import Tensor

from cosmos_lab.nn.official_rounding import rounds_officially

_ROUNDED_SQRT_HALF = 181 / 256  # in bfloat16 and in float16 alike


def haar_analysis(x: Tensor, patch_size: int) -> Tensor:
    """Transform log2(p) levels, (B, C, T, H, W) -> (B, p^3 * C, T/p, H/p, W/p); bands lead channels, LLL first."""
    for _ in range(levels_of(patch_size)):
        x = _split(x, _analysis_filters) / math.sqrt(8) if rounds_officially(x) else _split(x, _butterfly) / 8
    return x


def haar_synthesis(x: Tensor, patch_size: int) -> Tensor:
    """Invert `haar_analysis`, (B, p^3 * C, T, H, W) -> (B, C, T * p, H * p, W * p)."""
    for _ in range(levels_of(patch_size)):
        x = _merge(x, _synthesis_filters) * math.sqrt(8) if rounds_officially(x) else _merge(x, _butterfly)
    return x


def patch(pixels: Tensor, patch_size: int) -> Tensor:
    """Patch a causal clip: pixel frame 0, repeated, fills the first patch, and p pixel frames fill each other one.

    (B, C, 1 + p*k, H, W) -> (B, p^3 * C, 1 + k, H/p, W/p).
    """
    first = repeat(pixels[:, :, :1], "b c 1 h w -> b c p h w", p=patch_size)
    return haar_analysis(torch.cat([first, pixels[:, :, 1:]], dim=2), patch_size)


def unpatch(x: Tensor, patch_size: int) -> Tensor:
    """Invert `patch`: (B, p^3 * C, 1 + k, H/p, W/p) -> (B, C, 1 + p*k, H, W), repeats of pixel frame 0 dropped."""
    return haar_synthesis(x, patch_size)[:, :, patch_size - 1 :]


def levels_of(patch_size: int) -> int:
    """Return log2(patch_size); ValueError unless it is a power of two."""
    if patch_size < 1 or patch_size & (patch_size - 1):
        raise ValueError(f"patch_size must be a power of two, not {patch_size}: use 1, 2, 4 or 8")
    return patch_size.bit_length() - 1


def _butterfly(x: Tensor) -> Tensor:
    return torch.stack([x[0] + x[1], x[0] - x[1]])


def _analysis_filters(x: Tensor) -> Tensor:
    """As a convolution does: the products are added in float32, and the sum is rounded."""
    return _butterfly(x.float() * _ROUNDED_SQRT_HALF).to(x.dtype)


def _synthesis_filters(x: Tensor) -> Tensor:
    """As one transposed convolution per band does: each product is rounded, and so is their sum."""
    return _butterfly(x * _ROUNDED_SQRT_HALF)


def _split(x: Tensor, pair: Callable[[Tensor], Tensor]) -> Tensor:
    x = pair(rearrange(x, "b c (t p) h w -> p b c t h w", p=2))
    x = pair(rearrange(x, "i b c t (h p) w -> p i b c t h w", p=2))
    x = pair(rearrange(x, "j i b c t h (w p) -> p i j b c t h w", p=2))
    return rearrange(x, "k i j b c t h w -> b (i j k c) t h w")


def _merge(x: Tensor, pair: Callable[[Tensor], Tensor]) -> Tensor:
    x = pair(rearrange(x, "b (i j k c) t h w -> k i j b c t h w", i=2, j=2, k=2))
    x = pair(rearrange(x, "k i j b c t h w -> j i b c t h (w k)"))
    x = pair(rearrange(x, "j i b c t h w -> i b c t (h j) w"))
    return rearrange(x, "i b c t h w -> b c (t i) h w")
