"""Another try where a clip does not show its prompt: it is made again with other noise, and the best one is kept.

A world model misses a prompt now and then, by the luck of its noise; a critic sees that better than the model avoids
it. It costs what is made in vain, so a clip that the critic accepts is not made again.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from torch import Tensor


@dataclass(frozen=True, kw_only=True, eq=False)
class Best:
    """The latents (1, C, T, h, w) with the best odds, and the odds of all tries, in the order of their making."""

    latents: Tensor = field(repr=False)
    odds: tuple[float, ...] = ()


def best_of_tries(
    make: Callable[[int, Sequence[int]], Tensor],
    judge: Callable[[Tensor, Sequence[int]], Tensor],
    *,
    tries: int,
    accept: float,
    count: int = 1,
) -> list[Best]:
    """Makes `count` clips, each up to `tries` times, until the odds that it shows its prompt reach `accept`.

    `make(sample, rows)` gives the latents (R, C, T, h, w) of the clips of these numbers from noise number `sample`;
    `judge(latents, rows)` their odds (R,), from 0 to 1. With a single try there is nothing to judge.
    """
    rows, best = list(range(count)), {}
    for sample in range(tries):
        latents = make(sample, rows)
        judged = judge(latents, rows).tolist() if tries > 1 else None
        for place, row in enumerate(rows):
            made = Best(latents=latents[place : place + 1], odds=(judged[place],) if judged else ())
            best[row] = better(best[row], made) if row in best else made
        rows = [row for row in rows if judged and best[row].odds[-1] < accept]
        if not rows:
            break
    return [best[row] for row in range(count)]


def better(before: Best, made: Best) -> Best:
    """Of the best one before and the next try the one with the higher odds; the earlier where they are equal."""
    kept = made if made.odds[-1] > max(before.odds) else before
    return Best(latents=kept.latents, odds=before.odds + made.odds)
