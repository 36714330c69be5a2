"""How the camera moves, by analysis by synthesis: the move under which the floor stays in place.

Every move of `worlds.camera` takes a point of the floor from its place in one pixel frame to a known place in another.
The right one finds the same floor there; no other does.
"""

import math

import numpy as np
import torch
from einops import rearrange, reduce
from torch import Tensor
from torch.nn import functional as F

from cosmos_lab.worlds import camera
from cosmos_lab.worlds.scene import CAMERAS

HEIGHT, WIDTH, FIELD_OF_VIEW = 112, 192, 38.0
# The middle of the stage in metres above the floor: what every camera looks at, give or take 0.1.
TARGET_HEIGHT = 0.6
# Points four pixels apart; the floor farther away than this many metres is haze.
STEP, FARTHEST = 4, 14.0
# Differences beyond this, of 1, are something else than floor (a shadow that moves, a highlight).
SURPRISE = 0.1
# A floor that fits this much worse is e times less likely. Wrong moves fit worse by 0.004 and more.
TOLERANCE = 5e-4
MIN_POINTS = 50


def _picked(num_pixel_frames: int) -> list[tuple[int, int]]:
    """Pairs of pixel frames to compare, half a clip apart or to its middle, where the still view is."""
    start, early, middle, late, end = (round(i * (num_pixel_frames - 1) / 4) for i in range(5))
    return [(middle, start), (middle, end), (early, late), (start, middle - early), (end, late)]


def camera_scores(pixels: Tensor, floor: Tensor, view: Tensor) -> Tensor:
    """Log-likelihoods (B, 7) of CAMERAS, up to a constant of each clip, from what the floor does.

    `pixels` (B, T, H, W, 3) uint8; `floor` (B, T, h, w) the share of every cell that is no body; `view` (B, 2) pitch
    in degrees and distance in metres. All equal for a clip of less than 5 pixel frames, or without floor.
    """
    length = pixels.shape[1]
    if length < 5:
        return torch.zeros(len(pixels), len(CAMERAS), device=pixels.device)
    used = sorted({index for pair in _picked(length) for index in pair})
    shown = {index: _shown(pixels[:, index], floor[:, index]) for index in used}
    return -torch.stack([_misfit(shown, name, view, length) for name in CAMERAS], dim=1) / TOLERANCE


def _shown(pixels: Tensor, floor: Tensor) -> Tensor:
    """One pixel frame (B, 4, h, w): colors in [0, 1] and where there is floor alone, one cell away from all else."""
    half = F.avg_pool2d(rearrange(pixels, "b h w c -> b c h w").float() / 255, 2)
    alone = -F.max_pool2d(-rearrange(floor, "b h w -> b 1 h w"), 3, stride=1, padding=1)
    return torch.cat([half, alone], dim=1)


def _misfit(shown: dict[int, Tensor], name: str, view: Tensor, length: int) -> Tensor:
    """Mean difference (B,) of floor points between pixel frames under a camera move; SURPRISE where there are none."""
    eye, target = _paths(name, view, length)
    error, number = 0.0, 0.0
    for here, there in _picked(length):
        points, seen = _floor_points(eye[:, here], target[:, here])
        places = [_grid(points, eye[:, at], target[:, at], shown[at]) for at in (here, there)]
        first, second = (F.grid_sample(shown[at], place, align_corners=False)[:, :, 0] for at, place in
                         zip((here, there), places))  # fmt: skip
        inside = (places[1].abs() < 1).all(dim=-1)[:, 0] & torch.from_numpy(seen).to(first.device)
        valid = inside & (torch.minimum(first[:, 3], second[:, 3]) > 0.95)
        difference = (first[:, :3] - second[:, :3]).abs().mean(dim=1).clamp(max=SURPRISE)
        error = error + reduce(difference * valid, "b n -> b", "sum")
        number = number + reduce(valid, "b n -> b", "sum")
    return torch.where(number >= MIN_POINTS, error / number.clamp(min=1), SURPRISE)


def _paths(name: str, view: Tensor, length: int) -> tuple[np.ndarray, np.ndarray]:
    """Eyes and targets (B, T, 3) in metres of a move around the views (B, 2)."""
    paths = []
    for pitch, distance in view.double().numpy(force=True):
        rise, flat = distance * math.sin(math.radians(pitch)), distance * math.cos(math.radians(pitch))
        still = {"target": [0.0, 0.0, TARGET_HEIGHT], "distance": flat, "height": TARGET_HEIGHT + rise, "azimuth": 0.0}
        paths.append(camera.path(name, still, length))
    eye, target = zip(*paths)
    return np.stack(eye), np.stack(target)


def _floor_points(eye: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where the floor shows at a grid of pixels: points (B, N, 3) in metres, and whether it does (B, N)."""
    focal = 0.5 * HEIGHT / math.tan(math.radians(FIELD_OF_VIEW) / 2)
    u, v = np.meshgrid(np.arange(STEP / 2, WIDTH, STEP), np.arange(STEP / 2, HEIGHT, STEP))
    across, down = ((axis.ravel()[:, None] - half) / focal for axis, half in ((u, WIDTH / 2), (v, HEIGHT / 2)))
    right, up, forward = (axis[:, None] for axis in camera.axes(eye, target))
    ray = forward + across * right - down * up
    reach = eye[:, None, 2] / np.maximum(-ray[..., 2], 1e-3)
    return eye[:, None] + reach[..., None] * ray, (ray[..., 2] < -1e-3) & (reach < FARTHEST)


def _grid(points: np.ndarray, eye: np.ndarray, target: np.ndarray, like: Tensor) -> Tensor:
    """Places (B, 1, N, 2) of points in a picture, in [-1, 1] as `grid_sample` counts; behind the camera: outside."""
    u, v, depth = camera.project(points, eye, target, FIELD_OF_VIEW, HEIGHT, WIDTH)
    place = np.stack([2 * u / WIDTH - 1, 2 * v / HEIGHT - 1], axis=-1)
    place = np.where(depth[..., None] > 0.1, place, 9.0)
    return rearrange(torch.from_numpy(place).to(like), "b n c -> b 1 n c")
