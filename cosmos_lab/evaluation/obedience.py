"""Does the clip show what the prompt says? Scored attribute by attribute, on what the prompt states alone."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cosmos_lab.evaluation.reading import Reading
from cosmos_lab.worlds.captions import Caption
from cosmos_lab.worlds.scene import COLORS, Scene
from cosmos_lab.worlds.split import is_withheld

ATTRIBUTES = ("count", "color", "shape", "motion", "floor", "camera", "light")


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What a prompt asks for: `shapes` of the mentioned objects by color; None or empty where it leaves things open.

    `everything` means that the prompt mentions every object, so that others are one too many; a short prompt never
    does, since its like in training names what acts and passes over what rests. `groups` are the colors that towers and
    rows may have: where the prompt leaves them open, all that nothing else is said to have. `withheld` tells whether
    training held back the combination.
    """

    shapes: dict[str, str]
    everything: bool
    groups: tuple[str, ...]
    count: int | None
    motion: str | None
    floor: str | None
    camera: str | None
    light: str | None
    withheld: bool


def asked(scene: Scene, caption: Caption) -> Asked:
    """What `caption` states of `scene`."""
    bodies = [scene.body(name) for name in caption.mentioned]
    group = scene.facts["group"]
    described = "color" in caption.stated

    def stated(name: str) -> str | None:
        return getattr(scene, name) if name in caption.stated else None

    return Asked(
        shapes={body.color: body.shape for body in bodies} if described else {},
        everything=described and caption.length != "short" and len(bodies) == len(scene.objects),
        groups=_group_colors(scene, caption) if group else (),
        count=len(scene.objects) if "count" in caption.stated else None,
        motion=stated("motion"), floor=stated("floor"), camera=stated("camera"), light=stated("light"),
        withheld=is_withheld(scene),
    )  # fmt: skip


def _group_colors(scene: Scene, caption: Caption) -> tuple[str, ...]:
    """The colors that a scene's tower or row may have: those told of it, or all but those told of other bodies."""
    group = scene.facts["group"]
    if "color" in caption.stated and set(group["names"]) <= set(caption.mentioned):
        return tuple(group["colors"])
    return tuple(color for color in COLORS if color not in {scene.body(name).color for name in caption.mentioned})


def counted(reading: Reading) -> int:
    """How many objects the masks show: one for each color, one more for a color that is there twice."""
    return len(reading.objects) + len(reading.doubled)


def obeys(reading: Reading, prompt: Asked) -> dict[str, bool]:
    """Right or wrong for every attribute that the prompt states. A clip that cannot be read is wrong in all of them."""
    checks: dict[str, bool] = {}
    if prompt.count is not None:
        checks["count"] = counted(reading) == prompt.count
    if prompt.shapes:
        shown = {track.color: track.shape for track in reading.objects}
        mentioned = set(prompt.shapes)
        checks["color"] = set(shown) == mentioned if prompt.everything else mentioned <= set(shown)
        checks["shape"] = all(shown.get(color) == shape for color, shape in prompt.shapes.items())
    for name in ("motion", "floor", "camera", "light"):
        wanted = getattr(prompt, name)
        if wanted is not None:
            checks[name] = reading.clip[name] == wanted
    return checks if reading.readable else dict.fromkeys(checks, False)


@dataclass(frozen=True, kw_only=True)
class Rate:
    """A share of successes with its standard error over clips; `number` clips counted."""

    value: float
    error: float
    number: int


def rate(successes: Sequence[bool]) -> Rate:
    """The share of successes; the binomial standard error keeps one pseudo-failure, so that 100 % has a spread too."""
    number = len(successes)
    if number == 0:
        return Rate(value=float("nan"), error=float("nan"), number=0)
    value, guarded = float(np.mean(successes)), (sum(successes) + 0.5) / (number + 1)
    return Rate(value=value, error=float(np.sqrt(guarded * (1 - guarded) / number)), number=number)


def obedience(readings: Sequence[Reading], prompts: Sequence[Asked]) -> dict[str, Rate]:
    """The rate of every attribute over the clips that state it, and of `prompt`: all that it states at once."""
    checked = [obeys(reading, prompt) for reading, prompt in zip(readings, prompts, strict=True)]
    rates = {name: rate([checks[name] for checks in checked if name in checks]) for name in ATTRIBUTES}
    return rates | {"prompt": rate([all(checks.values()) for checks in checked])}


def shuffled(readings: Sequence[Reading], prompts: Sequence[Asked], seed: int = 0, repeats: int = 4) -> dict[str, Rate]:
    """Obedience to another clip's prompt: what remains when the prompt is not read. From true readings it is the
    chance level, which a model that ignores its prompt would score."""
    rng, number = np.random.default_rng(seed), len(readings)
    if number < 2:
        raise ValueError("shuffling prompts takes at least two clips")
    pairs = []
    for _ in range(repeats):
        order = rng.permutation(number)
        # Each clip meets the prompt of the next one in a random ring, never its own.
        pairs += list(zip(order, np.roll(order, 1)))
    return obedience([readings[i] for i, _ in pairs], [prompts[j] for _, j in pairs])
