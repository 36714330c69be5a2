"""The joint rule, and the laws that it holds clips to."""

from dataclasses import replace

import numpy as np
import pytest
from made_worlds import FPS, LENGTH, ball, cube, reading, scene, track
from test_physics import project, rolling, seen_fall

from cosmos_lab.evaluation.joint import Case, joint_rates, judge, law_tolerances
from cosmos_lab.evaluation.laws import (
    Tolerance,
    equivalent_radius,
    first_motion,
    law_error,
    law_of,
    lowest_time,
    tolerance,
)  # fmt: skip
from cosmos_lab.evaluation.obedience import asked
from cosmos_lab.evaluation.physics import Lens, ball_radius
from cosmos_lab.worlds.captions import Caption
from cosmos_lab.worlds.scene import Body

LENS = Lens(pitch=10.0)
FALL = scene([ball()])
CAPTION = Caption(text="", length="dense", stated=frozenset({"color", "shape", "motion", "count"}), mentioned=("ball",))
CASE = Case(scene=FALL, asked=asked(FALL, CAPTION), size_is_stated=True)
EXACT = {"fall": Tolerance(bias=0.0, sigma=0.02, number=50)}


def falling(gravity=9.81, **clip):
    return reading([seen_fall(LENS, gravity=gravity)[0]], **clip)


def test_laws_follow_motion_and_camera():
    assert law_of(FALL) == "fall" and law_of(replace(FALL, camera="pan left")) is None
    assert law_of(replace(FALL, family="hide", motion="pass behind to the left")) == "roll"
    assert law_of(replace(FALL, family="pendulum", motion="swing from the left")) == "pendulum"
    assert law_of(replace(FALL, family="tower", motion="tower hit from the left")) is None


def test_law_errors_are_relative():
    assert law_error(falling(), FALL) == pytest.approx(0, abs=0.01)
    assert law_error(falling(gravity=9.81 * 1.3), FALL) == pytest.approx(0.3, abs=0.02)
    assert np.isnan(law_error(reading(), FALL)) and law_error(reading(), replace(FALL, camera="zoom in")) is None


def test_an_open_size_may_be_either():
    small = scene([ball("small")])
    assert law_error(falling(), small) < -0.2 and abs(law_error(falling(), small, size_is_stated=False)) < 0.01


def test_a_roll_is_held_to_its_speed_until_the_hit():
    made = scene([ball(), cube()], family="roll", motion="roll right and hit", struck=["cube"])
    speeds = np.where(np.arange(LENGTH) < 18, 0.9, 0.2)
    (position, area), _ = rolling(speeds, LENS)
    hit = np.where(np.arange(LENGTH) < 18, 0.0, 30.0)
    struck = track(np.stack([120 + hit, np.full(LENGTH, 60.0)], axis=1), color="blue", shape="box")
    roll = track(position, area=area)
    assert law_error(reading([roll, struck]), made) == pytest.approx(0, abs=0.03) and first_motion(struck) == 18
    assert law_error(reading([roll]), made) < -0.3


def test_a_pendulum_is_held_to_its_period():
    bob = ball("small")
    made = scene([bob], family="pendulum", motion="swing from the left")
    from cosmos_lab.worlds.families.pendulum import PIVOT_HEIGHT

    length = PIVOT_HEIGHT - 0.06 - bob.size[0]

    def swing(slow):
        quarter = slow * 0.5 * np.pi * np.sqrt(length / 9.81) * (1 + np.radians(40) ** 2 / 16)
        angle = np.radians(40) * np.cos(0.5 * np.pi * np.arange(LENGTH) / FPS / quarter)
        path = np.stack([length * np.sin(angle), -0.6 + length * np.cos(angle), np.full(LENGTH, 4.0)], axis=1)
        return reading([track(project(path, LENS)[0])])

    assert law_error(swing(1.0), made) == pytest.approx(0, abs=0.02)
    assert law_error(swing(1.2), made) == pytest.approx(0.2, abs=0.03)
    assert np.isnan(lowest_time(track(np.zeros((LENGTH, 2)), area=0)))


def test_every_shape_has_an_equivalent_ball():
    assert equivalent_radius("sphere", (0.3, 0, 0)) == pytest.approx(0.3)
    assert equivalent_radius("box", (0.1, 0.1, 0.1)) == pytest.approx(np.sqrt(6 / np.pi) * 0.1)
    # A capsule without length is a ball; a cylinder as high as wide covers more than its inscribed ball.
    assert equivalent_radius("capsule", (0.2, 0, 0)) == pytest.approx(0.2)
    assert equivalent_radius("cylinder", (0.2, 0.2, 0)) > 0.2


def test_tolerance_is_robust():
    errors = [0.01, 0.02, 0.03, 0.0, 0.04, 5.0, None, float("nan")]
    found = tolerance(errors)
    assert found.number == 6 and found.bias == pytest.approx(0.025) and found.sigma < 0.05
    assert found.admits(0.025) and not found.admits(0.3) and not found.admits(float("nan"))
    with pytest.raises(ValueError, match="at least 3"):
        tolerance([0.1, None])


def test_a_clip_passes_only_with_attributes_and_physics():
    assert judge(falling(), CASE, EXACT).passes
    assert not judge(falling(gravity=12.0), CASE, EXACT).passes
    unreadable = judge(falling(certainty=0.1), CASE, EXACT)
    assert not unreadable.passes and not unreadable.permanence
    wrong = judge(falling(motion="throw left"), CASE, EXACT)
    assert not wrong.passes and wrong.physics and wrong.faults == ("motion",)
    assert judge(falling(gravity=12.0), CASE, EXACT).faults == ("physics",) and "permanence" in unreadable.faults
    assert not judge(falling(), CASE, EXACT).faults


def test_a_law_that_the_render_does_not_show_is_not_asked():
    assert judge(falling(gravity=12.0), CASE, EXACT, rendered=reading()).physics is None
    assert judge(falling(gravity=12.0), CASE, EXACT, rendered=falling()).physics is False
    moving = Case(scene=replace(FALL, camera="pan left"), asked=CASE.asked, size_is_stated=True)
    assert judge(falling(), moving, EXACT).physics is None


def test_rates_by_number_of_objects_and_by_split():
    two = scene([ball(), Body(name="cube", shape="box", size=(0.2, 0.2, 0.2), color="pink")])
    cases = [CASE, CASE, Case(scene=two, asked=replace(CASE.asked, withheld=True), size_is_stated=True)]
    verdicts = [judge(falling(), CASE, EXACT), judge(falling(gravity=13.0), CASE, EXACT), judge(falling(), CASE, EXACT)]
    rates = joint_rates(verdicts, cases)
    assert [rates[name].value for name in ("familiar", "withheld")] == [0.5, 1.0]
    assert rates["all"].value == pytest.approx(2 / 3)
    assert rates["1 object"].number == 2 and rates["2 objects"].number == 1 and rates["permanence"].value == 1


def test_tolerances_come_from_rendered_clips():
    rendered = [falling(gravity=9.81 * (1 + error)) for error in (-0.02, 0.0, 0.01, 0.03)]
    found = law_tolerances(rendered, [CASE] * 4)
    assert set(found) == {"fall"} and found["fall"].sigma < 0.05 and abs(found["fall"].bias) < 0.02
    assert ball_radius("large") == FALL.bodies[0].size[0]
