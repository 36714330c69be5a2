"""How good the ruler is: attributes and positions that it reads from clips whose state is known."""

from collections.abc import Callable, Sequence

import numpy as np

from cosmos_lab.evaluation.reading import Reading


def position_errors(readings: Sequence[Reading], truths: Sequence[Reading]) -> np.ndarray:
    """Distances in pixels between read and true centroids, one for each object and pixel frame visible in both.

    Objects that are not read at all are attribute errors (color) and do not appear here.
    """
    errors = [np.empty(0)]
    for reading, truth in zip(readings, truths, strict=True):
        for true in truth.objects:
            read = reading.track(true.color)
            if read is not None:
                both = true.visible & read.visible
                errors.append(np.linalg.norm(read.position[both] - true.position[both], axis=1))
    return np.concatenate(errors)


def bootstrap(
    values: Sequence[float] | np.ndarray, statistic: Callable[[np.ndarray], float], seed: int = 0, repeats: int = 1000
) -> float:
    """The standard error of a statistic: its deviation over `repeats` resamplings of the rows; NaN below 2 rows."""
    values = np.asarray(values)
    if len(values) < 2:
        return float("nan")
    rng = np.random.default_rng(seed)
    return float(np.std([statistic(values[rng.integers(len(values), size=len(values))]) for _ in range(repeats)]))
