"""Training never sees the withheld combinations, and sees everything else evenly."""

from collections import Counter

import pytest

from cosmos_lab.worlds import split
from cosmos_lab.worlds.families import FAMILIES, MOTIONS, draw_scene, sample_scene
from cosmos_lab.worlds.scene import CAMERAS, COLORS, FLOORS, LIGHTS, SHAPES


@pytest.fixture(scope="module")
def drawn():
    """Eight hundred scenes before any rejection."""
    return [draw_scene(seed) for seed in range(800)]


@pytest.mark.parametrize("family", FAMILIES)
def test_each_split_holds_what_it_should(family):
    for seed in range(4):
        assert not split.is_withheld(sample_scene(seed, family, "train"))
        assert split.withheld_combinations(sample_scene(seed, family, "withheld"))


def test_withheld_combinations_are_named_after_what_the_scene_holds(drawn):
    for scene in drawn:
        for combination in split.withheld_combinations(scene):
            value, _, partner = combination.rpartition(" ")
            looks = {(body.color, body.shape) for body in scene.objects}
            assert (value, partner) in looks or (
                partner == scene.family and value in {scene.floor, scene.camera} | {color for color, _ in looks}
            )
        assert split.is_withheld(scene) == bool(split.withheld_combinations(scene))


def test_the_pairs_name_real_values_and_leave_each_value_most_of_its_partners():
    assert {c for c, _ in split.COLOR_SHAPE + split.COLOR_FAMILY} <= set(COLORS)
    assert {s for _, s in split.COLOR_SHAPE} <= set(SHAPES)
    assert {f for f, _ in split.FLOOR_FAMILY} <= set(FLOORS) and {c for c, _ in split.CAMERA_FAMILY} <= set(CAMERAS)
    assert {f for _, f in split.COLOR_FAMILY + split.FLOOR_FAMILY + split.CAMERA_FAMILY} <= set(FAMILIES)
    for pairs in (split.COLOR_SHAPE, split.COLOR_FAMILY, split.FLOOR_FAMILY, split.CAMERA_FAMILY):
        assert 3 <= len(set(pairs)) == len(pairs) <= 6
    for pairs, allowed in ((split.COLOR_SHAPE, 2), (split.COLOR_FAMILY, 1), (split.FLOOR_FAMILY, 1)):
        assert max(Counter(value for value, _ in pairs).values()) <= allowed


def test_training_sees_every_single_value_often(drawn):
    train = [scene for scene in drawn if not split.is_withheld(scene)]
    assert len(train) > 0.35 * len(drawn)
    assert {scene.motion for scene in train} == set(MOTIONS)
    for values, attribute in ((FLOORS, "floor"), (LIGHTS, "light"), (FAMILIES, "family")):
        counts = Counter(getattr(scene, attribute) for scene in train)
        assert min(counts[value] for value in values) > 0.4 * len(train) / len(values), (attribute, counts)
    looks = [(body.color, body.shape) for scene in train for body in scene.objects]
    colors, shapes = Counter(color for color, _ in looks), Counter(shape for _, shape in looks)
    assert min(colors[color] for color in COLORS) > 0.03 * len(looks) and min(shapes.values()) > 0.03 * len(looks)


def test_half_of_the_cameras_stand_still(drawn):
    counts = Counter(scene.camera for scene in drawn)
    # 800 draws of one half: three standard deviations are 42.
    assert abs(counts["static"] - 400) < 50 and min(counts[move] for move in CAMERAS) >= 30


def test_an_unknown_split_is_refused(drawn):
    with pytest.raises(ValueError, match="withheld"):
        split.admits("validation", drawn[0])
