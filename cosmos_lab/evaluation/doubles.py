"""Does a color show two bodies? A clip has one body of each color, but for towers and rows; a model may draw two."""

import numpy as np

from cosmos_lab.evaluation.colors import CELL
from cosmos_lab.evaluation.labels import BACKGROUND, COLOR_NAMES


def usual_area(track: "Track") -> float:  # noqa: F821
    """The area in pixels that an object shows when nothing covers it: a high quantile over its visible pixel frames."""
    return float(np.quantile(track.area[track.visible], 0.8)) if track.visible.any() else 0.0


# In so many pixel frames a color surely shows two bodies before it counts as doubled.
MIN_DOUBLED = 3
# They surely are two where the smaller one covers so many pixels, lies so many radii of the larger one away from it,
# and this share at least of what lies between their middles is open: no body, of their own color or another, and no
# prop that might hide where they hang together.
TWIN_AREA, APART, OPEN = 80.0, 2.5, 0.2
# A body is there from this share of its usual area on, however much of it is hidden.
THERE = 0.25
# Two that touch are one component, larger by this share at least than the larger one is where they surely are two. One
# that comes nearer and grows by more than this passes for two that touch: a twin that vanishes beside it is not missed.
MERGED = 0.15
# Two bodies that show in the first and last of a clip's pixel frames and in this share of all were there all along.
ALL_ALONG = 0.9


def doubled_when(track: "Track", classes: np.ndarray) -> np.ndarray:  # noqa: F821
    """The pixel frames (T,) in which a color shows two bodies; none unless they surely are two in MIN_DOUBLED of them.

    Once that is known, the smaller one is there wherever THERE of its usual area is, be it half hidden, close to the
    other, or one component with it. `classes` (T, h, w) are the likeliest class of each cell (indices of COLOR_NAMES).
    """
    nowhere = np.zeros(len(track.area), dtype=bool)
    radius = np.sqrt(np.maximum(track.area, 1e-6) / np.pi)
    # Two bodies spread a mask wide; the exact search is only worth its time there.
    if (track.visible & (np.hypot(*track.spread.T) > 0.85 * radius)).sum() < MIN_DOUBLED:
        return nowhere
    found = [two_largest(shown, COLOR_NAMES.index(track.color)) for shown in classes]
    first, second, apart, openness = np.array(found).T
    usual = np.sqrt(np.quantile(first[track.visible], 0.8) / np.pi)
    sure = (second >= TWIN_AREA / CELL**2) & (apart > APART * usual) & (openness >= OPEN)
    if sure.sum() < MIN_DOUBLED:
        return nowhere
    larger, least = np.quantile(first[sure], 0.8), THERE * np.quantile(second[sure], 0.8)
    return (second >= least) | (first >= larger + max(least, MERGED * larger))


def two_largest(classes: np.ndarray, color: int) -> tuple[float, float, float, float]:
    """How many cells the two largest components of a color have in classes (h, w), how many lie between their middles,
    and which share of these is background."""
    labels = components(classes == color)
    sizes = np.bincount(labels.ravel())[1:]
    order = np.argsort(sizes)[::-1][:2]
    if len(order) < 2:
        return float(sizes.sum()), 0.0, 0.0, 0.0
    one, other = (np.argwhere(labels == label + 1).mean(axis=0) for label in order)
    apart = float(np.linalg.norm(one - other))
    line = np.linspace(one, other, int(apart) + 2).round().astype(int)
    between = classes[line[:, 0], line[:, 1]]
    return *sizes[order].astype(float), apart, float((between == BACKGROUND).mean())


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
