"""Edits of clips whose scenes are known: does the change that was asked for show, and does the rest stay in place?

A case takes one attribute of a simulated scene and changes it: the color of what acts, the shape of what rests, the
floor, the light. The edited scene is rendered too, so that what the ruler cannot read is not held against the model.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from cosmos_lab.evaluation.obedience import asked, obeys
from cosmos_lab.evaluation.reading import Reading
from cosmos_lab.worlds.captions import Caption, describe
from cosmos_lab.worlds.families.stage import standing_height
from cosmos_lab.worlds.scene import COLORS, FLOORS, LIGHTS, SIZES, Body, Rollout, size_word
from cosmos_lab.worlds.split import is_withheld

KINDS = ("color", "floor", "light", "shape")
# Shapes that stand on the floor in every pose a resting object has; a capsule would have to be laid down.
STANDING = ("sphere", "box", "cylinder")
# Towers and dominoes share their colors, by which the ruler tells objects apart.
FAMILIES = ("fall", "roll", "ramp", "pendulum", "arm", "hide")


@dataclass(frozen=True, kw_only=True)
class EditCase:
    """One edit: the scene `before` and `after`, which differ in one attribute, `kind`, from `old` to `new`.

    `color` is the one that the changed body has afterwards; None where the stage changes.
    """

    kind: str
    old: str
    new: str
    before: Rollout
    after: Rollout
    color: str | None = None

    @property
    def caption(self) -> Caption:
        """The prompt of the edit: all of the edited scene."""
        return describe(self.after.scene, "dense")


def edit_cases(rollouts: Sequence[Rollout], number: int) -> list[EditCase]:
    """`number` edits, kinds in turn, of the first rollouts that admit them; each rollout is used once.

    The change is drawn by the scene's seed among those that make no withheld combination. Raises ValueError where the
    rollouts do not suffice.
    """
    left, cases = [rollout for rollout in rollouts if rollout.scene.family in FAMILIES], []
    while len(cases) < number:
        kind = KINDS[len(cases) % len(KINDS)]
        found = next(((index, drawn) for index, rollout in enumerate(left) if (drawn := _draw(rollout, kind))), None)
        if found is None:
            raise ValueError(f"only {len(cases)} of {number} edits can be made from {len(rollouts)} scenes; take more")
        del left[found[0]]
        cases.append(found[1])
    return cases


def _draw(rollout: Rollout, kind: str) -> EditCase | None:
    changes = {"color": _recolored, "floor": _restaged, "light": _restaged, "shape": _reshaped}[kind]
    options = [case for case in changes(rollout, kind) if not is_withheld(case.after.scene)]
    return options[np.random.default_rng(rollout.scene.seed).integers(len(options))] if options else None


def _restaged(rollout: Rollout, kind: str) -> Iterator[EditCase]:
    """Another floor or light."""
    old = getattr(rollout.scene, kind)
    for new in {"floor": FLOORS, "light": LIGHTS}[kind]:
        if new != old:
            after = replace(rollout, scene=replace(rollout.scene, **{kind: new}))
            yield EditCase(kind=kind, old=old, new=new, before=rollout, after=after)


def _recolored(rollout: Rollout, kind: str) -> Iterator[EditCase]:
    """Another color of the first actor."""
    body = rollout.scene.body(rollout.scene.facts["actors"][0])
    for new in sorted(set(COLORS) - {other.color for other in rollout.scene.objects}):
        after = _with_body(rollout, replace(body, color=new))
        yield EditCase(kind=kind, old=body.color, new=new, before=rollout, after=after, color=new)


def _reshaped(rollout: Rollout, kind: str) -> Iterator[EditCase]:
    """Another shape of a resting object that covers none: nothing else would have to move or hide differently."""
    facts = rollout.scene.facts
    for name in facts["resting"]:
        body = rollout.scene.body(name)
        if name == facts.get("behind") or body.shape not in STANDING or size_word(body) is None:
            continue
        for new in STANDING:
            if new != body.shape:
                size = SIZES[new][size_word(body)]
                after = _with_body(rollout, replace(body, shape=new, size=size, marked=new == "sphere"))
                yield EditCase(kind=kind, old=body.shape, new=new, before=rollout, after=after, color=body.color)


def _with_body(rollout: Rollout, body: Body) -> Rollout:
    """The rollout with the body of that name exchanged; one of another height stands on the same spot."""
    scene, index = rollout.scene, rollout.scene.index(body.name)
    old = scene.bodies[index]
    lift = standing_height(body.shape, body.size) - standing_height(old.shape, old.size)
    bodies = (*scene.bodies[:index], body, *scene.bodies[index + 1 :])
    position = rollout.position.copy()
    position[:, index, 2] += lift
    return replace(rollout, scene=replace(scene, bodies=bodies), position=position)


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of one edit.

    `shown`: the change shows; `whole`: and everything else that the prompt states. `shift`: mean distance in pixels of
    the objects from where they were in the input, inf where one is lost. `change`: mean change of a pixel, of 255.
    """

    kind: str
    shown: bool
    whole: bool
    shift: float
    change: float


def outcome(case: EditCase, made: np.ndarray, given: np.ndarray, reading: Reading, before: Reading) -> Outcome:
    """Judge one edit: pixel frames `made` from `given`, each uint8 (T, H, W, 3), and what the ruler reads in them."""
    prompt = asked(case.after.scene, case.caption)
    shown = shows_change(reading, case)
    return Outcome(
        kind=case.kind, shown=shown, whole=shown and all(obeys(reading, prompt).values()),
        shift=position_shift(reading, before, case), change=float(np.abs(made.astype(float) - given).mean()),
    )  # fmt: skip


def shows_change(reading: Reading, case: EditCase) -> bool:
    """Whether a clip shows what was asked for: the new attribute and, of a color, no longer the old one."""
    if not reading.readable:
        return False
    if case.color is None:
        return reading.clip[case.kind] == case.new
    track = reading.track(case.color)
    if track is None:
        return False
    return track.shape == case.new if case.kind == "shape" else reading.track(case.old) is None


def position_shift(reading: Reading, before: Reading, case: EditCase) -> float:
    """Mean distance in pixels between an object's places after and before, over objects and pixel frames that show it.

    A body that was to change its color is looked for in the new one, then in the old one; inf where one is lost.
    """
    distances = []
    for track in before.objects:
        recolored = case.kind == "color" and track.color == case.old
        after = (reading.track(case.new) if recolored else None) or reading.track(track.color)
        both = track.visible & after.visible if after else np.zeros(1, dtype=bool)
        if not both.any():
            return float("inf")
        distances.append(np.linalg.norm(after.position[both] - track.position[both], axis=1))
    return float(np.concatenate(distances).mean()) if distances else float("inf")


@dataclass(frozen=True, kw_only=True)
class Point:
    """One strength of the curve: shares of edits, and medians over edits. `kept`: no object lost, all within `WITHIN`
    pixels on average; `both`: shown and kept."""

    number: int
    shown: float
    whole: float
    kept: float
    both: float
    shift: float
    change: float


WITHIN = 2.0


def point(outcomes: Sequence[Outcome]) -> Point:
    """The curve's point of all edits of one strength."""
    kept = [o.shift <= WITHIN for o in outcomes]
    shares = {name: float(np.mean([getattr(o, name) for o in outcomes])) for name in ("shown", "whole")}
    return Point(
        number=len(outcomes), kept=float(np.mean(kept)), shift=float(np.median([o.shift for o in outcomes])),
        both=float(np.mean([k and o.shown for k, o in zip(kept, outcomes)])),
        change=float(np.median([o.change for o in outcomes])), **shares,
    )  # fmt: skip


def by_kind(outcomes: Sequence[Outcome]) -> Mapping[str, Point]:
    """The same for each kind of edit alone."""
    kinds = [kind for kind in KINDS if any(o.kind == kind for o in outcomes)]
    return {kind: point([o for o in outcomes if o.kind == kind]) for kind in kinds}
