"""Continuations against baselines whose errors are known."""

from dataclasses import replace

import numpy as np
import pytest
from made_worlds import LENGTH, ball, cube, drop, reading, rollout, scene, track

from cosmos_lab.evaluation.continuation import (
    Errors,
    continuation_errors,
    held,
    is_steady,
    last_pixel_frame,
    ratios,
)  # fmt: skip

TIME = np.arange(LENGTH)
STEADY = np.stack([20 + 4.0 * TIME, np.full(LENGTH, 50.0)], axis=1)
CURVED = np.stack([np.full(LENGTH, 50.0), 10 + 0.1 * TIME**2], axis=1)


def errors(read, true, num_given=5, last=LENGTH):
    return continuation_errors(reading([track(read)]), reading([track(true)]), num_given=num_given, last=last)


def test_a_perfect_continuation_has_no_error():
    found = errors(CURVED, CURVED)
    assert found.model == 0 and found.repeat > 0 and found.number == LENGTH - 5


def test_repeating_the_last_pixel_frame_has_the_baselines_error():
    frozen = np.where(TIME[:, None] < 5, STEADY, STEADY[4])
    found = errors(frozen, STEADY)
    assert found.model == pytest.approx(found.repeat) and found.linear == pytest.approx(0, abs=1e-9)
    assert found.repeat == pytest.approx(4 * np.mean(TIME[5:] - 4))


def test_linear_extrapolation_fails_where_something_accelerates():
    found = errors(CURVED, CURVED)
    assert 0 < found.linear < found.repeat


def test_one_picture_has_no_speed():
    assert np.isnan(errors(STEADY, STEADY, num_given=1).linear)


def test_a_lost_object_stays_where_it_was_last_read():
    lost = track(STEADY, area=np.where(TIME < 10, 300, 0))
    found = continuation_errors(reading([lost]), reading([track(STEADY)]), num_given=5, last=LENGTH)
    assert found.model == pytest.approx(4 * np.maximum(TIME[5:] - 9, 0).mean())
    missing = continuation_errors(reading(), reading([track(STEADY)]), num_given=5, last=LENGTH)
    assert missing.model == pytest.approx(missing.repeat)
    assert held(None, np.zeros(2), 5).shape[0] >= LENGTH


def test_what_was_never_given_is_not_scored():
    late = track(STEADY, area=np.where(TIME < 8, 0, 300))
    assert continuation_errors(reading(), reading([late]), num_given=5, last=LENGTH) is None


def test_a_tower_counts_until_a_quarter_second_after_contact():
    bodies = [ball(), cube(name="cube0")]
    group = {"kind": "tower", "names": ["cube0"], "colors": ["blue"]}
    made = scene(bodies, family="tower", motion="tower hit from the left", group=group)
    still = rollout(made, [np.zeros(3), np.ones(3)])
    hit = replace(still, events=((0.4, "contact", "ball", "floor"), (0.5, "contact", "ball", "cube0")))
    assert last_pixel_frame(hit) == 13 and last_pixel_frame(still) == LENGTH and last_pixel_frame(drop()) == LENGTH


def test_steady_is_a_straight_roll_under_a_still_camera():
    straight = scene([ball()], family="roll", motion="roll left")
    assert is_steady(rollout(straight, [np.zeros(3)])) and not is_steady(drop())
    assert not is_steady(rollout(replace(straight, camera="pan left"), [np.zeros(3)]))


def test_ratios_are_of_means():
    easy, hard = (Errors(model=model, repeat=2 * model, linear=4 * model, number=9) for model in (1, 5))
    found = ratios([easy, None, hard])
    assert found.over_repeat == 0.5 and found.over_linear == 0.25 and found.number == 2
    with pytest.raises(ValueError, match="more clips"):
        ratios([None])
