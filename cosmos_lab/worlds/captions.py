"""Captions of a scene at three lengths, and what each of them states.

`short` is three to eight words, `sentence` one sentence that names every object by color and shape, `dense` a paragraph
of 60 to 110 words in the manner of Cosmos prompts. Every caption is a function of (scene, length, seed).
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from . import camera
from . import vocabulary as words
from .scene import Body, Scene, size_word

LENGTHS = ("short", "sentence", "dense")
SIDES = ("left", "center", "right")
ATTRIBUTES = ("count", "color", "shape", "motion", "floor", "camera", "light", "size")


@dataclass(frozen=True, kw_only=True)
class Caption:
    """A caption's text, the ATTRIBUTES it states, and the names of the bodies it describes.

    Obedience is scored on stated attributes alone; color, shape and size are stated of the `mentioned` bodies.
    Count is stated when every object is described one by one, so never for towers and rows of dominoes.
    """

    text: str
    length: str
    stated: frozenset[str]
    mentioned: tuple[str, ...]


def expand(grammar: str, rng: np.random.Generator, plural: bool = False) -> str:
    """One text of a grammar: `<one|many>` by `plural`, then `[a|b]` drawn evenly, innermost first."""
    text = re.sub(r"<([^<>|]*)\|([^<>|]*)>", lambda match: match.group(2 if plural else 1), grammar)
    while "[" in text:
        text = re.sub(r"\[([^\[\]]*)\]", lambda match: str(rng.choice(match.group(1).split("|"))), text)
    return text


def _finish(text: str) -> str:
    """Articles, spaces and the capital at the start of each sentence put right."""
    text = re.sub(r"\s+([,.])", r"\1", re.sub(r"\s+", " ", text)).strip()
    text = re.sub(r"\b([Aa]) (?=[aeiou])", r"\1n ", text)
    return re.sub(r"(^|\. )([a-z])", lambda match: match.group(1) + match.group(2).upper(), text)


def _listed(parts: list[str]) -> str:
    return parts[0] if len(parts) == 1 else ", ".join(parts[:-1]) + " and " + parts[-1]


class _Teller:
    """Fills the grammars with one scene; notes which bodies it has described."""

    def __init__(self, scene: Scene, rng: np.random.Generator, sizes: float = 0.0):
        self.scene, self.rng, self.sizes = scene, rng, sizes
        self.mentioned: list[str] = []
        self.sized: set[str] = set()
        self.nouns: dict[str, str] = {}
        self.props: dict[str, str] = {}
        facts = scene.facts
        self.actors, self.struck, self.resting = facts["actors"], facts["struck"], facts["resting"]
        self.group = facts["group"]
        if self.group:
            self.struck = []

    def say(self, grammar: str, plural: bool = False) -> str:
        return expand(grammar, self.rng, plural)

    def noun(self, body: Body) -> str:
        if body.name not in self.nouns:
            self.nouns[body.name] = self.say(f"{words.COLOR_WORDS[body.color]} {words.SHAPE_WORDS[body.shape]}")
        return self.nouns[body.name]

    def named(self, name: str) -> str:
        """An object with its article: indefinite and perhaps sized at first mention, definite afterwards."""
        body = self.scene.body(name)
        if name in self.mentioned:
            return f"the {self.noun(body)}"
        self.mentioned.append(name)
        size = ""
        if size_word(body) and self.rng.random() < self.sizes:
            self.sized.add(name)
            size = self.say(words.SIZE_WORDS[size_word(body)]) + " "
        return f"a {size}{self.noun(body)}"

    def each(self, names: list[str]) -> str:
        return _listed([self.named(name) for name in names])

    def crowd(self) -> str:
        """The tower or the row, with its number and its colors."""
        new = self.group["names"][0] not in self.mentioned
        if not new:
            return "the tower" if self.group["kind"] == "tower" else "the dominoes"
        self.mentioned += self.group["names"]
        number = words.NUMBER_WORDS[len(self.group["names"])]
        colors = _listed([self.say(words.COLOR_WORDS[color]) for color in self.group["colors"]])
        if self.group["kind"] == "tower":
            piled = words.PILED_WORDS[self.scene.body(self.group["names"][0]).shape]
            return self.say(f"a [tower|stack|pile] of {number} {colors} {piled}")
        return self.say(f"{number} {colors} dominoes [in a row|in a line|standing in a row|lined up]")

    def fields(self) -> dict[str, str]:
        """Everything but the objects; objects are resolved where a text needs them, in the order of the text."""
        facts = self.scene.facts
        thrown = facts.get("delivery") == "thrown"
        return {
            "speed": self.say(words.SPEED_WORDS[facts["speed"]]) if facts["speed"] else "",
            "comes": self.say("[flies|shoots|sails|is thrown]" if thrown else "[rolls|comes rolling|rolls fast]"),
            "floor": self.say(words.FLOOR_WORDS[self.scene.floor]),
            "hits": self.say(" and [hits|bumps into|strikes|runs into] {struck}") if self.struck else "",
        }

    def fill(self, text: str) -> str:
        """Resolve `{field}`s from left to right, so that first mentions come first."""
        plain = self.fields()
        while match := re.search(r"\{(\w+)\}", text):
            text = text[: match.start()] + self.field(match.group(1), plain) + text[match.end() :]
        return text

    def field(self, name: str, plain: dict[str, str]) -> str:
        if name == "actor":
            return self.each(self.actors)
        if name == "struck":
            return self.each(self.struck)
        if name == "rest":
            return self.each(self.resting)
        if name == "group":
            return self.crowd()
        if name == "cover" and self.scene.facts["behind"] != "screen":
            return self.named(self.scene.facts["behind"])
        return self.prop(name) if name in words.PROPS else plain[name]

    def prop(self, name: str) -> str:
        """A thing of the stage, indefinite at first mention and definite afterwards."""
        if name in self.props:
            return re.sub(r"^a ", "the ", self.props[name])
        self.props[name] = re.sub(r"^an ", "a ", self.say(words.PROPS[name]))
        return self.props[name]

    def action(self) -> str:
        """The event as one clause, actors first."""
        body = self.say(words.ACTION[self.scene.motion], plural=len(self.actors) > 1)
        return self.fill(body if self.scene.family == "arm" else "{actor} " + body)

    def left_over(self) -> list[str]:
        return [name for name in self.resting if name not in self.mentioned]


def _short(scene: Scene, rng: np.random.Generator) -> Caption:
    while True:
        teller = _Teller(scene, rng)
        many = len(teller.actors) > 1
        grammar = words.BRIEF[scene.motion]
        if len(teller.actors) > 2:
            noun = "balls" if scene.motion == "bounce" else "objects"
            grammar = grammar.replace("{actor}", f"{words.NUMBER_WORDS[len(teller.actors)]} {noun}")
        text = _finish(teller.fill(teller.say(grammar, plural=many)))
        text = text[0].lower() + text[1:]
        if len(text.split()) > 8 or rng.random() < 0.1:  # as people type prompts
            text = re.sub(r"\b(a|an|the) ", "", text)
        if 3 <= len(text.split()) <= 8:
            break
    stated = {"motion"} | ({"color", "shape"} if teller.mentioned else set())
    return Caption(text=text, length="short", stated=frozenset(stated), mentioned=tuple(teller.mentioned))


def _stated(scene: Scene, teller: _Teller, extra: set[str]) -> frozenset[str]:
    stated = {"color", "shape", "motion"} | extra
    if not teller.group:
        stated.add("count")
    if set(teller.mentioned) == {body.name for body in scene.objects if size_word(body)} == teller.sized:
        stated.add("size")
    return frozenset(stated)


def _sentence(scene: Scene, rng: np.random.Generator) -> Caption:
    teller = _Teller(scene, rng, sizes=0.5 if rng.random() < 0.4 else 0.0)
    extra = {"floor"} if rng.random() < 0.6 else set()
    if rng.random() < (0.4 if scene.camera == "static" else 0.75):
        extra.add("camera")
    if rng.random() < 0.15:
        extra.add("light")
    place = teller.say(words.FLOOR_WORDS[scene.floor]) if "floor" in extra else ""
    light = teller.say(words.LIGHT_WORDS[scene.light]) if "light" in extra else ""
    ahead = place and rng.random() < 0.4
    text = f"on {place}, " if ahead else ""
    text += teller.action()
    text += f" on {place}" if place and not ahead else ""
    text += f" under {light}" if light else ""
    if rest := teller.left_over():
        many = len(rest) > 1
        text += " " + teller.say(words.STILL_CLAUSE, plural=many).replace("{rest}", teller.each(rest))
    if "camera" in extra:
        clause = teller.say(words.CAMERA_CLAUSE[scene.camera])
        joint = "and" if rest else "[and|while]"
        text = f"{clause} as {text}" if rng.random() < 0.15 and not ahead else f"{text}, {joint} {clause}"
    return Caption(
        text=_finish(teller.say(text) + "."),
        length="sentence",
        stated=_stated(scene, teller, extra),
        mentioned=tuple(teller.mentioned),
    )


def side_of(scene: Scene, name: str) -> tuple[str, float]:
    """Where a body is seen in the first picture: one of SIDES, and how many metres behind the middle."""
    start = scene.initial["bodies"][name]["position"]
    eye, target = camera.path(scene.camera, scene.initial["view"], 1)
    u, _, depth = camera.project(np.array([[start]]), eye, target)
    side = "left" if u[0, 0] < 72 else "right" if u[0, 0] > 120 else "center"
    return side, depth[0, 0] - scene.initial["view"]["distance"]


def place_words(scene: Scene, name: str) -> str:
    """The grammar of a phrase that says `side_of`."""
    side, near = side_of(scene, name)
    if side == "center":
        return "[near the center of the frame|in the middle of the frame|close to the center|around the middle]"
    layer = f"|in the {side} foreground" if near < -0.5 else f"|in the {side} background" if near > 0.7 else ""
    return f"[on the {side}|on the {side} side of the frame|at the {side}|toward the {side} of the view{layer}]"


def _cast(scene: Scene, teller: _Teller) -> list[str]:
    """One sentence about each thing in the scene, before anything happens."""
    sentences = []
    hung = scene.family == "pendulum"
    for name in teller.actors:
        place = "" if hung else teller.say(place_words(scene, name))
        begin = teller.say(words.BEGINNING[scene.family])
        sentences.append(teller.fill(f"{teller.named(name)} {begin} {place}"))
    if teller.group:
        first = teller.group["names"][0]
        waits = teller.say("[<stands|stand>|<waits|wait>]", plural=teller.group["kind"] == "dominoes")
        sentences.append(f"{teller.crowd()} {waits} {teller.say(place_words(scene, first))}")
    stands = "[stands|rests|sits|is placed]"
    for name in teller.struck + teller.resting:
        sentences.append(teller.say(f"{teller.named(name)} {stands} {place_words(scene, name)}"))
    return sentences


def _paragraph(scene: Scene, teller: _Teller) -> str:
    opening = teller.fill(teller.say(words.OPENING))
    cast = _cast(scene, teller)
    action = teller.say("[Then|Soon|Now|At once|As the clip runs,] ") + teller.action()
    spare = []
    if teller.resting:
        still = "[<stays|stay> still throughout|<remains|remain> untouched|<does|do> not move|<keeps|keep> still]"
        spare.append(f"{teller.each(teller.resting)} {teller.say(still, plural=len(teller.resting) > 1)}")
    view = teller.say(words.CAMERA_CLAUSE[scene.camera] + words.CAMERA_DETAIL[scene.camera])
    needed = [opening, *cast, action, view, teller.say(words.LIGHT_DETAIL[scene.light])]
    spare.append(teller.say(words.FLOOR_DETAIL[scene.floor]))
    spare += [teller.say(words.CLOSING[int(index)]) for index in teller.rng.permutation(len(words.CLOSING))]
    goal = int(teller.rng.integers(66, 96))
    while spare and sum(len(part.split()) for part in needed) < goal:
        needed.append(spare.pop(0))
    return _finish(". ".join(needed) + ".")


def _dense(scene: Scene, rng: np.random.Generator) -> Caption:
    while True:
        teller = _Teller(scene, rng, sizes=1.0)
        text = _paragraph(scene, teller)
        if 60 <= len(text.split()) <= 110:
            break
    stated = _stated(scene, teller, {"floor", "camera", "light"})
    return Caption(text=text, length="dense", stated=stated, mentioned=tuple(teller.mentioned))


def describe(scene: Scene, length: str = "sentence", seed: int = 0) -> Caption:
    """The caption of a scene with what it states; ValueError for an unknown length."""
    tellers = {"short": _short, "sentence": _sentence, "dense": _dense}
    if length not in tellers:
        raise ValueError(f"unknown length {length!r}; choose one of {', '.join(LENGTHS)}")
    key = np.array([scene.seed, 4 * seed + LENGTHS.index(length)], dtype=np.uint64)
    return tellers[length](scene, np.random.Generator(np.random.Philox(key=key)))


def caption(scene: Scene, length: str = "sentence", seed: int = 0) -> str:
    """The text of `describe`."""
    return describe(scene, length, seed).text


def corpus(count: int, seed: int = 0) -> Iterator[str]:
    """`count` captions of drawn scenes that were never simulated, lengths mixed: text to train a tokenizer on."""
    from .families import draw_scene

    for index in range(count):
        scene = draw_scene(seed * 1_000_003 + index // 3)
        yield caption(scene, LENGTHS[index % 3], seed=index)
