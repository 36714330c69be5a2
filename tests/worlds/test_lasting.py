"""Scenes that go on after a clip, and clips from the middle of a motion."""

from dataclasses import replace

import numpy as np
import pytest

from cosmos_lab.evaluation.references import pack_rollouts
from cosmos_lab.worlds.families import sample_rollout
from cosmos_lab.worlds.lasting import CLIP, FIRST_OFFSET, later, run_on, window
from cosmos_lab.worlds.mixture import Mixture, simulate_many
from cosmos_lab.worlds.physics import simulate
from cosmos_lab.worlds.scene import Rollout


@pytest.fixture(scope="module")
def pendulum():
    return sample_rollout(7, family="pendulum")


def test_a_scene_runs_on_where_its_clip_ends(pendulum):
    take = run_on(pendulum.scene, 60)
    assert take.position.shape[0] == 60
    assert np.allclose(take.position[:CLIP], pendulum.position)
    assert np.abs(np.diff(take.track("actor0")[CLIP:], axis=0)).max() > 0.01


def test_an_arm_goes_back_the_way_it_came():
    scenes = (sample_rollout(seed, family="arm").scene for seed in range(9))
    scene = next(scene for scene in scenes if scene.motion == "lift")
    height = run_on(scene, 2 * CLIP).track("load")[:, 2]
    # The load is in the hand: it comes down to the floor as the arm runs its path backwards.
    assert height[CLIP - 1] - height[0] > 0.25 and height[CLIP:].min() < height[0] + 0.05


def test_a_window_is_a_part_of_the_take(pendulum):
    take = run_on(pendulum.scene, 60)
    part = window(take, 10)
    assert part.start == 10 and len(part.position) == CLIP and part.scene == take.scene
    for name in ("position", "quaternion", "eye", "target"):
        assert np.array_equal(getattr(part, name), getattr(take, name)[10 : 10 + CLIP])
    assert window(part, 5, num_pixel_frames=8).start == 15


def test_a_later_clip_is_the_same_simulation_further_on(pendulum):
    found = later(pendulum)
    assert found.start >= FIRST_OFFSET and later(pendulum).start == found.start
    whole = simulate(pendulum.scene, found.start + CLIP)
    assert np.allclose(found.position, whole.position[found.start :])
    back = Rollout.from_arrays(found.to_arrays())
    assert back.start == found.start


def test_a_share_of_many_begins_later_and_the_rest_is_as_ever():
    mixed, plain = list(simulate_many(range(16), mixture=Mixture(later=0.5))), list(simulate_many(range(16)))
    later_ones = [rollout for rollout in mixed if rollout.start]
    assert 3 <= len(later_ones) <= 13 and not any(rollout.start for rollout in plain)
    for one, other in zip(mixed, plain, strict=True):
        assert one.scene.seed == other.scene.seed and one.scene.motion == other.scene.motion
        assert bool(one.start) or np.array_equal(one.position, other.position)


@pytest.mark.parametrize("camera, last", [("pan left", 12), ("zoom in", 12), ("static", 40)])
def test_a_camera_that_the_caption_names_still_moves(camera, last):
    """Pans and zooms end with their clip: a later clip begins while they last."""
    rollout = sample_rollout(11, family="tower")
    starts = [later(replace(rollout, scene=replace(rollout.scene, seed=seed, camera=camera))).start
              for seed in range(12)]  # fmt: skip
    assert FIRST_OFFSET <= min(starts) and max(starts) <= last and len(set(starts)) > 3


def test_what_evaluations_store_begins_at_the_beginning(pendulum):
    with pytest.raises(ValueError, match="begins with pixel frame 5"):
        pack_rollouts([window(run_on(pendulum.scene, 60), 5)])
