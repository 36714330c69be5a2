"""Clips with one thing wrong."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from cosmos_lab.worlds import mistakes
from cosmos_lab.worlds.families import sample_rollout
from cosmos_lab.worlds.families.stage import hidden_share, in_picture, reach, resting_pose
from cosmos_lab.worlds.mistakes import (
    JUDGED,
    MENDED,
    TWIN,
    accompanied,
    missing,
    mistaken,
    recolored,
    reshaped,
    span,
    twice,
)
from cosmos_lab.worlds.render import render
from cosmos_lab.worlds.scene import SIZES
from cosmos_lab.worlds.split import is_withheld


@pytest.fixture(scope="module")
def rolling():
    """A roll with objects that lie still."""
    rollouts = (sample_rollout(seed, family="roll") for seed in range(20))
    return next(rollout for rollout in rollouts if len(rollout.scene.facts["resting"]) > 1)


@pytest.fixture(scope="module")
def tower():
    return next(rollout for rollout in (sample_rollout(seed, family="tower") for seed in range(20))
                if len(rollout.scene.facts["group"]["colors"]) > 1)  # fmt: skip


def same_but(wrong, right, names):
    """Whether all bodies but those of these names are as they were, and so is the camera."""
    kept = [body.name for body in right.scene.bodies if body.name not in names]
    return all(
        wrong.scene.body(name) == right.scene.body(name) and np.array_equal(wrong.track(name), right.track(name))
        for name in kept
    ) and np.array_equal(wrong.eye, right.eye)


def test_a_twin_lies_apart_from_all_and_is_seen_all_along(rolling, monkeypatch):
    monkeypatch.setattr(mistakes, "COMPANIONS", 0.0)
    for seed in range(8):
        wrong = twice(rolling, np.random.default_rng(seed))
        twin, others = wrong.scene.bodies[-1], rolling.scene.bodies
        assert twin.name == TWIN and same_but(wrong, rolling, ()) and len(wrong.scene.bodies) == len(others) + 1
        assert (twin.color, twin.shape) in {(body.color, body.shape) for body in rolling.scene.objects}
        assert twin.size in SIZES[twin.shape].values() and np.ptp(wrong.track(TWIN), axis=0).max() == 0
        apart = np.linalg.norm(rolling.position - wrong.track(TWIN)[:, None], axis=2)
        assert (apart > np.array([reach(body) for body in others]) + reach(twin)).all()
        assert in_picture(wrong, TWIN, margin=0.9).all() and hidden_share(wrong, TWIN)[0] < 0.3


@pytest.mark.parametrize("kind", [twice, accompanied])
def test_a_twin_of_what_moves_may_move_beside_it(monkeypatch, kind):
    monkeypatch.setattr(mistakes, "COMPANIONS", 1.0)
    falling = next(rollout for rollout in (sample_rollout(seed, family="fall") for seed in range(20))
                   if len(rollout.scene.facts["actors"]) == 1 and not rollout.scene.facts["resting"]
                   and rollout.scene.body(rollout.scene.facts["actors"][0]).shape == "sphere")  # fmt: skip
    (actor,) = falling.scene.facts["actors"]
    found = [wrong for wrong in (kind(falling, np.random.default_rng(seed)) for seed in range(8)) if wrong]
    assert len(found) > 4 and len({wrong.scene.body(TWIN).size for wrong in found}) == 2
    for wrong in found:
        beside = wrong.track(TWIN) - falling.track(actor)
        assert np.ptp(beside, axis=0).max() < 1e-9 and np.linalg.norm(beside[0]) > 0.3
        twin, one = wrong.scene.body(TWIN), falling.scene.body(actor)
        # Small or large, a ball touches the floor when the other one does.
        assert beside[0, 2] == pytest.approx(twin.size[0] - one.size[0])
        assert replace(twin, name=actor, size=one.size) == one and twin.size in SIZES[one.shape].values()
        assert in_picture(wrong, TWIN, margin=0.9)[0]
        assert np.array_equal(wrong.quaternion[:, -1], falling.quaternion[:, falling.scene.index(actor)])


def test_a_twin_shows_in_the_picture_and_nothing_else_changes(rolling):
    wrong = twice(rolling, np.random.default_rng(0))
    before, after = (render(clip, num_pixel_frames=1) for clip in (rolling, wrong))
    here = after.body_index == wrong.scene.index(TWIN)
    assert here.sum() > 40 and (before.body_index[~here] == after.body_index[~here]).all()
    changed = (before.pixels != after.pixels).any(dim=-1)
    # Its shadow, and its mirror image at most, reach beyond it.
    assert changed[here].double().mean() > 0.95 and changed[~here].double().mean() < 0.1


def test_cubes_of_a_tower_get_no_twin_and_no_other_shape(tower):
    ball = tower.scene.body(tower.scene.facts["actors"][0])
    twins = [twice(tower, np.random.default_rng(seed)) for seed in range(8)]
    assert {wrong.scene.body(TWIN).color for wrong in twins if wrong} == {ball.color}
    # Its ball moves: nothing single lies still.
    assert all(kind(tower, np.random.default_rng(0)) is None for kind in (missing, reshaped))


def test_what_lies_still_may_be_missing_or_have_another_shape(rolling):
    still, shapes = set(rolling.scene.facts["resting"]), set()
    for seed in range(12):
        wrong = missing(rolling, np.random.default_rng(seed))
        (gone,) = {body.name for body in rolling.scene.bodies} - {body.name for body in wrong.scene.bodies}
        assert gone in still and same_but(wrong, rolling, {gone})
        wrong = reshaped(rolling, np.random.default_rng(seed))
        if wrong is None:  # in the place of a small one there may be no room for another shape
            continue
        (other,) = [body for body in wrong.scene.objects if body.shape != rolling.scene.body(body.name).shape]
        assert other.name in still and other.color == rolling.scene.body(other.name).color
        assert same_but(wrong, rolling, {other.name})
        assert (wrong.track(other.name)[:, 2] == resting_pose(other, 0)[1]).all()
        shapes.add(other.shape)
    assert len(shapes) > 1


def test_all_or_a_part_of_one_color_is_another(tower, rolling):
    shares, taken = set(), set()
    for seed, right in [(seed, right) for seed in range(24) for right in (tower, rolling)]:
        wrong = recolored(right, np.random.default_rng(seed))
        new = [body for body in wrong.scene.objects if body != right.scene.body(body.name)]
        (old,), (color,) = ({right.scene.body(body.name).color for body in new}, {body.color for body in new})
        assert old != color and all(replace(body, color=old) == right.scene.body(body.name) for body in new)
        taken.add(color in {body.color for body in right.scene.objects})
        shares.add((right is tower, len(new) < sum(body.color == old for body in right.scene.objects)))
    assert shares == {(True, True), (True, False), (False, False)} and taken == {True, False}


@pytest.mark.parametrize("odds", [MENDED, JUDGED])
def test_mistakes_are_drawn_by_their_odds_and_never_show_what_is_withheld(rolling, odds):
    found = [mistaken(rolling, np.random.default_rng(seed), odds) for seed in range(200)]
    assert sum(odds.values()) == pytest.approx(1) and not any(is_withheld(wrong.scene) for wrong in found)
    # What would show a withheld combination gives way to another kind; so does what finds no place.
    more, less = (sum(sign * (len(wrong.scene.bodies) - len(rolling.scene.bodies)) > 0 for wrong in found)
                  for sign in (1, -1))  # fmt: skip
    for number, share in ((more, odds[twice] + odds.get(accompanied, 0)), (less, odds[missing])):
        assert abs(number - 200 * share) < 3.1 * (200 * share * (1 - share)) ** 0.5
    yellow = [recolored(rolling, np.random.default_rng(seed)) for seed in range(60)]
    assert any(is_withheld(wrong.scene) for wrong in yellow)


def test_what_finds_no_place_gives_way_to_the_next(rolling):
    odds = {lambda rollout, rng: None: 0.9, missing: 0.1}
    assert all(len(mistaken(rolling, np.random.default_rng(seed), odds).scene.bodies) == len(rolling.scene.bodies) - 1
               for seed in range(4))  # fmt: skip
    assert mistaken(rolling, np.random.default_rng(0), {lambda rollout, rng: None: 1.0}) is None


def test_a_mistake_shows_all_along_or_begins_or_ends_on_the_way_or_both():
    spans = [span(33, np.random.default_rng(seed)) for seed in range(400)]
    assert all(0 <= part.start < part.stop <= 33 for part in spans)
    kinds = Counter((part.start == 0, part.stop == 33) for part in spans)
    assert 190 < kinds[True, True] < 250 and all(40 < kinds[kind] < 80 for kind in kinds if kind != (True, True))
    assert len(kinds) == 4 and len({part.start for part in spans}) > 20
