"""Which law of motion each scene must keep, and how far a reading is from it.

An error is relative: read / lawful - 1. Laws need a fixed camera and are the ones that a picture fixes by itself:

    free fall        h = h_0 + v_0 t + g t^2 / 2         falls, bounces up to the second contact, throws
    rolling          speed late / speed early = 1        balls, cylinders and capsules on the floor, behind screens too
    pendulum         time to the lowest point            (pi / 2) sqrt(L / g) (1 + a^2 / 16) from rest at angle a

Towers, dominoes and the arm have no such law in the picture; their clips are judged by attributes and permanence.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cosmos_lab.evaluation.falls import measure_fall
from cosmos_lab.evaluation.physics import GRAVITY, Lens, speed_kept
from cosmos_lab.evaluation.reading import Reading, Track
from cosmos_lab.worlds.families.pendulum import PIVOT_HEIGHT
from cosmos_lab.worlds.scene import SIZES, Body, Scene

FALLS = ("fall", "bounce", "throw left", "throw right")
# The bob's clearance above the floor in metres, and a middling release angle in degrees.
CLEARANCE, RELEASE = 0.06, 40.0


def law_of(scene: Scene) -> str | None:
    """fall, roll or pendulum; None where no law applies or the camera moves."""
    if scene.camera != "static":
        return None
    if scene.motion in FALLS:
        return "fall"
    if scene.motion.startswith("swing"):
        return "pendulum"
    return "roll" if scene.family in ("roll", "hide") else None


def law_error(reading: Reading, scene: Scene, size_is_stated: bool = True) -> float | None:
    """How far the clip's motion is from its scene's law; None where no law applies, NaN where it cannot be measured.

    With several actors, the median over them. Where the prompt left the size open, the nearer of the two sizes counts.
    """
    law = law_of(scene)
    if law is None:
        return None
    measure = {"fall": _fall_error, "roll": _roll_error, "pendulum": _pendulum_error}[law]
    lens = Lens(pitch=reading.pitch)
    errors = []
    for name in scene.facts["actors"]:
        body = scene.body(name)
        track = reading.track(body.color)
        if track is None:
            errors.append(math.nan)
            continue
        read = [measure(track, each, lens, reading, scene) for each in possible_sizes(body, size_is_stated)]
        errors.append(min(read, key=lambda error: math.inf if math.isnan(error) else abs(error)))
    return float(np.median(errors)) if errors else None


def equivalent_radius(shape: str, size: Sequence[float]) -> float:
    """The radius of the sphere with the same mean projected area: by Cauchy, a quarter of a convex body's surface."""
    a, b, c = size
    surface = {
        "sphere": 4 * math.pi * a**2,
        "box": 8 * (a * b + b * c + c * a),
        "cylinder": 2 * math.pi * a * (a + 2 * b),
        "capsule": 4 * math.pi * a * (a + b),
    }[shape]
    return math.sqrt(surface / (4 * math.pi))


def _fall_error(track: Track, body: Body, lens: Lens, reading: Reading, scene: Scene) -> float:
    fall = measure_fall(track, equivalent_radius(body.shape, body.size), lens)
    return math.nan if fall is None else fall.gravity / GRAVITY - 1


def _roll_error(track: Track, body: Body, lens: Lens, reading: Reading, scene: Scene) -> float:
    last = None
    for name in scene.facts["struck"]:
        struck = reading.track(scene.body(name).color)
        if struck is not None:
            last = first_motion(struck)
    return speed_kept(track, equivalent_radius(body.shape, body.size), lens, last=last) - 1


def _pendulum_error(track: Track, body: Body, lens: Lens, reading: Reading, scene: Scene) -> float:
    half = body.size[1] if body.shape == "cylinder" else body.size[0]
    length = PIVOT_HEIGHT - CLEARANCE - half
    lawful = 0.5 * math.pi * math.sqrt(length / GRAVITY) * (1 + math.radians(RELEASE) ** 2 / 16)
    return lowest_time(track) / lawful - 1


def first_motion(track: Track, pixels: float = 1.5) -> int | None:
    """The pixel frame before an object that stood still has moved by `pixels`; None if it never does."""
    seen = np.flatnonzero(track.visible)
    if len(seen) == 0:
        return None
    moved = np.linalg.norm(track.position - track.position[seen[0]], axis=1) > pixels
    return int(np.argmax(moved)) if moved.any() else None


def lowest_time(track: Track, fps: float = 16.0) -> float:
    """Seconds from the start to the first lowest point of a swing: the vertex of a parabola around the lowest pixel
    frame. NaN where that lies at an end of what is seen."""
    v = np.where(track.visible, track.position[:, 1], -np.inf)
    # Later swings come as low as the first: the first local minimum of height counts, once it is near the lowest.
    near = np.flatnonzero(v >= v.max() - 1.0)
    if len(near) == 0:
        return math.nan
    first = near[0]
    while first + 1 < len(v) and v[first + 1] > v[first]:
        first += 1
    around = np.arange(first - 2, first + 3)
    if around[0] < 0 or around[-1] >= len(v) or not np.isfinite(v[around]).all():
        return math.nan
    curve, slope, _ = np.polyfit(around, v[around], 2)
    return float(-slope / (2 * curve) / fps) if curve < 0 else math.nan


@dataclass(frozen=True, kw_only=True)
class Tolerance:
    """The ruler's own error on rendered clips under one law: median `bias` and robust deviation `sigma`."""

    bias: float
    sigma: float
    number: int

    def admits(self, error: float, sigmas: float = 3.0) -> bool:
        """Whether an error lies within `sigmas` of what the ruler makes of lawful clips; NaN never does."""
        return bool(abs(error - self.bias) <= sigmas * self.sigma)


def tolerance(errors: Sequence[float], least_sigma: float = 0.01) -> Tolerance:
    """Median and 1.4826 times the median absolute deviation of the finite errors; at least 3 of them are needed."""
    finite = np.array([error for error in errors if error is not None and np.isfinite(error)])
    if len(finite) < 3:
        raise ValueError(f"a tolerance needs at least 3 measured clips, not {len(finite)}")
    bias = float(np.median(finite))
    sigma = 1.4826 * float(np.median(np.abs(finite - bias)))
    return Tolerance(bias=bias, sigma=max(sigma, least_sigma), number=len(finite))


def possible_sizes(body: Body, size_is_stated: bool) -> tuple[Body, ...]:
    """The bodies that a prompt admits: the stated size, or both."""
    if size_is_stated or tuple(body.size) not in SIZES[body.shape].values():
        return (body,)
    return tuple(
        Body(name=body.name, shape=body.shape, size=size, color=body.color, role=body.role, marked=body.marked)
        for size in SIZES[body.shape].values()
    )
