"""Clips that show one thing wrong: an object that is there twice, is missing, or has another color or shape.

Each is the rollout of a simulation with that one thing changed: the two clips differ in it, in its shadow, and in what
it hides. They teach a model to mend mistakes (`train/mistakes.py`), and a critic to see them (`train/critic.py`).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

import numpy as np

from .families.stage import ROOM_X, ROOM_Y, hidden_share, in_picture, lies_still, reach, resting_pose
from .scene import COLORS, SHAPES, SIZES, Body, Rollout, Scene, size_word
from .split import is_withheld

TWIN = "twin"
TRIES = 30
ALL_ALONG = 0.55  # the share of mistakes that show in all pixel frames
COMPANIONS = 0.5  # the share of twins of what moves that move as well
Item = TypeVar("Item")
Kind = Callable[[Rollout, np.random.Generator], Rollout | None]


def mistaken(rollout: Rollout, rng: np.random.Generator, odds: Mapping[Kind, float]) -> Rollout | None:
    """The same clip with one mistake, drawn by `odds`, such as MENDED; None where there is none to make.

    Its scene is that of no simulation: it serves for pictures, not for captions. It never shows a combination that is
    withheld from training.
    """
    kinds, shares = zip(*odds.items())
    for kind in rng.choice(len(kinds), size=len(kinds), replace=False, p=shares):
        wrong = kinds[kind](rollout, rng)
        if wrong is not None and not is_withheld(wrong.scene):
            return wrong
    return None


def span(length: int, rng: np.random.Generator) -> slice:
    """The pixel frames that show a mistake: mostly all, else those from one on, so that something appears, vanishes or
    changes there, those up to it, or those between two. `length` is 3 or more."""
    if rng.random() < ALL_ALONG:
        return slice(0, length)
    first, last = sorted(int(place) for place in rng.choice(np.arange(1, length), size=2, replace=False))
    middle = int(rng.integers(1, length))
    return (slice(middle, length), slice(0, middle), slice(first, last))[rng.integers(3)]


def twice(rollout: Rollout, rng: np.random.Generator) -> Rollout | None:
    """One object is somewhere else once more: at rest, or, beside one that moves, moving as that one does."""
    like = one_of(single(rollout.scene), rng)
    if like is None:
        return None
    moves = not lies_still(rollout, like.name) and rng.random() < COMPANIONS
    return _twin(rollout, like, _companion if moves else _resting, rng)


def accompanied(rollout: Rollout, rng: np.random.Generator) -> Rollout | None:
    """Beside one object that moves another one like it moves as that one does."""
    like = one_of([body for body in single(rollout.scene) if not lies_still(rollout, body.name)], rng)
    return like and _twin(rollout, like, _companion, rng)


def missing(rollout: Rollout, rng: np.random.Generator) -> Rollout | None:
    """One object that lies still is not there."""
    gone = one_of(_still(rollout), rng)
    if gone is None:
        return None
    rest = [index for index, body in enumerate(rollout.scene.bodies) if body != gone]
    bodies = tuple(rollout.scene.bodies[index] for index in rest)
    return replace(rollout, scene=replace(rollout.scene, bodies=bodies), position=rollout.position[:, rest],
                   quaternion=rollout.quaternion[:, rest])  # fmt: skip


def recolored(rollout: Rollout, rng: np.random.Generator) -> Rollout | None:
    """One object, or all of one color in a tower or row, or some of these, have another color, be it that of another
    object, so that one is there twice and one is missing."""
    objects, apart = rollout.scene.objects, single(rollout.scene)
    old = objects[rng.integers(len(objects))]
    color = str(rng.choice([color for color in COLORS if color != old.color]))
    alike = [body for body in objects if body.color == old.color]
    share = 1.0 if old in apart else rng.choice([0.5, 1.0])
    changed = [body for body in alike if rng.random() < share] or alike
    return _changed(rollout, [replace(body, color=color) for body in changed])


def reshaped(rollout: Rollout, rng: np.random.Generator) -> Rollout | None:
    """One object that lies still has another shape."""
    old = one_of([body for body in _still(rollout) if size_word(body)], rng)
    if old is None:
        return None
    shape = str(rng.choice([shape for shape in SHAPES if shape != old.shape]))
    new = replace(old, shape=shape, size=SIZES[shape][size_word(old)], marked=shape == "sphere")
    wrong, index = _changed(rollout, [new]), rollout.scene.index(old.name)
    position, quaternion = wrong.position.copy(), wrong.quaternion.copy()
    quaternion[:, index], position[:, index, 2] = resting_pose(new, rng.uniform(-45, 45))
    wrong = replace(wrong, position=position, quaternion=quaternion)
    return wrong if _is_clear(wrong, old.name) else None


# How often each is tried first. To a model that learns to mend, missing more often than twice, lest it learn above all
# to leave things out. To a critic, as a world model makes them: most often an object is there twice.
MENDED: dict[Kind, float] = {twice: 0.25, missing: 0.4, recolored: 0.25, reshaped: 0.1}
JUDGED: dict[Kind, float] = {accompanied: 0.35, twice: 0.2, missing: 0.15, recolored: 0.15, reshaped: 0.15}


def single(scene: Scene) -> list[Body]:
    """The objects outside a tower or row, each of which has its color alone."""
    group = scene.facts.get("group")
    return [body for body in scene.objects if not group or body.name not in group["names"]]


def _still(rollout: Rollout) -> list[Body]:
    return [body for body in single(rollout.scene) if lies_still(rollout, body.name)]


def one_of(options: Sequence[Item], rng: np.random.Generator) -> Item | None:
    """Any of the options, None where there is none."""
    return options[int(rng.integers(len(options)))] if options else None


def _changed(rollout: Rollout, new: list[Body]) -> Rollout:
    """With these bodies in the place of those of their names."""
    named = {body.name: body for body in new}
    bodies = tuple(named.get(body.name, body) for body in rollout.scene.bodies)
    return replace(rollout, scene=replace(rollout.scene, bodies=bodies))


def _twin(
    rollout: Rollout, like: Body, makes: Callable[..., Rollout], rng: np.random.Generator
) -> Rollout | None:
    """With a twin of an object at a place where it is seen and near nothing; None where none is found."""
    for _ in range(TRIES):
        wrong = makes(rollout, like, np.array([rng.uniform(*ROOM_X), rng.uniform(*ROOM_Y)]), rng)
        if _is_clear(wrong, TWIN) and _is_seen(wrong, inside=1.0 if makes is _resting else 0.7):
            return wrong
    return None


def _resting(rollout: Rollout, like: Body, spot: np.ndarray, rng: np.random.Generator) -> Rollout:
    """With a twin, small or large, that rests on this spot of the floor."""
    sizes = tuple(SIZES[like.shape].values())
    twin = replace(like, name=TWIN, size=sizes[rng.integers(len(sizes))])
    quaternion, height = resting_pose(twin, rng.uniform(-180, 180))
    return _added(rollout, twin, np.append(spot, height), quaternion)


def _companion(rollout: Rollout, like: Body, spot: np.ndarray, rng: np.random.Generator) -> Rollout:
    """With a twin that starts over this spot and moves beside the other one; that of a ball is small or large, for a
    ball of another size still touches the floor where this one does."""
    track, sizes = rollout.track(like.name), tuple(SIZES[like.shape].values())
    twin = replace(like, name=TWIN, size=sizes[rng.integers(len(sizes))] if like.shape == "sphere" else like.size)
    beside = np.append(spot - track[0, :2], twin.size[0] - like.size[0] if like.shape == "sphere" else 0.0)
    return _added(rollout, twin, track + beside, rollout.quaternion[:, rollout.scene.index(like.name)])


def _added(rollout: Rollout, body: Body, position: np.ndarray, quaternion: np.ndarray) -> Rollout:
    """With one more body, whose pose (3,), (4,) is that of all pixel frames, or (T, 3), (T, 4)."""

    def joined(poses: np.ndarray, pose: np.ndarray) -> np.ndarray:
        return np.concatenate([poses, np.broadcast_to(pose, (len(poses), pose.shape[-1]))[:, None]], axis=1)

    scene = replace(rollout.scene, bodies=(*rollout.scene.bodies, body))
    return replace(rollout, scene=scene, position=joined(rollout.position, position),
                   quaternion=joined(rollout.quaternion, quaternion))  # fmt: skip


def _is_seen(wrong: Rollout, inside: float) -> bool:
    """Whether a twin begins in the picture and in sight, and is in the picture for a share of the clip."""
    here = in_picture(wrong, TWIN, margin=0.9)
    return bool(here[0] and here.mean() >= inside and hidden_share(wrong, TWIN, slice(0, 1))[0] < 0.3)


def _is_clear(wrong: Rollout, name: str) -> bool:
    """Whether no other body ever comes near this one."""
    reaches, index = np.array([reach(body) for body in wrong.scene.bodies]), wrong.scene.index(name)
    apart = np.linalg.norm(wrong.position - wrong.position[:, index, None], axis=2) - reaches - reaches[index]
    return bool((np.delete(apart, index, axis=1) > 0).all())
