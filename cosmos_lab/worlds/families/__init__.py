"""The scene families: each draws a scene from a design and verifies from the rollout what the label says."""

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from types import ModuleType

import numpy as np

from .. import split as splits
from ..lasting import later as from_the_middle
from ..physics import simulate
from ..scene import CAMERAS, FLOORS, LIGHTS, Rollout, Scene
from . import arm, dominoes, fall, hide, pendulum, ramp, roll, tower
from .stage import Design, well_framed

FAMILIES: dict[str, ModuleType] = {
    "fall": fall,
    "roll": roll,
    "ramp": ramp,
    "tower": tower,
    "dominoes": dominoes,
    "pendulum": pendulum,
    "arm": arm,
    "hide": hide,
}
# Every motion label, and the family it belongs to.
MOTIONS: dict[str, str] = {motion: name for name, family in FAMILIES.items() for motion in family.MOTIONS}

RESTING = (0.3, 0.3, 0.25, 0.15)  # how often a scene has 0, 1, 2 or 3 objects that only lie about
# The streams that decide which clips begin later and which towers are of drums; families have small numbers.
_LATER, _DRUMS = 1 << 32, 1 << 33
_DESIGNS, _DRAWS = 30, 80  # how many designs, and draws of each, a seed may use up


def _pick(rng: np.random.Generator, options):
    return options[int(rng.integers(len(options)))]


def _stream(seed: int, purpose: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(key=np.array([seed, purpose], dtype=np.uint64)))


def _design(rng: np.random.Generator, seed: int, family: str) -> Design:
    moving = CAMERAS[1:]
    return Design(
        seed=seed,
        family=family,
        motion=_pick(rng, FAMILIES[family].MOTIONS),
        floor=_pick(rng, FLOORS),
        light=_pick(rng, LIGHTS),
        camera="static" if rng.random() < 0.5 else _pick(rng, moving),
        resting=int(rng.choice(4, p=RESTING)),
    )


def _designs(rng: np.random.Generator, seed: int, family: str, split: str) -> Iterator[Design]:
    """Designs a split admits; half of the withheld ones hold a withheld floor or camera, if the family has any."""
    wants_stage = split == "withheld" and rng.random() < 0.5
    for _ in range(_DESIGNS):
        for _ in range(200):
            design = _design(rng, seed, family)
            withheld = splits.withheld_stage(design.family, design.floor, design.camera)
            if split == "any" or withheld == wants_stage:
                break
        yield design


def verify(rollout: Rollout) -> bool:
    """Whether the rollout really does what the motion label of its scene says."""
    return FAMILIES[rollout.scene.family].verify(rollout)


def draw_scene(seed: int, family: str | None = None) -> Scene:
    """A scene that nobody has simulated or verified: enough for captions, not for pictures."""
    family = family or _pick(_stream(seed, 0), tuple(FAMILIES))
    rng = _stream(seed, 1 + len(splits.SPLITS) * len(FAMILIES) + tuple(FAMILIES).index(family))
    return FAMILIES[family].draw(rng, _design(rng, seed, family))


def sample_rollout(seed: int, family: str | None = None, split: str = "train", drums: float = 0.0) -> Rollout:
    """A scene of `family` (None: drawn evenly) with its verified rollout of 33 pixel frames at 16 fps.

    Family, motion, floor, light and camera are drawn first and kept while geometry and colors are redrawn until the
    split admits the scene, the camera frames it well and `verify` holds. A share `drums` of the towers is of drums in
    place of cubes. Deterministic by (seed, family, split, drums).
    Raises ValueError for an unknown family or split or a negative seed, RuntimeError if a seed finds no scene.
    """
    if seed < 0:
        raise ValueError(f"seeds are 0 or more, not {seed}")
    if family is not None and family not in FAMILIES:
        raise ValueError(f"unknown family {family!r}; choose one of {', '.join(FAMILIES)}")
    if split not in splits.SPLITS:
        raise ValueError(f"unknown split {split!r}; choose one of {', '.join(splits.SPLITS)}")
    family = family or _pick(_stream(seed, 0), tuple(FAMILIES))
    rng = _stream(seed, 1 + splits.SPLITS.index(split) * len(FAMILIES) + tuple(FAMILIES).index(family))
    piled = "cylinder" if _stream(seed, _DRUMS).random() < drums else "box"
    for design in _designs(rng, seed, family, split):
        design = replace(design, piled=piled)
        for _ in range(_DRAWS):
            scene = FAMILIES[family].draw(rng, design)
            if splits.admits(split, scene) and well_framed(simulate(scene, 1)):
                rollout = simulate(scene)
                if well_framed(rollout) and verify(rollout):
                    return rollout
    raise RuntimeError(f"seed {seed} found no {split} scene of family {family}; take another seed")


def sample_scene(seed: int, family: str | None = None, split: str = "train") -> Scene:
    """The scene of `sample_rollout`."""
    return sample_rollout(seed, family, split).scene


def drawn_family(seed: int, odds: Mapping[str, float]) -> str:
    """The family of a seed where some are drawn more often: `odds` against the 1 of every family that it leaves out.

    Raises ValueError for an unknown family and for odds that are no numbers from 0 on, or all 0.
    """
    weights = np.array([odds.get(name, 1.0) for name in FAMILIES])
    if set(odds) - set(FAMILIES) or not (np.isfinite(weights).all() and weights.min() >= 0 < weights.sum()):
        raise ValueError(f"odds are numbers from 0 on, not all 0, of {', '.join(FAMILIES)}; not {dict(odds)}")
    return str(_stream(seed, 0).choice(tuple(FAMILIES), p=weights / weights.sum()))


def _attempt(job: tuple[int, str | None, str, float, float]) -> tuple[int, dict[str, np.ndarray] | str]:
    seed, family, split, later, drums = job
    try:
        rollout = sample_rollout(seed, family, split, drums)
        is_later = _stream(seed, _LATER).random() < later
        return seed, (from_the_middle(rollout) if is_later else rollout).to_arrays()
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
    odds: Mapping[str, float] | None = None,
    later: float = 0.0,
    drums: float = 0.0,
) -> Iterator[Rollout]:
    """Verified rollouts of many seeds, in the order of the seeds, whatever the number of worker processes.

    With `odds` in place of a `family`, some are drawn more often (`drawn_family`); a share `later` of the clips begins
    in the middle of a motion (`lasting.later`), a share `drums` of the towers is of drums in place of cubes. Seeds that
    find no scene are left out and noted in `failures` (seed -> reason). Poses are rounded to float32. Workers are
    spawned, so a script that calls this needs the usual `if __name__ == "__main__"` guard.
    """
    import multiprocessing

    if family and odds:
        raise ValueError(f"simulate one family or odds of several, not {family!r} and {dict(odds)}")
    jobs = ((int(seed), drawn_family(int(seed), odds) if odds else family, split, later, drums) for seed in seeds)
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
