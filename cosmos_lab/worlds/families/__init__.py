"""The scene families: each draws a scene from a design and verifies from the rollout what the label says."""

from collections.abc import Iterator, Sequence
from types import ModuleType

import numpy as np

from .. import split as splits
from ..physics import simulate
from ..scene import CAMERAS, FLOORS, LIGHTS, Rollout, Scene
from ..vocabulary import PILED_WORDS
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
_DESIGNS, _DRAWS = 30, 80  # how many designs, and draws of each, a seed may use up


def are_odds(values: Sequence[float]) -> bool:
    """Whether these are numbers from 0 on, not all 0."""
    return bool(np.isfinite(values).all() and min(values) >= 0 < sum(values))


def check_resting(odds: Sequence[float]) -> None:
    """Raises ValueError for what are no odds of 0, 1, 2 and 3 objects."""
    if len(odds) != len(RESTING) or not are_odds(odds):
        raise ValueError(f"resting takes the odds of 0, 1, 2 and 3 objects that only lie about: four numbers from 0 "
                         f"on, not all 0; not {tuple(odds)}")  # fmt: skip


def _pick(rng: np.random.Generator, options):
    return options[int(rng.integers(len(options)))]


def stream(seed: int, purpose: int) -> np.random.Generator:
    """The random numbers of a seed for one purpose. Raises ValueError for a negative seed."""
    if seed < 0:
        raise ValueError(f"seeds are 0 or more, not {seed}")
    return np.random.Generator(np.random.Philox(key=np.array([seed, purpose], dtype=np.uint64)))


def _design(
    rng: np.random.Generator, seed: int, family: str, resting: Sequence[float] = RESTING, piled: str = "box"
) -> Design:
    moving = CAMERAS[1:]
    return Design(
        seed=seed,
        family=family,
        motion=_pick(rng, FAMILIES[family].MOTIONS),
        floor=_pick(rng, FLOORS),
        light=_pick(rng, LIGHTS),
        camera="static" if rng.random() < 0.5 else _pick(rng, moving),
        resting=int(rng.choice(4, p=np.array(resting) / sum(resting))),
        piled=piled,
    )


def _designs(
    rng: np.random.Generator, seed: int, family: str, split: str, resting: Sequence[float], piled: str
) -> Iterator[Design]:
    """Designs a split admits; half of the withheld ones hold a withheld floor or camera, if the family has any."""
    wants_stage = split == "withheld" and rng.random() < 0.5
    for _ in range(_DESIGNS):
        for _ in range(200):
            design = _design(rng, seed, family, resting, piled)
            withheld = splits.withheld_stage(design.family, design.floor, design.camera)
            if split == "any" or withheld == wants_stage:
                break
        yield design


def verify(rollout: Rollout) -> bool:
    """Whether the rollout really does what the motion label of its scene says."""
    return FAMILIES[rollout.scene.family].verify(rollout)


def draw_scene(seed: int, family: str | None = None) -> Scene:
    """A scene that nobody has simulated or verified: enough for captions, not for pictures."""
    family = family or _pick(stream(seed, 0), tuple(FAMILIES))
    rng = stream(seed, 1 + len(splits.SPLITS) * len(FAMILIES) + tuple(FAMILIES).index(family))
    return FAMILIES[family].draw(rng, _design(rng, seed, family))


def sample_rollout(
    seed: int,
    family: str | None = None,
    split: str = "train",
    resting: Sequence[float] = RESTING,
    piled: str = "box",
) -> Rollout:
    """A scene of `family` (None: drawn evenly) with its verified rollout of 33 pixel frames at 16 fps.

    Family, motion, floor, light and camera are drawn first and kept while geometry and colors are redrawn until the
    split admits the scene, the camera frames it well and `verify` holds. Towers are piled up of boxes or of cylinders;
    `resting` are the odds of 0, 1, 2 and 3 objects that only lie about. Deterministic by all of these.
    Raises ValueError for an unknown family, split or pile, for odds that are none and for a negative seed, RuntimeError
    if a seed finds no scene.
    """
    check_resting(resting)
    if piled not in PILED_WORDS:
        raise ValueError(f"towers are piled up of {' or '.join(PILED_WORDS)}, not of {piled!r}")
    if family is not None and family not in FAMILIES:
        raise ValueError(f"unknown family {family!r}; choose one of {', '.join(FAMILIES)}")
    if split not in splits.SPLITS:
        raise ValueError(f"unknown split {split!r}; choose one of {', '.join(splits.SPLITS)}")
    family = family or _pick(stream(seed, 0), tuple(FAMILIES))
    rng = stream(seed, 1 + splits.SPLITS.index(split) * len(FAMILIES) + tuple(FAMILIES).index(family))
    for design in _designs(rng, seed, family, split, resting, piled):
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
