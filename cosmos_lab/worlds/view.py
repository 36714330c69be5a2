"""The camera's rays through a picture, as tensors.

The conventions are those of `camera.project`: the pixel in column i and row j covers [i, i + 1) x [j, j + 1), so its
center lies at (i + 0.5, j + 0.5).
"""

import torch
from einops import rearrange
from torch import Tensor

from .rays import Vec, normalize


def primary_rays(
    eye: Tensor, target: Tensor, tangent: Tensor, *, height: int, width: int, samples: int
) -> tuple[Vec, Vec]:
    """Rays through a regular grid of samples x samples points in every pixel.

    eye, target (V, 3); tangent (V,) of half the vertical field of view. Returns origin (components (V, 1, 1, 1)) and
    unit direction (components (V, A, H, W), A = samples²).
    """
    tangent = rearrange(tangent, "v -> v 1 1 1")
    eye, target = (tuple(rearrange(tensor, "v c -> c v 1 1 1").unbind(0)) for tensor in (eye, target))
    forward = normalize(tuple(t - e for t, e in zip(target, eye)))
    right = normalize((forward[1], -forward[0], torch.zeros_like(forward[0])))
    up = (right[1] * forward[2], -right[0] * forward[2], right[0] * forward[1] - right[1] * forward[0])
    x, y = _grid(height=height, width=width, samples=samples, device=tangent.device)
    x, y = x * tangent * (width / height), y * tangent
    return eye, normalize(tuple(f + x * r + y * u for f, r, u in zip(forward, right, up)))


def _grid(*, height: int, width: int, samples: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Sample points in [-1, 1] across the picture, y upwards: x (1, A, 1, W), y (1, A, H, 1)."""
    inner = (torch.arange(samples, device=device) + 0.5) / samples
    x = 2 * (torch.arange(width, device=device) + inner[:, None]) / width - 1
    y = 1 - 2 * (torch.arange(height, device=device) + inner[:, None]) / height
    x = x.expand(samples, -1, -1)
    y = y[:, None].expand(-1, samples, -1)
    return rearrange(x, "a b w -> 1 (a b) 1 w"), rearrange(y, "a b h -> 1 (a b) h 1")
