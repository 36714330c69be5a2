"""Physics in metres from what the reader saw: gravity, fall times, rolling speed.

The scale of a picture comes from the picture itself. A ball's true radius is one of two known sizes, its apparent
area gives its distance, and the distance turns pixels into metres; nothing is taken from the simulator.
"""

import math
from dataclasses import dataclass

import numpy as np

from cosmos_lab.evaluation.reading import Track
from cosmos_lab.worlds.scene import SIZES

GRAVITY = 9.81
# The largest share of a fall's height that its first speed may account for if it is to begin at rest.
FROM_REST = 0.25
# Metres by which a step may fall short of the one before while a body is in free flight.
TOLERANCE = 0.02


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


@dataclass(frozen=True, kw_only=True)
class Fall:
    """One free fall up to its first contact: gravity in m/s^2, duration in seconds, height in metres, the speed in m/s
    with which it begins, and the number of pixel frames fitted, those of the rebound among them."""

    gravity: float
    seconds: float
    height: float
    speed: float
    num_pixel_frames: int

    @property
    def is_from_rest(self) -> bool:
        """Whether it is seen from its beginning on: its first speed accounts for little of its height."""
        return abs(self.speed) * self.seconds < FROM_REST * self.height


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


def fallen(track: Track, radius: float, lens: Lens) -> np.ndarray:
    """Metres fallen (T,) since the first whole pixel frame by a ball that moves along the vertical; NaN where hidden.

    With pitch a and depth Z_0 at the start, v = f (y_0 + h cos a) / (Z_0 + h sin a) gives
    h = Z_0 (v - v_0) / (f cos a - v sin a). Z_0 is the median over all whole pixel frames, each brought back to the
    start by its own fall.
    """
    whole = track.whole
    if not whole.any():
        return np.full(len(whole), np.nan)
    sine, cosine = math.sin(math.radians(lens.pitch)), math.cos(math.radians(lens.pitch))
    v = lens.centered(track.position)[:, 1]
    first = np.flatnonzero(whole)[0]
    # h / Z_0 needs no depth; with it, every pixel frame gives its own estimate of Z_0.
    relative = (v - v[first]) / (lens.focal * cosine - v * sine)
    depth = sphere_depth(track.area, track.position, radius, lens)
    start_depth = np.median((depth / (1 + relative * sine))[whole])
    return np.where(whole, start_depth * relative, np.nan)


def flight_end(height: np.ndarray, start: int = 0, least: float = -math.inf) -> int:
    """The pixel frame from which on a body that flies since pixel frame `start` no longer accelerates downwards;
    `height` (T,) metres fallen.

    The end of the longest run whose steps grow (up to TOLERANCE) and are at least `least` metres, but for the first.
    """
    steps = np.diff(height)
    for index in range(start + 1, len(steps)):
        if not np.isfinite(steps[index]) or steps[index] < max(steps[index - 1] - TOLERANCE, least):
            return index + 1
    return len(height)


def measure_fall(track: Track, radius: float, lens: Lens, fps: float = 16.0, min_pixel_frames: int = 5) -> Fall | None:
    """Fit h = h_0 + v_0 t + g t^2 / 2 from the first whole pixel frame to the first contact, and with the same gravity
    h_1 + v_1 t + g t^2 / 2 from there to the second.

    Duration and height run from that first pixel frame to the contact, where the parabolas meet; NaN where no rebound
    is seen beside it. Fast pixel frames are blurred towards where the body comes from: before a contact that takes from
    its gravity, after it adds. None where fewer than `min_pixel_frames` pixel frames show the fall.
    """
    start = int(np.argmax(track.whole)) if track.whole.any() else 0
    height = fallen(track, radius, lens)[start:]
    end = flight_end(height, least=-TOLERANCE)
    if end < min_pixel_frames or not np.isfinite(height[:end]).all():
        return None
    rebound = _rebound(height, end)
    half_gravity, speed, offset, rise, top = _parabolas(height, end, rebound, fps)
    seconds = (top - offset) / (speed - rise) if speed > rise else math.nan
    # Two pixel frames of grace: beyond that the two parabolas are not of one bounce.
    seconds = seconds if abs(seconds * fps - (end - 0.5)) <= 2.5 else math.nan
    depth = np.polyval((half_gravity, speed, offset), seconds) - height[0]
    return Fall(gravity=2 * half_gravity, seconds=seconds, height=float(depth), speed=speed,
                num_pixel_frames=end + len(rebound))


def _rebound(height: np.ndarray, end: int) -> np.ndarray:
    """The pixel frames of the first rebound, after contact at `end`; none where fewer than three are seen in flight.

    Nor does a body rebound that stays where it fell: its steps grow less than half as fast as those of the fall.
    """
    # The contact may blur the first pixel frame after it.
    frames = max((np.arange(first, flight_end(height, first)) for first in (end, end + 1)), key=len)
    if len(frames) < 3 or not np.isfinite(height[frames]).all():
        return frames[:0]
    fall, rebound = (np.diff(height[part], 2).mean() for part in (slice(end), frames))
    return frames if rebound > fall / 2 else frames[:0]


def _parabolas(height: np.ndarray, end: int, rebound: np.ndarray, fps: float) -> tuple[float, ...]:
    """g / 2, v_0, h_0 of the fall, and v_1, h_1 of the rebound, NaN without one: the least squares over both."""
    frames = np.concatenate([np.arange(end), rebound])
    seconds, fell = frames / fps, frames < end
    columns = [seconds**2, seconds * fell, fell, seconds * ~fell, ~fell]
    solved = np.linalg.lstsq(np.stack(columns, axis=1).astype(float), height[frames], rcond=None)[0]
    return tuple(float(value) for value in (solved if len(rebound) else (*solved[:3], math.nan, math.nan)))


def fall_time_ratios(falls: list[Fall], least: float = 1.3) -> np.ndarray:
    """(t_high / t_low)^2 / (h_high / h_low) over all pairs of falls from rest whose squared times differ by the factor
    `least`: 1 in any field.

    Gravity, scale and frame rate cancel. Times are read some times more surely than heights, which hang on how large a
    ball is drawn: to take pairs by their heights would put chance high readings over chance low ones, and give less
    than 1 for lawful falls. A clip maker that plays every fall in the same time has no such pairs, or by chance alone,
    and then scores `least` and more.
    """
    known = [fall for fall in falls if np.isfinite(fall.seconds) and fall.height > 0 and fall.is_from_rest]
    squares, heights = np.array([fall.seconds**2 for fall in known]), np.array([fall.height for fall in known])
    later, sooner = np.nonzero(squares[:, None] >= least * squares)
    return squares[later] / squares[sooner] / (heights[later] / heights[sooner])


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
