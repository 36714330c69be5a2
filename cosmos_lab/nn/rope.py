"""Rotary position embedding over latent time, height and width (RoPE-3D).

Each head is cut into a time, a height and a width part. Feature pair i of an axis part of size d turns by
`position · theta^(-2i/d)`, with `theta = 10000 · ratio^(d/(d-2))`: a ratio above 1 slows the rotation, so that a
network trained on small grids extrapolates to larger ones. Because q and k turn alike, their product depends on
the difference of positions only.

The official systems round the tables in different places and their weights are used to it; `ROPE_DTYPES` names them.
"""

from dataclasses import dataclass
from typing import Literal, get_args

import torch
from einops import rearrange, repeat
from torch import Tensor

BASE_THETA = 10000.0
BASE_FPS = 24.0

# float32: nothing is rounded. bfloat16: exponents, frequencies, positions and angles are each rounded.
# bfloat16_exponents: only the exponents 2i/d are.
RopeDtype = Literal["float32", "bfloat16", "bfloat16_exponents"]
ROPE_DTYPES: tuple[str, ...] = get_args(RopeDtype)

Grid = tuple[int, int, int]


@dataclass(frozen=True)
class Rope:
    """Cosines and sines of the angles, float32 (L, 1, D/2): one row a token, broadcast over heads.

    The two halves of a head share their angles, so half a head is stored.
    """

    cos: Tensor
    sin: Tensor


def axis_sizes(head_dim: int) -> tuple[int, int, int]:
    """Features of a head per (time, height, width): height and width get a third each, rounded down to even."""
    spatial = head_dim // 6 * 2
    return head_dim - 2 * spatial, spatial, spatial


def axis_frequencies(size: int, ratio: float, rope_dtype: RopeDtype, device: torch.device) -> Tensor:
    """Angles per unit of position of one axis, (size / 2,)."""
    theta = BASE_THETA * ratio ** (size / (size - 2))
    exponents = torch.arange(0, size, 2, dtype=torch.float32, device=device) / size
    if rope_dtype != "float32":
        exponents = exponents.bfloat16()
    if rope_dtype == "bfloat16_exponents":
        exponents = exponents.float()
    return 1.0 / theta**exponents


def axis_positions(length: int, dtype: torch.dtype, device: torch.device, fps: Tensor | None = None) -> Tensor:
    """0, 1, … (length,); with fps, in units of 1/24 second: index / fps · 24. Each operation rounds to dtype."""
    positions = torch.arange(length, dtype=torch.float32, device=device).to(dtype)
    return positions if fps is None else positions / fps.to(dtype) * BASE_FPS


def axis_angles(
    length: int,
    size: int,
    ratio: float,
    rope_dtype: RopeDtype = "float32",
    device: torch.device | str = "cpu",
    fps: Tensor | None = None,
) -> Tensor:
    """Angles of one axis, float32 (length, size / 2)."""
    frequencies = axis_frequencies(size=size, ratio=ratio, rope_dtype=rope_dtype, device=device)
    positions = axis_positions(length=length, dtype=frequencies.dtype, device=device, fps=fps)
    return torch.outer(positions, frequencies).float()


def rope_angles(
    grid: Grid,
    head_dim: int,
    ratio: tuple[float, float, float],
    rope_dtype: RopeDtype = "float32",
    device: torch.device | str = "cpu",
    fps: Tensor | float | None = None,
) -> Tensor:
    """Angles of all tokens of a (T, h, w) grid, float32 (T·h·w, head_dim / 2): time slowest in both axes.

    `fps` (a number, or a tensor whose first element counts) scales time to seconds · 24; None leaves it an index.
    """
    if fps is not None:
        fps = torch.as_tensor(fps, device=device).flatten()[:1]
    tables = [
        axis_angles(length=length, size=size, ratio=axis_ratio, rope_dtype=rope_dtype, device=device, fps=axis_fps)
        for length, size, axis_ratio, axis_fps in zip(grid, axis_sizes(head_dim), ratio, (fps, None, None), strict=True)
    ]
    t, h, w = grid
    time = repeat(tables[0], "t d -> (t h w) d", h=h, w=w)
    height = repeat(tables[1], "h d -> (t h w) d", t=t, w=w)
    width = repeat(tables[2], "w d -> (t h w) d", t=t, h=h)
    return torch.cat([time, height, width], dim=-1)


def rope_from_angles(angles_L_D: Tensor) -> Rope:
    """The rotation by given angles (L, D/2)."""
    angles_L_1_D = rearrange(angles_L_D, "l d -> l 1 d")
    return Rope(cos=angles_L_1_D.cos(), sin=angles_L_1_D.sin())


def apply_rope(x_B_L_H_D: Tensor, rope: Rope) -> Tensor:
    """Turns feature pairs (i, i + D/2) of every head by the token's angles, in float32; returns the dtype of x."""
    x1, x2 = x_B_L_H_D.float().chunk(2, dim=-1)
    turned = torch.cat([x1 * rope.cos - x2 * rope.sin, x2 * rope.cos + x1 * rope.sin], dim=-1)
    return turned.to(x_B_L_H_D.dtype)
