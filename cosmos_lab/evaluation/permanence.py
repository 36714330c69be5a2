"""Object permanence: what is visible neither appears from nothing, nor vanishes into nothing, nor changes color.

A disappearance is explained when the place where the object should be next lies outside the picture or behind
something that was there before and stays: a prop, or an object visible on both sides of the event. Appearances are
disappearances seen backwards. A change of color is an unexplained disappearance, because the new color was not there
before.
"""

from collections.abc import Collection

import numpy as np

from cosmos_lab.evaluation.colors import CELL, MIN_AREA
from cosmos_lab.evaluation.doubles import THERE, all_along, usual_area
from cosmos_lab.evaluation.labels import COLOR_NAMES, PROP
from cosmos_lab.evaluation.reading import Reading, Track

# Below this share of its usual area an object is gone; from THERE on it is there.
GONE = 0.08
EXPLAINED = 0.5
# An object that shows less than this share is half hidden already. What is left of it can be its white mark alone,
# which has no color to read: a cover within so many cells will do.
HALF_HIDDEN, MARGIN = 0.7, 3


def permanence_faults(reading: Reading, groups: Collection[str] = ()) -> tuple[str, ...]:
    """Every breach in a clip, in words; an empty tuple where permanence holds.

    `groups` are colors that several touching bodies may share (cubes of a tower, dominoes): they may fall apart. Two
    bodies of another color that are there all along are one too many for the prompt (`obedience.counted`), but neither
    appears nor vanishes.
    """
    faults = []
    for track in reading.objects:
        for last, gone in departures(track):
            if not is_explained(reading, track, last=last, gone=gone):
                faults.append(f"{track.color} vanishes at pixel frame {gone}")
        backwards = reverse(track)
        for last, gone in departures(backwards):
            if not is_explained(reading, backwards, last=last, gone=gone, backwards=True):
                faults.append(f"{track.color} appears at pixel frame {len(track.area) - 1 - gone}")
        doubled = reading.doubled.get(track.color)
        if track.color not in groups and doubled is not None and not all_along(doubled):
            faults.append(f"{track.color} is there twice at times")
    return tuple(faults)


def departures(track: Track) -> list[tuple[int, int]]:
    """Pairs (last pixel frame in which the object is there, first in which it is gone), by a two-level threshold."""
    usual = usual_area(track)
    there = track.area > max(MIN_AREA, THERE * usual)
    gone = track.area < max(MIN_AREA / 2, GONE * usual)
    pairs, last = [], None
    for index in range(len(there)):
        if there[index]:
            last = index
        elif gone[index] and last is not None:
            pairs.append((last, index))
            last = None
    return pairs


def reverse(track: Track) -> Track:
    """The same track with time running backwards."""
    arrays = {name: getattr(track, name)[::-1] for name in ("position", "area", "spread", "visible", "whole")}
    return Track(color=track.color, shape=track.shape, shape_share=track.shape_share, **arrays)


def velocity(track: Track, last: int, memory: int = 4) -> np.ndarray:
    """Pixels a pixel frame (2,), from up to `memory` steps that end at `last`, whole pixel frames where there are any.

    The centroid of a half-covered object moves slower than the object.
    """
    start = max(0, last - 2 * memory)
    seen = np.flatnonzero(track.whole[start : last + 1] & (track.area[start : last + 1] > 0.7 * usual_area(track)))
    if len(seen) < 2:
        seen = np.flatnonzero(track.visible[start : last + 1])
    seen = start + seen[-memory - 1 :]
    if len(seen) < 2:
        return np.zeros(2)
    return (track.position[seen[-1]] - track.position[seen[0]]) / (seen[-1] - seen[0])


def is_explained(reading: Reading, track: Track, *, last: int, gone: int, backwards: bool = False) -> bool:
    """Whether what was visible at `last` can have left the picture or gone behind something by `gone`."""
    classes = reading.classes[::-1] if backwards else reading.classes
    footprint = np.argwhere(classes[last] == COLOR_NAMES.index(track.color))
    if len(footprint) == 0:
        return True
    moved = footprint + np.round(velocity(track, last)[::-1] * (gone - last) / CELL).astype(int)
    height, width = classes.shape[1:]
    # The outermost cells count as outside: an object that touches the border may leave through it.
    outside = (moved < 1).any(axis=1) | (moved[:, 0] > height - 2) | (moved[:, 1] > width - 2)
    inside = moved[~outside]
    covered = np.isin(classes[gone], [PROP, *lasting_colors(classes, last, gone, besides=track.color)])
    if track.area[last] < HALF_HIDDEN * usual_area(track):
        covered = grown(covered, MARGIN)
    hidden = covered[inside[:, 0], inside[:, 1]]
    return bool(outside.sum() + hidden.sum() >= EXPLAINED * len(footprint))


def grown(mask: np.ndarray, cells: int) -> np.ndarray:
    """The mask (h, w) and everything within so many cells of it, diagonally too."""
    windows = np.lib.stride_tricks.sliding_window_view(np.pad(mask, cells), (2 * cells + 1, 2 * cells + 1))
    return windows.any(axis=(-2, -1))


def lasting_colors(classes: np.ndarray, first: int, second: int, besides: str) -> list[int]:
    """Object colors visible in both pixel frames of `classes` (T, h, w): the only ones that can cover another."""
    least = MIN_AREA / CELL**2
    return [
        color
        for color, name in enumerate(COLOR_NAMES[:PROP])
        if name != besides and min((classes[first] == color).sum(), (classes[second] == color).sum()) >= least
    ]
