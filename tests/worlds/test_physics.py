"""Worlds obey physics, and every scene does what its label says."""

import dataclasses
import io
import math

import numpy as np
import pytest

from cosmos_lab.worlds import camera, families
from cosmos_lab.worlds.families.stage import hidden_share, in_picture, reach, shift, touches, upright
from cosmos_lab.worlds.mixture import simulate_many
from cosmos_lab.worlds.physics import BOUNCE, GRAVITY, fixed, free, simulate
from cosmos_lab.worlds.scene import CAMERAS, SIZES, Body, Rollout, Scene

PER_FAMILY = 8


@pytest.fixture(scope="module")
def rollouts() -> dict[str, list[Rollout]]:
    """Rollouts of every family, eight seeds each, still cameras and moving ones, withheld combinations included."""
    seeds = range(PER_FAMILY)
    return {name: [families.sample_rollout(seed, name, "any") for seed in seeds] for name in families.FAMILIES}


def every(rollouts):
    return [rollout for some in rollouts.values() for rollout in some]


def stage(bodies, starts, **initial) -> Scene:
    """A bare scene of the given bodies and starts."""
    view = {"target": [0.0, 0.0, 0.5], "distance": 4.0, "height": 1.5, "azimuth": 0.0}
    starts = {body.name: start for body, start in zip(bodies, starts)}
    return Scene(
        seed=0, family="fall", motion="fall", bodies=tuple(bodies), floor="wood", light="noon", camera="static",
        initial={"bodies": starts, "view": view} | initial,
    )  # fmt: skip


def ball(name="ball", size="small"):
    return Body(name=name, shape="sphere", size=SIZES["sphere"][size], color="red")


def test_a_released_body_falls_by_half_g_t_squared():
    rollout = simulate(stage([ball()], [free([0, 0, 1.5])]))
    times = np.arange(8) / 16.0
    # Semi-implicit Euler at 1/480 s runs ahead of the parabola by g t dt / 2: 4 mm after 0.44 s.
    assert np.abs(1.5 - rollout.track("ball")[:8, 2] - 0.5 * GRAVITY * times**2).max() < 0.005


@pytest.mark.parametrize("restitution", [0.3, 0.5, BOUNCE])
def test_a_ball_rebounds_with_its_restitution(restitution):
    rollout = simulate(stage([ball()], [free([0, 0, 1.4], restitution=restitution)]), num_pixel_frames=150, fps=96)
    height, lands = rollout.track("ball")[:, 2] - 0.2, touches(rollout, "ball", "floor")
    peak = height[int(lands[0] * 96) + 3 : int(lands[1] * 96)].max()
    # The contact is a spring of 12 ms, in which gravity and the step size also act: 0.04 of the speed.
    assert math.sqrt(peak / 1.2) == pytest.approx(restitution, abs=0.04)


def test_upright_cylinders_stand_still():
    """An upright cylinder must not be thrown by the cancellation that the physics guards against."""
    bodies = [Body(name=f"c{i}", shape="cylinder", size=SIZES["cylinder"]["small"], color="red") for i in range(40)]
    turns = [0.05 * i for i in range(40)]
    starts = [
        free([0.7 * (i % 8), 0.7 * (i // 8), 0.2], quaternion=[math.cos(turn), 0, 0, math.sin(turn)])
        for i, turn in enumerate(turns)
    ]
    rollout = simulate(stage(bodies, starts, crowd=True), num_pixel_frames=9)
    assert np.abs(rollout.position - rollout.position[0]).max() < 0.002


def test_overlapping_starts_are_noted():
    post = Body(name="post", shape="box", size=(0.2, 0.2, 0.2), color="steel", role="prop")
    rollout = simulate(stage([ball(), post], [free([0, 0, 0.3]), fixed([0, 0, 0.2])]), num_pixel_frames=1)
    assert rollout.events[0][:2] == (0.0, "overlap")


def test_a_rate_that_does_not_divide_the_looks_is_refused():
    with pytest.raises(ValueError, match="divides 96"):
        simulate(stage([ball()], [free([0, 0, 1])]), fps=25)


def test_what_rolls_keeps_its_speed_and_does_not_slip(rollouts):
    free_rolls = [r for r in rollouts["roll"] if not r.scene.facts["struck"]]
    assert free_rolls
    for rollout in free_rolls:
        name = rollout.scene.facts["actors"][0]
        radius = rollout.scene.body(name).size[0]
        speed = np.linalg.norm(np.diff(rollout.track(name)[:, :2], axis=0), axis=1) * 16.0
        q = rollout.quaternion[:, rollout.scene.index(name)]
        turned = 2.0 * np.arccos(np.clip(np.abs((q[1:] * q[:-1]).sum(axis=1)), 0.0, 1.0)) * 16.0
        assert speed.max() / speed.min() < 1.05
        # Turns beyond half a revolution between pixel frames would fold; the fastest body turns 0.67 rad.
        assert np.allclose(turned * radius, speed, rtol=0.05)


def test_a_pendulum_keeps_its_length_and_energy(rollouts):
    swings = [r for r in rollouts["pendulum"] if not r.scene.facts["struck"]]
    assert swings
    for rollout in swings:
        track = rollout.track(rollout.scene.facts["actors"][0])
        beam_end = rollout.track("post")[0] - [0.0, 0.45, 0.0]
        length = np.linalg.norm((track - beam_end)[:, [0, 2]] - [0.0, 1.5 - beam_end[2]], axis=1)
        assert np.ptp(length) < 0.005
        middle = track[:, 0] - beam_end[0]
        far_side = track[np.sign(middle) != np.sign(middle[0]), 2]
        assert far_side.max() == pytest.approx(track[0, 2], abs=0.03)


# What a viewer must see for each label, told from positions alone and apart from the families' own checks.
DIRECTIONS = {
    "throw left": -1, "throw right": 1, "roll left": -1, "roll right": 1, "roll left and hit": -1,
    "roll right and hit": 1, "slide down left": -1, "slide down right": 1, "roll down left": -1,
    "roll down right": 1, "push left": -1, "push right": 1, "pass behind to the left": -1,
    "pass behind to the right": 1,
}  # fmt: skip


def test_labels_tell_directions_in_the_picture(rollouts):
    seen = set()
    for rollout in every(rollouts):
        motion, actor = rollout.scene.motion, rollout.scene.facts["actors"][0]
        if motion in DIRECTIONS:
            still = np.repeat(rollout.eye[:1], 33, axis=0), np.repeat(rollout.target[:1], 33, axis=0)
            u, _, _ = camera.project(rollout.track(actor)[:, None], *still)
            path = u[:, 0] - u[0, 0]
            farthest = path[np.abs(path).argmax()]
            assert np.sign(farthest) == DIRECTIONS[motion] and abs(farthest) > 8.0, (motion, rollout.scene.seed)
            seen.add(motion)
        if motion in ("roll toward", "roll away"):
            assert shift(rollout, actor)[-1, 1] * (1 if motion == "roll away" else -1) > 0.8
    assert len(seen) >= 10


def test_falls_bounces_towers_and_dominoes_do_what_they_say(rollouts):
    for rollout in rollouts["fall"]:
        for name in rollout.scene.facts["actors"]:
            assert touches(rollout, name, "floor") and shift(rollout, name)[:, 2].min() < -0.4
    for rollout in rollouts["tower"]:
        names, sign = rollout.scene.facts["group"]["names"], 1 if rollout.scene.motion.endswith("left") else -1
        ball_start = rollout.track(rollout.scene.facts["actors"][0])[0, 0]
        assert sign * (rollout.track(names[0])[0, 0] - ball_start) > 0.8
        assert max(np.linalg.norm(shift(rollout, name)[-1]) for name in names) > 0.3
    for rollout in rollouts["dominoes"]:
        assert all(upright(rollout, name)[-1] < 0.75 for name in rollout.scene.facts["group"]["names"])


def test_arms_touch_before_their_load_moves(rollouts):
    for rollout in rollouts["arm"]:
        moved = np.linalg.norm(shift(rollout, "load"), axis=1) > 0.02
        first = min(event[0] for event in rollout.events if "load" in event[2:] and "floor" not in event[2:])
        assert moved.any() and moved.argmax() / 16.0 >= first - 1 / 16.0
        lifted = rollout.scene.motion == "lift"
        assert (shift(rollout, "load")[-1, 2] > 0.25) == lifted


def test_what_passes_behind_something_vanishes_and_returns(rollouts):
    for rollout in rollouts["hide"]:
        hidden = hidden_share(rollout, rollout.scene.facts["actors"][0])
        assert hidden[0] == 0.0 and hidden[-1] == 0.0 and (hidden == 1.0).sum() >= 2


def test_scenes_are_framed_and_rest_where_they_should(rollouts):
    for rollout in every(rollouts):
        assert not [event for event in rollout.events if event[1] == "overlap"]
        assert np.allclose(np.linalg.norm(rollout.quaternion, axis=-1), 1.0, atol=1e-6)
        assert np.isfinite(rollout.position).all()
        for body in rollout.scene.objects:
            assert in_picture(rollout, body.name, margin=0.9)[0]
            lowest = rollout.track(body.name)[:, 2].min()
            assert lowest > 0.4 * min(size for size in body.size if size) and lowest < 2.5
        for name in rollout.scene.facts["resting"]:
            assert np.abs(shift(rollout, name)).max() < 0.02 and in_picture(rollout, name).all()


def test_objects_of_a_scene_have_distinct_colors_and_known_sizes(rollouts):
    for rollout in every(rollouts):
        scene = rollout.scene
        group = scene.facts["group"] or {"names": [], "colors": []}
        single = [body for body in scene.objects if body.name not in group["names"]]
        colors = [body.color for body in single] + group["colors"]
        assert len(set(colors)) == len(colors)
        assert all(body.size in SIZES[body.shape].values() for body in single)
        assert group["names"] and 4 <= len(group["names"]) <= 9 or 1 <= len(single) <= 4


MIRROR = {"left": "right", "right": "left"}


def test_verify_refuses_a_wrong_label(rollouts):
    refused = 0
    for rollout in every(rollouts):
        motion = rollout.scene.motion
        words = [MIRROR.get(word, word) for word in motion.split()]
        scene = dataclasses.replace(rollout.scene, motion=" ".join(words))
        if scene.motion != motion and rollout.scene.family != "tower":
            assert not families.verify(dataclasses.replace(rollout, scene=scene)), motion
            refused += 1
    assert refused >= 25


def test_verify_refuses_a_world_where_nothing_moves(rollouts):
    for rollout in every(rollouts):
        frozen = dataclasses.replace(
            rollout,
            position=np.repeat(rollout.position[:1], 33, axis=0),
            quaternion=np.repeat(rollout.quaternion[:1], 33, axis=0),
        )
        assert not families.verify(frozen), rollout.scene.motion


def test_same_seed_same_world_and_another_seed_another():
    first, again, other = (families.sample_rollout(seed, "tower") for seed in (3, 3, 4))
    assert first.scene == again.scene and np.array_equal(first.position, again.position)
    assert first.scene != other.scene


def test_scene_survives_json_and_rollout_survives_npz(rollouts):
    for rollout in (some[0] for some in rollouts.values()):
        assert Scene.from_json(rollout.scene.to_json()) == rollout.scene
        file = io.BytesIO()
        np.savez(file, **rollout.to_arrays())
        file.seek(0)
        with np.load(file, allow_pickle=False) as arrays:
            back = Rollout.from_arrays(dict(arrays))
        assert back.scene == rollout.scene and back.events == rollout.events and back.fps == rollout.fps
        assert np.allclose(back.position, rollout.position, atol=1e-6)  # float32 of a few metres
        assert np.array_equal(simulate(back.scene).position, rollout.position)


def test_many_seeds_in_order_and_a_failing_seed_is_noted(monkeypatch):
    many = list(simulate_many([5, 2, 9], "pendulum"))
    assert [rollout.scene.seed for rollout in many] == [5, 2, 9]
    assert np.allclose(many[1].position, families.sample_rollout(2, "pendulum").position, atol=1e-6)
    monkeypatch.setattr(families, "_DESIGNS", 1)
    monkeypatch.setattr(families, "_DRAWS", 1)
    monkeypatch.setattr(families.pendulum, "verify", lambda rollout: False)
    failures = {}
    assert list(simulate_many([5, 2], "pendulum", failures=failures)) == []
    assert set(failures) == {5, 2} and "seed 5" in failures[5]


def test_workers_do_not_change_a_world():
    alone = list(simulate_many(range(3), "fall"))
    shared = list(simulate_many(range(3), "fall", workers=2))
    assert [r.scene for r in alone] == [r.scene for r in shared]
    assert all(np.array_equal(a.position, b.position) for a, b in zip(alone, shared))


def test_unknown_names_are_refused_with_the_known_ones():
    with pytest.raises(ValueError, match="dominoes"):
        families.sample_rollout(0, "flood")
    with pytest.raises(ValueError, match="withheld"):
        families.sample_rollout(0, "fall", split="test")
    with pytest.raises(ValueError, match="0 or more"):
        families.sample_rollout(-1)


VIEW = {"target": [0.1, 0.0, 0.6], "distance": 3.5, "height": 1.5, "azimuth": 8.0}


@pytest.mark.parametrize("move", CAMERAS)
def test_camera_moves_go_where_they_say(move):
    eye, target = camera.path(move, VIEW)
    marks = np.array([[[0.1, 0.0, 0.6]]]).repeat(33, axis=0)
    u, _, depth = camera.project(marks, eye, target)
    drift, growth = u[-1, 0] - u[0, 0], depth[0, 0] / depth[-1, 0]
    right, _, _ = camera.axes(eye[:1], target[:1])
    side = float((eye[-1] - eye[0]) @ right[0])
    steps = np.linalg.norm(np.diff(eye + 3 * target, axis=0), axis=1)
    assert (steps.max() < 1e-12) == (move == "static") and steps.max() < 0.4
    assert np.sign(round(drift, 6)) == {"pan left": 1, "pan right": -1}.get(move, 0)  # the world drifts the other way
    assert np.sign(round(side, 6)) == {"orbit left": -1, "orbit right": 1}.get(move, 0)
    assert np.sign(round(math.log(growth), 2)) == {"zoom in": 1, "zoom out": -1}.get(move, 0)


def test_projection_is_a_pinhole_with_square_pixels():
    eye, target = np.array([[0.0, -4.0, 1.0]]), np.array([[0.0, 0.0, 1.0]])
    edge = 1.0 + 4 * math.tan(math.radians(19))
    points = np.array([[[0.0, 0.0, 1.0], [0.5, 0.0, 1.0], [0.0, 0.0, 1.5], [0.0, 0.0, edge]]])
    u, v, depth = camera.project(points, eye, target)
    assert np.allclose(depth, 4.0) and u[0, 0] == 96.0 and v[0, 0] == 56.0
    assert u[0, 1] - 96.0 == pytest.approx(56.0 - v[0, 2])
    assert v[0, 3] == pytest.approx(0.0, abs=1e-9)


def test_every_size_of_object_measures_12_to_64_pixels(rollouts):
    for rollout in every(rollouts):
        for body in rollout.scene.objects:
            depth = camera.project(rollout.position[:1], rollout.eye[:1], rollout.target[:1])[2]
            pixels = 2 * reach(body) * 56 / math.tan(math.radians(19)) / depth[0, rollout.scene.index(body.name)]
            assert 11.5 < pixels < 64, (body, pixels)
