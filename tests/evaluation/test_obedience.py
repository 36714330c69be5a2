"""Obedience is scored on what a prompt states, and unreadable clips fail."""

from dataclasses import replace

import numpy as np
import pytest
from made_worlds import ball, cube, reading, scene, track

from cosmos_lab.evaluation.obedience import ATTRIBUTES, asked, counted, obedience, obeys, rate, shuffled
from cosmos_lab.worlds.captions import Caption
from cosmos_lab.worlds.scene import COLORS

STILL = np.full((33, 2), 50.0)
MADE = scene([ball(), cube()], resting=["cube"])
EVERYTHING = frozenset({"count", "color", "shape", "motion", "floor", "camera", "light"})


def caption(stated=EVERYTHING, mentioned=("ball", "cube")):
    return Caption(text="", length="dense", stated=frozenset(stated), mentioned=mentioned)


PROMPT = asked(MADE, caption())


def shown(*objects, **clip):
    return reading([track(STILL, color=color, shape=shape) for color, shape in objects], **clip)


RIGHT = (("red", "sphere"), ("blue", "box"))


def test_a_right_clip_is_right_in_everything():
    assert obeys(shown(*RIGHT), PROMPT) == dict.fromkeys(ATTRIBUTES, True)


@pytest.mark.parametrize(
    ("clip", "wrong"),
    [
        (shown(("red", "sphere"), ("green", "box")), {"color", "shape"}),
        (shown(("red", "box"), ("blue", "sphere")), {"shape"}),
        (shown(("red", "sphere")), {"count", "color", "shape"}),
        (shown(*RIGHT, ("pink", "box")), {"count", "color"}),
        (shown(*RIGHT, motion="throw left"), {"motion"}),
        (shown(*RIGHT, camera="pan left", floor="sand"), {"camera", "floor"}),
    ],
)
def test_each_mistake_is_booked_where_it_belongs(clip, wrong):
    assert {name for name, right in obeys(clip, PROMPT).items() if not right} == wrong


def test_only_what_is_stated_counts():
    brief = asked(MADE, caption({"motion", "color", "shape"}, mentioned=("ball",)))
    other = shown(("red", "sphere"), ("pink", "box"), floor="sand")
    assert obeys(other, brief) == dict.fromkeys(("color", "shape", "motion"), True)
    silent = asked(MADE, caption({"motion"}, mentioned=()))
    assert set(obeys(shown(), silent)) == {"motion"}


def test_a_short_prompt_leaves_room_for_what_rests():
    """Its like in training passes over what rests, so another body is no disobedience; in a longer one it is."""
    alone = scene([ball()])
    told = {"short": True, "sentence": False, "dense": False}
    for length, forgiven in told.items():
        prompt = asked(alone, replace(caption({"motion", "color", "shape"}, mentioned=("ball",)), length=length))
        crowd = shown(("red", "sphere"), ("pink", "box"))
        assert obeys(crowd, prompt)["color"] is forgiven and prompt.everything is not forgiven
        assert obeys(shown(("pink", "box")), prompt)["color"] is False


def test_a_tower_has_the_colors_that_are_told_or_any_that_nothing_else_has():
    tower = {"kind": "tower", "names": ["cube"], "colors": ["blue"]}
    made = scene([ball(), cube()], family="tower", group=tower)
    told, open_ = asked(made, caption()), asked(made, caption({"motion", "color", "shape"}, mentioned=("ball",)))
    assert told.groups == ("blue",) and PROMPT.groups == ()
    assert set(open_.groups) == set(COLORS) - {"red"}
    assert set(asked(made, caption({"motion"}, mentioned=())).groups) == set(COLORS)


def test_an_unreadable_clip_is_wrong_in_everything():
    checks = obeys(replace(shown(*RIGHT), certainty=0.1), PROMPT)
    assert len(checks) == 7 and not any(checks.values())


def test_withheld_combinations_are_known():
    assert not PROMPT.withheld
    assert asked(scene([ball(color="green")]), caption(mentioned=("ball",))).withheld


def test_a_double_counts_twice():
    double = track(STILL, color="red")
    double.spread[:] = 40
    # A wide mask alone is no double: the class map must show two bodies.
    assert counted(reading([double])) == 1


def test_rates_carry_an_error():
    half = rate([True, False] * 50)
    assert half.value == 0.5 and half.error == pytest.approx(0.05, rel=0.02) and half.number == 100
    assert rate([True] * 100).error > 0 and np.isnan(rate([]).value)


def test_shuffling_finds_the_chance_level():
    """Eight floors' worth of clips in four kinds: a foreign prompt fits about one time in four."""
    floors = ("wood", "sand", "grass", "concrete") * 20
    prompts = [replace(PROMPT, floor=floor) for floor in floors]
    clips = [shown(*RIGHT, floor=floor) for floor in floors]
    assert obedience(clips, prompts)["floor"].value == 1 and obedience(clips, prompts)["prompt"].value == 1
    assert shuffled(clips, prompts)["floor"].value == pytest.approx(0.25, abs=0.1)
    with pytest.raises(ValueError, match="at least two"):
        shuffled(clips[:1], prompts[:1])
