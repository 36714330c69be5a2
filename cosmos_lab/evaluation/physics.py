"""Physics in metres from what the reader saw: distances, ways and the speed of what rolls (`falls.py` has falls).

The scale of a picture comes from the picture itself. A ball's true radius is one of two known sizes, its apparent
area gives its distance, and the distance turns pixels into metres; nothing is taken from the simulator.
"""

import math
from dataclasses import dataclass

import numpy as np

from cosmos_lab.evaluation.reading import Track
from cosmos_lab.worlds.scene import SIZES

GRAVITY = 9.81


@dataclass(frozen=True, kw_only=True)
class Lens:
    """A fixed pinhole camera: vertical field of view and downward pitch in degrees, picture size in pixels."""

    pitch: float = 0.0
    field_of_view: float = 38.0
    height: int = 112
    width: int = 192

    @property
    def focal(self) -> float:
        """The focal length in pixels."""
        return 0.5 * self.height / math.tan(math.radians(self.field_of_view) / 2)

    def centered(self, position: np.ndarray) -> np.ndarray:
        """Pixel positions (T, 2) relative to the optical axis, v still down."""
        return position - np.array([self.width / 2, self.height / 2])


def sphere_depth(area: np.ndarray, position: np.ndarray, radius: float, lens: Lens) -> np.ndarray:
    """Depth along the optical axis (T,) in metres of a sphere from its apparent area (T,) in pixels.

    A sphere at C with depth Z projects to an ellipse of area pi f^2 R^2 sqrt(|C|^2 - R^2) / (Z^2 - R^2)^(3/2), where
    |C|^2 = Z^2 (1 + |p|^2 / f^2) for the ellipse at p; solved for Z by fixed-point iteration.
    """
    f = lens.focal
    oblique = 1 + np.square(lens.centered(position)).sum(axis=-1) / f**2
    area = np.where(area > 0, area, np.nan)
    depth = f * radius / np.sqrt(area / math.pi)
    for _ in range(20):
        distance = np.sqrt(np.maximum(depth**2 * oblique - radius**2, 1e-9))
        depth = np.sqrt((math.pi * f**2 * radius**2 * distance / area) ** (2 / 3) + radius**2)
    return depth


def uncovered_line(values: np.ndarray, usable: np.ndarray, allowance: float = 0.03) -> tuple[np.ndarray, np.ndarray]:
    """A straight line (T,) through depths (T,), and where they lie on it (T,): half-covered balls look farther away.

    Theil-Sen's median slope finds the line of the majority; a least-squares line through the values at most
    `allowance` beyond it is the result.
    """
    index = np.arange(len(values))
    at = np.flatnonzero(usable)
    first, second = np.triu_indices(len(at), k=1)
    slope = np.median((values[at][second] - values[at][first]) / (at[second] - at[first]))
    line = slope * index + np.median(values[at] - slope * at)
    keep = usable & (np.abs(values / line - 1) < allowance)
    if keep.sum() >= 2:
        line = np.polyval(np.polyfit(index[keep], values[keep], 1), index)
    return line, keep


def camera_path(track: Track, radius: float, lens: Lens) -> np.ndarray:
    """Positions (T, 3) in metres, camera axes (right, down, forward), of a ball with a fixed camera; NaN where hidden,
    even in part.

    Depth is a straight line fitted to the depths of the whole pixel frames: single areas are too coarse.
    """
    depth = sphere_depth(track.area, track.position, radius, lens)
    whole = track.whole & np.isfinite(depth)
    if whole.sum() < 2:
        return np.full((len(whole), 3), np.nan)
    smooth, whole = uncovered_line(depth, whole)
    sideways = lens.centered(track.position) * smooth[:, None] / lens.focal
    return np.where(whole[:, None], np.concatenate([sideways, smooth[:, None]], axis=1), np.nan)


def speed_kept(track: Track, radius: float, lens: Lens, last: int | None = None, min_pixel_frames: int = 8) -> float:
    """Speed in the second half of a roll over speed in its first half, up to pixel frame `last` (a collision, say).

    Each half's speed is the slope of a straight line through its positions in metres. NaN where the roll is too short.
    """
    path = camera_path(track, radius, lens)[:last]
    seen = np.flatnonzero(np.isfinite(path).all(axis=1))
    if len(seen) < min_pixel_frames:
        return math.nan
    halves = np.array_split(seen, 2)
    slopes = [np.polyfit(half, path[half], 1)[0] for half in halves]
    speeds = [float(np.linalg.norm(slope)) for slope in slopes]
    return speeds[1] / speeds[0] if speeds[0] > 1e-3 else math.nan


def ball_radius(size: str) -> float:
    """Metres, for the size words of captions. Raises ValueError for another word."""
    if size not in SIZES["sphere"]:
        raise ValueError(f"a ball is {' or '.join(SIZES['sphere'])}, not {size!r}")
    return SIZES["sphere"][size][0]
