"""Many clips at once, and what a mixture for training holds more of than the evaluation asks for."""

import multiprocessing
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np

from .families import FAMILIES, RESTING, are_odds, check_resting, sample_rollout, stream
from .lasting import later as from_the_middle
from .scene import Rollout

# The streams that decide which clips begin later and which towers are of drums; families have small numbers.
_LATER, _DRUMS = 1 << 32, 1 << 33


@dataclass(frozen=True, kw_only=True)
class Mixture:
    """What clips are drawn from; by default what the evaluation draws from.

    `family_odds` are those of scene families against the 1 of every family that is left out, `resting` those of 0, 1, 2
    and 3 objects that only lie about, as far as a family has room for them. A share `later` of the clips begins in the
    middle of a motion (`lasting.later`), a share `drums` of the towers is of drums in place of cubes: no evaluation
    asks for these, but they show in a stack what colors the cubes of training never have.
    Raises ValueError for an unknown family, for odds that are no numbers from 0 on, or all 0, and for shares outside
    their range.
    """

    family_odds: Mapping[str, float] = field(default_factory=dict)
    resting: tuple[float, ...] = RESTING
    later: float = 0.0
    drums: float = 0.0

    def __post_init__(self) -> None:
        if set(self.family_odds) - set(FAMILIES) or not are_odds(self._weights):
            raise ValueError(f"family_odds are numbers from 0 on, not all 0, of {', '.join(FAMILIES)}; "
                             f"not {dict(self.family_odds)}")
        check_resting(self.resting)
        if not 0 <= self.later < 1:
            raise ValueError(f"later is a share of the clips, from 0 to below 1, not {self.later:g}")
        if not 0 <= self.drums <= 1:
            raise ValueError(f"drums is a share of the towers, from 0 to 1, not {self.drums:g}")

    @property
    def _weights(self) -> np.ndarray:
        return np.array([self.family_odds.get(name, 1.0) for name in FAMILIES])

    def family(self, seed: int) -> str | None:
        """The family of a seed; None, which leaves the choice to the seed, where no odds are given."""
        if not self.family_odds:
            return None
        return str(stream(seed, 0).choice(tuple(FAMILIES), p=self._weights / self._weights.sum()))

    def rollout(self, seed: int, family: str | None = None, split: str = "train") -> Rollout:
        """The rollout of a seed, of the family asked for. Raises what `sample_rollout` does."""
        piled = "cylinder" if stream(seed, _DRUMS).random() < self.drums else "box"
        found = sample_rollout(seed, family or self.family(seed), split, self.resting, piled)
        return from_the_middle(found) if stream(seed, _LATER).random() < self.later else found


# What the evaluation draws from.
EVEN = Mixture()


def _attempt(job: tuple[int, str | None, str, Mixture]) -> tuple[int, dict[str, np.ndarray] | str]:
    seed, family, split, mixture = job
    try:
        return seed, mixture.rollout(seed, family, split).to_arrays()
    except RuntimeError as error:
        return seed, str(error)


def _give_way() -> None:
    """Whatever else has to be done on these cores, such as compiling the renderer, comes first."""
    # Windows has no niceness.
    if hasattr(os, "nice"):
        os.nice(10)


def simulate_many(
    seeds: Iterable[int],
    family: str | None = None,
    split: str = "train",
    workers: int = 1,
    failures: dict[int, str] | None = None,
    mixture: Mixture = EVEN,
) -> Iterator[Rollout]:
    """Verified rollouts of many seeds, in the order of the seeds, whatever the number of worker processes.

    Seeds that find no scene are left out and noted in `failures` (seed -> reason). Poses are rounded to float32.
    Workers are spawned, so a script that calls this needs the usual `if __name__ == "__main__"` guard.
    Raises ValueError where both a family and odds of several are given.
    """
    if family and mixture.family_odds:
        raise ValueError(f"simulate one family or odds of several, not {family!r} and {dict(mixture.family_odds)}")
    jobs = ((int(seed), family, split, mixture) for seed in seeds)
    pool = multiprocessing.get_context("spawn").Pool(workers, initializer=_give_way) if workers > 1 else None
    try:
        for seed, answer in pool.imap(_attempt, jobs, chunksize=16) if pool else map(_attempt, jobs):
            if isinstance(answer, str):
                if failures is not None:
                    failures[seed] = answer
            else:
                yield Rollout.from_arrays(answer)
    finally:
        if pool:
            pool.terminate()
