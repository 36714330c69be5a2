"""Captions with one thing wrong: a color, a shape, the camera, the floor, an object too many or too few.

Each is the caption of the same scene with that one thing changed, so it needs no pictures of its own. They teach a
critic to read what a caption says (`train/critic.py`).
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from .captions import LENGTHS, Caption, describe, place_words
from .families.stage import ROOM_X, ROOM_Y
from .mistakes import one_of, single
from .scene import CAMERAS, COLORS, FLOORS, SHAPES, SIZES, Body, Scene, size_word
from .split import is_withheld

TRIES = 30
SEEDS = 2  # of captions: wrong ones are told as some of the right ones are
UNSEEN = "unseen"
# What the families let act, by how their motions begin, and be struck. Another shape would be known to be wrong from
# the words alone, for no right caption has it there.
ACTING = {
    "fall": ("box", "cylinder", "capsule"),
    "roll down": ("sphere", "cylinder"),
    "roll": ("sphere", "cylinder", "capsule"),
    "swing": ("sphere", "box", "cylinder"),
    "strike": ("sphere", "box", "cylinder"),
    "push": ("box", "cylinder"),
    "lift": ("box", "cylinder"),
    "pass behind": ("sphere", "cylinder", "capsule"),
}
STRUCK = ("sphere", "box", "cylinder")
# How many objects may lie about in a family, if not MOST_RESTING, and how many there are outside a row: as above.
RESTING = {"tower": 0, "dominoes": 1, "hide": 2}
MOST_RESTING, MOST = 3, 4


def misdescribed(scene: Scene, rng: np.random.Generator) -> tuple[Scene, str] | None:
    """The scene with one thing changed, as captions tell it, and which of KINDS that is; None where nothing can be.

    It is that of no simulation, and never holds a combination that is withheld from training.
    """
    for kind in rng.permutation(list(KINDS)):
        changed = KINDS[kind](scene, rng)
        if changed is not None and not is_withheld(changed):
            return changed, str(kind)
    return None


def wrong_captions(scene: Scene, rng: np.random.Generator) -> list[str]:
    """A caption of each length that says one thing that is not so, or that passes over an object that it should name;
    a length is left out where none is found."""
    found = (_wrong_caption(scene, length, rng) for length in LENGTHS)
    return [text for text in found if text]


def tells(told: Caption, scene: Scene, changed: Scene, kind: str) -> bool:
    """Whether a caption of the changed scene says what was changed, and nothing else that is not so."""
    if kind == "camera":
        # Another camera begins elsewhere: what is on the left for one may be in the middle for the other.
        alike = told.length != "dense" or _placed(scene) == _placed(changed)
        return "camera" in told.stated and alike
    if kind == "floor":
        return "floor" in told.stated
    if kind == "too few":
        # Short captions pass over what rests.
        return told.length != "short"
    return {body.name for body in changed.bodies if body not in scene.bodies} <= set(told.mentioned)


def recolored(scene: Scene, rng: np.random.Generator) -> Scene | None:
    """One object outside a tower or row has a color that no object has."""
    old = one_of(single(scene), rng)
    return _with(scene, replace(old, color=_new_color(scene, rng)))


def reshaped(scene: Scene, rng: np.random.Generator) -> Scene | None:
    """One object outside a tower or row has another shape, of which its motion can be told as well."""
    old = one_of([body for body in single(scene) if _fitting(scene, body)], rng)
    if old is None:
        return None
    shape = one_of(_fitting(scene, old), rng)
    return _with(scene, replace(old, shape=shape, size=SIZES[shape][size_word(old)], marked=shape == "sphere"))


def with_camera(scene: Scene, rng: np.random.Generator) -> Scene | None:
    """Another camera, drawn as the families draw it; None where that is the one there is."""
    # Drawn so, a caption's camera alone tells nothing about whether it is right.
    camera = "static" if rng.random() < 0.5 else one_of(CAMERAS[1:], rng)
    return None if camera == scene.camera else replace(scene, camera=camera)


def with_floor(scene: Scene, rng: np.random.Generator) -> Scene | None:
    """Another floor."""
    return replace(scene, floor=one_of([floor for floor in FLOORS if floor != scene.floor], rng))


def too_many(scene: Scene, rng: np.random.Generator) -> Scene | None:
    """An object that lies about and is not there, of a color that no object has."""
    facts, starts = scene.facts, scene.initial["bodies"]
    full = not facts["group"] and len(scene.objects) >= MOST
    if full or len(facts["resting"]) >= RESTING.get(scene.family, MOST_RESTING):
        return None
    shape, word = one_of(SHAPES, rng), one_of(("small", "large"), rng)
    body = Body(name=UNSEEN, shape=shape, size=SIZES[shape][word], color=_new_color(scene, rng))
    spot = [rng.uniform(*ROOM_X), rng.uniform(*ROOM_Y), body.size[0]]
    return replace(
        scene, bodies=(*scene.bodies, body), facts=facts | {"resting": [*facts["resting"], UNSEEN]},
        initial=scene.initial | {"bodies": starts | {UNSEEN: {"position": spot}}},
    )  # fmt: skip


def too_few(scene: Scene, rng: np.random.Generator) -> Scene | None:
    """Without one of the objects that lie about."""
    gone = one_of(_about(scene), rng)
    if gone is None:
        return None
    rest = [name for name in scene.facts["resting"] if name != gone]
    bodies = tuple(body for body in scene.bodies if body.name != gone)
    return replace(scene, bodies=bodies, facts=scene.facts | {"resting": rest})


# What can be wrong; all are tried first equally often.
KINDS: dict[str, Callable[[Scene, np.random.Generator], Scene | None]] = {
    "color": recolored, "shape": reshaped, "camera": with_camera, "floor": with_floor, "too many": too_many,
    "too few": too_few,
}  # fmt: skip


def _wrong_caption(scene: Scene, length: str, rng: np.random.Generator) -> str | None:
    right = {describe(scene, length, seed).text for seed in range(SEEDS)}
    for _ in range(TRIES):
        found = misdescribed(scene, rng)
        if found is None:
            continue
        told = describe(found[0], length, seed=int(rng.integers(SEEDS)))
        if tells(told, scene, *found) and told.text not in right:
            return told.text
    return None


def _about(scene: Scene) -> list[str]:
    """What lies about; not a box that something passes behind, which the event names."""
    return [name for name in scene.facts["resting"] if name != scene.facts.get("behind")]


def _fitting(scene: Scene, body: Body) -> list[str]:
    """The other shapes that an object could have where it is told."""
    shapes = ()
    if body.name in _about(scene):
        shapes = SHAPES
    elif body.name in scene.facts["struck"]:
        shapes = STRUCK
    elif body.name in scene.facts["actors"]:
        shapes = next((fit for begin, fit in ACTING.items() if scene.motion.startswith(begin)), ())
    return [shape for shape in shapes if shape != body.shape]


def _new_color(scene: Scene, rng: np.random.Generator) -> str:
    taken = {body.color for body in scene.objects}
    return one_of([color for color in COLORS if color not in taken], rng)


def _placed(scene: Scene) -> list[str]:
    """Where paragraphs say that things are."""
    return [place_words(scene, body.name) for body in scene.objects]


def _with(scene: Scene, new: Body) -> Scene:
    """With this body in the place of that of its name."""
    return replace(scene, bodies=tuple(new if body.name == new.name else body for body in scene.bodies))
