"""The stage of a nano world: lights, sky and floors.

Colors are linear RGB. Every floor pattern is band-limited: a pattern is averaged analytically over the footprint of
the sample that looks at it, so detail fades with distance and never turns into grain or moiré.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from .rays import Vec
from .scene import FLOORS

Color = tuple[float, float, float]
Extent = tuple[Tensor, Tensor]

NUM_WAVES = 6
TEXTURE_COLUMNS = 4 + 3 * NUM_WAVES


@dataclass(frozen=True, kw_only=True)
class Light:
    """A sun with an angular radius (tangent) and a sky. `elevation` in degrees; `zenith`, `horizon` are seen,
    `ambient` falls on surfaces from above and `bounce` from below. `rays` shadow rays go out from every sample."""

    elevation: float
    sun: Color
    radius: float
    rays: int
    ambient: Color
    bounce: Color
    zenith: Color
    horizon: Color


LIGHT = {
    "noon": Light(
        elevation=54.0, sun=(0.92, 0.89, 0.83), radius=0.012, rays=1,
        ambient=(0.35, 0.37, 0.41), bounce=(0.27, 0.26, 0.25), zenith=(0.30, 0.54, 0.90), horizon=(0.76, 0.86, 0.95),
    ),
    "soft": Light(
        elevation=66.0, sun=(0.62, 0.62, 0.62), radius=0.24, rays=4,
        ambient=(0.58, 0.59, 0.61), bounce=(0.36, 0.36, 0.36), zenith=(0.58, 0.63, 0.70), horizon=(0.82, 0.85, 0.88),
    ),
    "evening": Light(
        elevation=24.0, sun=(1.22, 0.93, 0.66), radius=0.018, rays=1,
        ambient=(0.34, 0.35, 0.42), bounce=(0.25, 0.22, 0.19), zenith=(0.30, 0.38, 0.66), horizon=(0.98, 0.74, 0.52),
    ),
}  # fmt: skip

# How strongly a floor mirrors when looked at from above, and how far above the floor (metres) its mirror image fades.
MIRROR = {
    "checker": (0.20, 2.5),
    "wood": (0.055, 0.8),
    "concrete": (0.045, 0.4),
    "grass": (0.0, 0.1),
    "sand": (0.0, 0.1),
}

FLOOR_NUMBER = {floor: number for number, floor in enumerate(FLOORS)}

HAZE = 20.0  # metres at which haze has taken 63 % of the floor


def sky(direction_z: Tensor, zenith: Vec, horizon: Vec) -> Vec:
    """Gradient from the horizon to the zenith, steepest at the horizon; below the horizon it stays flat."""
    rise = 1 - torch.exp(-3.0 * direction_z.clamp_min(0.0))
    return tuple(h + (z - h) * rise for z, h in zip(zenith, horizon))


def haze(distance: Tensor) -> Tensor:
    """Share of horizon color at a distance in metres; the scene itself, within some eight metres, stays clear."""
    return 1 - torch.exp(-((distance / HAZE) ** 3))


def texture(seed: int) -> np.ndarray:
    """Per-clip pattern parameters (TEXTURE_COLUMNS,): offset x, y, scale, tone, then wave vectors and phases."""
    rng = np.random.default_rng([seed, 0x5A6E])
    angle = rng.uniform(0, 2 * math.pi) + np.arange(NUM_WAVES) * math.pi * 0.618 + rng.uniform(-0.2, 0.2, NUM_WAVES)
    k = 2 * math.pi / np.geomspace(1.9, 0.55, NUM_WAVES)
    phase = rng.uniform(0, 2 * math.pi, NUM_WAVES)
    head = [*rng.uniform(-5, 5, 2), rng.uniform(0.92, 1.08), rng.uniform(-1, 1)]
    return np.concatenate([head, k * np.cos(angle), k * np.sin(angle), phase])


def sun_direction(light: str, seed: int) -> np.ndarray:
    """Unit vector (3,) towards the sun, which stands behind the default camera's left or right shoulder."""
    rng = np.random.default_rng([seed, 0x51A7])
    low, high = (50, 75) if light == "evening" else (25, 60)
    azimuth = math.radians(-90 + rng.choice([-1, 1]) * rng.uniform(low, high))
    elevation = math.radians(LIGHT[light].elevation + rng.uniform(-4, 4))
    flat = math.cos(elevation)
    return np.array([flat * math.cos(azimuth), flat * math.sin(azimuth), math.sin(elevation)])


def floor_albedo(floor: str, x: Tensor, y: Tensor, wide: Extent, parts: tuple[Tensor, ...]) -> Vec:
    """Albedo of a floor at (x, y), averaged over the sample's footprint.

    `wide` holds the footprint's extent along x and along y (metres); `parts` the columns of `texture`.
    """
    return _PATTERNS[floor](x, y, wide, parts)


def _mix(a: Color, b: Color, share: Tensor) -> Vec:
    return tuple(p + (q - p) * share for p, q in zip(a, b))


def _wave(phase: Tensor, kx: Tensor | float, ky: Tensor | float, wide: Extent) -> Tensor:
    """cos(phase) averaged over a Gaussian footprint: its contrast falls as exp(-(k w)² / 2)."""
    blur = (kx * wide[0]) ** 2 + (ky * wide[1]) ** 2
    return torch.cos(phase) * torch.exp(-0.18 * blur)


def _mottle(x: Tensor, y: Tensor, wide: Extent, parts: tuple[Tensor, ...], finer: float) -> Tensor:
    """Low-frequency variation within about [-1, 1]: plane waves, each bent a little by the first."""
    kx, ky, phase = parts[4 : 4 + NUM_WAVES], parts[4 + NUM_WAVES : 4 + 2 * NUM_WAVES], parts[4 + 2 * NUM_WAVES :]
    bend = torch.sin(finer * (kx[0] * x + ky[0] * y))
    total = 0.0
    for i in range(NUM_WAVES):
        u, v = kx[i] * finer, ky[i] * finer
        total = total + _wave(u * x + v * y + phase[i] + 0.9 * bend, u, v, wide) / (1 + 0.35 * i)
    return total * 0.36


def _line(distance: Tensor, line: float, width: Tensor) -> Tensor:
    """Coverage of a line `line` metres wide, seen at `distance` from its middle by a box filter of `width`."""
    width = width.clamp_min(1e-4)
    return torch.minimum(((0.5 * (line + width) - distance) / width).clamp_min(0.0), (line / width).clamp_max(1.0))


def _seam(u: Tensor) -> Tensor:
    """Distance to the nearest integer."""
    return (u - torch.round(u)).abs()


def _hash(a: Tensor, b: Tensor) -> Tensor:
    """A tone in [-1, 1] for a pair of small integers; mild factors keep it equal on every device."""
    raw = torch.sin(a * 12.9898 + b * 7.233) * 43.5453
    return 2 * (raw - torch.floor(raw)) - 1


def _checker(x: Tensor, y: Tensor, wide: Extent, parts: tuple[Tensor, ...]) -> Vec:
    tile = 0.62 * parts[2]

    def stripe(u: Tensor, width: Tensor) -> Tensor:
        u, half = u / (2 * tile), (width / (4 * tile)).clamp_min(1e-4)
        return (_seam(u + half + 0.5) - _seam(u - half + 0.5)) / (2 * half)

    product = stripe(x + parts[0], 1.2 * wide[0]) * stripe(y + parts[1], 1.2 * wide[1])
    return _mix((0.33, 0.38, 0.49), (0.76, 0.74, 0.70), 0.5 - 0.5 * product)


def _wood(x: Tensor, y: Tensor, wide: Extent, parts: tuple[Tensor, ...]) -> Vec:
    plank, board = 0.24 * parts[2], 1.7
    u = (x + parts[0]) / plank
    row = torch.floor(u)
    v = (y + parts[1]) / board + 0.5 * _hash(row, parts[3] * 0 + 3.0)
    tone = _hash(row, torch.floor(v)) * torch.exp(-((0.8 * wide[0] / plank) ** 2 + (0.8 * wide[1] / board) ** 2))
    k = 2 * math.pi / 0.055
    drift = 1.3 * torch.sin(2.1 * y + 5.0 * tone) + 0.8 * torch.sin(0.9 * y + row)
    grain = _wave(k * x + drift, k, 2.7, wide) + 0.7 * _wave(0.5 * k * x - 1.7 * drift + row, 0.5 * k, 4.0, wide)
    gap = _line(_seam(u) * plank, 0.012, 1.3 * wide[0])
    gap = torch.maximum(gap, _line(_seam(v) * board, 0.012, 1.3 * wide[1]))
    value = (1 + 0.15 * tone + 0.045 * grain) * (1 - 0.45 * gap)
    return 0.56 * value, 0.345 * value * (1 + 0.03 * tone), 0.18 * value * (1 + 0.06 * tone)


def _concrete(x: Tensor, y: Tensor, wide: Extent, parts: tuple[Tensor, ...]) -> Vec:
    slab = 1.8 * parts[2]
    joint = torch.maximum(
        _line(_seam((x + parts[0]) / slab) * slab, 0.02, 1.3 * wide[0]),
        _line(_seam((y + parts[1]) / slab) * slab, 0.02, 1.3 * wide[1]),
    )
    value = (1 + 0.06 * _mottle(x, y, wide, parts, 0.8)) * (1 - 0.22 * joint)
    return 0.50 * value, 0.495 * value, 0.475 * value


def _grass(x: Tensor, y: Tensor, wide: Extent, parts: tuple[Tensor, ...]) -> Vec:
    share = 0.5 + 0.5 * _mottle(x, y, wide, parts, 2.2)
    fine = 1 + 0.05 * _mottle(y, x, (wide[1], wide[0]), parts, 5.5)
    return tuple(fine * c for c in _mix((0.19, 0.33, 0.09), (0.36, 0.47, 0.15), share))


def _sand(x: Tensor, y: Tensor, wide: Extent, parts: tuple[Tensor, ...]) -> Vec:
    angle = 1.2 + 0.5 * parts[3]
    kx, ky = torch.cos(angle) * 2 * math.pi / 0.30, torch.sin(angle) * 2 * math.pi / 0.30
    low = _mottle(x, y, wide, parts, 1.0)
    ripple = _wave(kx * x + ky * y + 2.2 * low, kx, ky, wide)
    value = 1 + 0.05 * ripple + 0.035 * low
    return 0.74 * value, 0.60 * value, 0.435 * value


_PATTERNS = {"checker": _checker, "wood": _wood, "concrete": _concrete, "grass": _grass, "sand": _sand}
