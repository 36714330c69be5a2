"""Towers of drums, which only training asks for: they show in a stack what colors no cube of training has."""

from dataclasses import replace

import pytest

from cosmos_lab.worlds.captions import LENGTHS, caption, describe
from cosmos_lab.worlds.families import sample_rollout
from cosmos_lab.worlds.mixture import Mixture, simulate_many
from cosmos_lab.worlds.split import is_withheld


def shapes(rollout):
    """The shapes of what a tower is built of."""
    scene = rollout.scene
    return {scene.body(name).shape for name in scene.facts["group"]["names"]}


@pytest.fixture(scope="module")
def towers():
    return [sample_rollout(seed, "tower", piled="cylinder") for seed in range(16)]


def test_drums_bring_pink_into_towers_of_training(towers):
    colors = {color for rollout in towers for color in rollout.scene.facts["group"]["colors"]}
    assert all(shapes(rollout) == {"cylinder"} for rollout in towers) and "pink" in colors
    assert not any(is_withheld(rollout.scene) for rollout in towers)


def test_captions_call_them_drums_or_cylinders(towers):
    for rollout in towers:
        told = [caption(rollout.scene, length) for length in LENGTHS[1:]]
        assert all("drums" in text or "cylinders" in text for text in told)
        assert not any(word in text for text in told for word in ("cubes", "blocks"))


def test_cubes_are_as_ever_where_no_drums_are_asked_for():
    """The share has a stream of its own: it moves neither geometry nor words of the other towers."""
    half = Mixture(drums=0.5)
    mixed, plain = list(simulate_many(range(24), "tower", mixture=half)), list(simulate_many(range(24), "tower"))
    assert all(shapes(rollout) == {"box"} for rollout in plain)
    cubes = [(one, other) for one, other in zip(mixed, plain, strict=True) if shapes(one) == {"box"}]
    assert 4 <= len(cubes) <= 20
    for one, other in cubes:
        assert one.scene == other.scene and (one.position == other.position).all()


def test_drums_change_no_other_family():
    one, other = Mixture(drums=1.0).rollout(3, "dominoes"), sample_rollout(3, "dominoes")
    assert one.scene == other.scene and (one.position == other.position).all()


def test_a_tower_of_drums_is_told_in_the_words_of_its_twin_of_cubes(towers):
    scene = towers[0].scene
    twin = replace(scene, bodies=tuple(replace(body, shape="box", size=(0.16, 0.16, 0.16))
                                       if body.shape == "cylinder" else body for body in scene.bodies))  # fmt: skip
    for length in LENGTHS:
        drums, cubes = describe(scene, length), describe(twin, length)
        assert drums.mentioned == cubes.mentioned and drums.stated == cubes.stated
