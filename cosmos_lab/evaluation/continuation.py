"""image2world and video2world against the simulator's own continuation of the same scene."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cosmos_lab.evaluation.reading import Reading, Track
from cosmos_lab.worlds.scene import Rollout

# What starts at rest, or at a speed that the prompt states: one picture and the prompt fix what happens.
FIXED_BY_START = ("fall", "roll", "ramp", "dominoes", "pendulum", "hide")
STEADY_MOTIONS = ("roll left", "roll right", "roll toward", "roll away")
AFTER_CONTACT = 0.25


@dataclass(frozen=True, kw_only=True)
class Errors:
    """Mean distances in pixels from the true track over one clip: the model's, and those of two baselines.

    `linear` is NaN where fewer than two pixel frames were given. `number` counts (object, pixel frame) pairs.
    """

    model: float
    repeat: float
    linear: float
    number: int


def is_steady(rollout: Rollout) -> bool:
    """Whether nothing accelerates or collides and the camera stands still: straight rolls."""
    return rollout.scene.motion in STEADY_MOTIONS and rollout.scene.camera == "static"


def last_pixel_frame(rollout: Rollout) -> int:
    """Up to where a continuation is scored: all of a clip, but a tower only a quarter second after the first contact.

    A falling tower is chaotic; after that, the simulator itself would not repeat it from a start read from pixels.
    """
    total = len(rollout.position)
    if rollout.scene.family != "tower":
        return total
    names = set(rollout.scene.facts["group"]["names"])
    actor = rollout.scene.facts["actors"][0]
    contacts = [time for time, kind, *pair in rollout.events if actor in pair and names & set(pair)]
    return min(total, int((min(contacts, default=np.inf) + AFTER_CONTACT) * rollout.fps) + 1) if contacts else total


def continuation_errors(read: Reading, truth: Reading, *, num_given: int, last: int) -> Errors | None:
    """Distances over pixel frames `num_given` to `last` (exclusive), for every object that was visible before.

    An object that the model's clip does not show stays, for the score, where it was last read. None where no true
    object is visible both before and after.
    """
    columns = [_track_errors(read.track(track.color), track, num_given, last) for track in truth.objects]
    rows = [column for column in columns if column is not None]
    if not rows:
        return None
    model, repeat, linear = (np.concatenate([row[index] for row in rows]) for index in range(3))
    return Errors(model=model.mean(), repeat=repeat.mean(), linear=linear.mean(), number=len(model))


def _track_errors(
    read: Track | None, true: Track, num_given: int, last: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    before = np.flatnonzero(true.visible[:num_given])
    after = num_given + np.flatnonzero(true.visible[num_given:last])
    if len(before) == 0 or len(after) == 0:
        return None
    start, place = before[-1], true.position[before[-1]]
    # The slope of a straight line through all given positions: the least noisy speed that they allow.
    speed = np.polyfit(before, true.position[before], 1)[0] if len(before) > 1 else np.full(2, np.nan)
    repeated = np.tile(place, (last, 1))
    guesses = (held(read, place, num_given), repeated, repeated + np.outer(np.arange(last) - start, speed))
    return tuple(np.linalg.norm(guess[after] - true.position[after], axis=1) for guess in guesses)


def held(track: Track | None, place: np.ndarray, num_given: int) -> np.ndarray | None:
    """Positions (T, 2) with gaps filled by the last one read; before any is read, `place` (2,)."""
    if track is None:
        # Long enough for any clip that is scored against it.
        return np.tile(place, (10_000, 1))
    filled, current = np.empty_like(track.position), place
    for index, position in enumerate(track.position):
        if index >= num_given and track.visible[index]:
            current = position
        filled[index] = current
    return filled


@dataclass(frozen=True, kw_only=True)
class Ratios:
    """Total error over the total error of each baseline, and the mean errors in pixels, over a set of clips."""

    over_repeat: float
    over_linear: float
    model: float
    repeat: float
    linear: float
    number: int


def ratios(errors: Sequence[Errors | None]) -> Ratios:
    """Ratios of means over clips (means of ratios would be ruled by clips in which nothing moves)."""
    known = [error for error in errors if error is not None]
    if not known:
        raise ValueError("no clip of this set can be scored; take more clips")
    means = {name: float(np.mean([getattr(error, name) for error in known])) for name in ("model", "repeat", "linear")}
    over_repeat, over_linear = (means["model"] / means[name] for name in ("repeat", "linear"))
    return Ratios(over_repeat=over_repeat, over_linear=over_linear, number=len(known), **means)
