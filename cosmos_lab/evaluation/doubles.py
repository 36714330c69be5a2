"""Does a color show two bodies? A clip has one body of each color, but for towers and rows; a model may draw two."""

import numpy as np

from cosmos_lab.evaluation.colors import CELL, MIN_AREA
from cosmos_lab.evaluation.labels import COLOR_NAMES


def usual_area(track: "Track") -> float:  # noqa: F821
    """The area in pixels that an object shows when nothing covers it: a high quantile over its visible pixel frames."""
    return float(np.quantile(track.area[track.visible], 0.8)) if track.visible.any() else 0.0


# In so many pixel frames a color shows two bodies before it counts as doubled.
MIN_DOUBLED = 3
# Two bodies that show in the first and last of a clip's pixel frames and in this share of all were there all along.
ALL_ALONG = 0.9


def doubled_when(track: "Track", classes: np.ndarray) -> np.ndarray:  # noqa: F821
    """The pixel frames (T,) in which a color shows two separate bodies, farther apart than an occluder in front of one
    could part them; none where they are fewer than MIN_DOUBLED.

    `classes` (T, h, w) are the likeliest class of each cell (indices of COLOR_NAMES).
    """
    doubled = np.zeros(len(track.area), dtype=bool)
    radius = np.sqrt(np.maximum(track.area, 1e-6) / np.pi)
    # Two bodies spread a mask wide; the exact search is only worth its time there.
    suspects = np.flatnonzero(track.visible & (np.hypot(*track.spread.T) > 1.1 * radius))
    if len(suspects) < MIN_DOUBLED:
        return doubled
    usual = np.sqrt(usual_area(track) / np.pi) / CELL
    for index in suspects:
        labels = components(classes[index] == COLOR_NAMES.index(track.color))
        sizes = np.bincount(labels.ravel())[1:]
        order = np.argsort(sizes)[::-1][:2]
        if len(order) < 2 or sizes[order[1]] < max(MIN_AREA / CELL**2, 0.35 * np.pi * usual**2):
            continue
        centers = [np.argwhere(labels == label + 1).mean(axis=0) for label in order]
        doubled[index] = np.linalg.norm(centers[0] - centers[1]) > 2.5 * usual
    return doubled if doubled.sum() >= MIN_DOUBLED else np.zeros_like(doubled)


def all_along(doubled: np.ndarray) -> bool:
    """Whether two bodies of one color were there from first to last pixel frame: one too many, yet permanent."""
    return bool(doubled[0] and doubled[-1] and doubled.mean() >= ALL_ALONG)


def components(mask: np.ndarray) -> np.ndarray:
    """Connected components (8 neighbors) of a mask (h, w): labels from 1 on, 0 outside.

    Every cell takes the largest label in its neighborhood until nothing changes.
    """
    labels = np.pad(np.where(mask, np.arange(1, mask.size + 1).reshape(mask.shape), 0), 1)
    inside = np.pad(mask, 1)
    while True:
        rows = np.maximum(np.maximum(labels[:-2], labels[2:]), labels[1:-1])
        grown = np.maximum(np.maximum(rows[:, :-2], rows[:, 2:]), rows[:, 1:-1])
        grown = np.where(inside, np.pad(grown, 1), 0)
        if np.array_equal(grown, labels):
            break
        labels = grown
    return np.unique(labels[1:-1, 1:-1], return_inverse=True)[1].reshape(mask.shape) + (0 if not mask.all() else 1)
