"""Falls in metres from what the reader saw: gravity, durations, and how these go with heights."""

import math
from dataclasses import dataclass

import numpy as np

from cosmos_lab.evaluation.physics import Lens, sphere_depth
from cosmos_lab.evaluation.reading import Track

# The largest share of a fall's height that its first speed may account for if it is to begin at rest.
FROM_REST = 0.25
# Metres by which a step may fall short of the one before while a body is in free flight.
TOLERANCE = 0.02


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
    """(t_later / t_sooner)^2 / (h_later / h_sooner) over all pairs of falls from rest whose squared times differ by the
    factor `least`: 1 in any field.

    Gravity, scale and frame rate cancel. Times are read several times more surely than heights, which hang on how large
    a ball is drawn: to take pairs by their heights would put chance high readings over chance low ones, and give less
    than 1 for lawful falls. A clip maker that plays every fall in the same time has no such pairs, or by chance alone,
    and then scores `least` and more.
    """
    known = [fall for fall in falls if np.isfinite(fall.seconds) and fall.height > 0 and fall.is_from_rest]
    squares, heights = np.array([fall.seconds**2 for fall in known]), np.array([fall.height for fall in known])
    later, sooner = np.nonzero(squares[:, None] >= least * squares)
    return squares[later] / squares[sooner] / (heights[later] / heights[sooner])
