"""Rendering only the beginning of a clip."""

import numpy as np
import pytest
import torch

from cosmos_lab.worlds.render import render
from cosmos_lab.worlds.scene import Body, Rollout, Scene

SIZE = {"height": 28, "width": 48}


def falling(length):
    ball = Body(name="ball", shape="sphere", size=(0.3, 0.0, 0.0), color="red")
    scene = Scene(seed=0, family="fall", motion="rest", bodies=(ball,), floor="checker", light="noon", camera="static")
    height = 1 - 0.1 * np.arange(length)
    return Rollout(
        scene=scene, position=np.stack([0 * height, 0 * height, height], axis=-1)[:, None],
        quaternion=np.tile([1.0, 0.0, 0.0, 0.0], (length, 1, 1)), eye=np.tile([0.0, -4.0, 1.2], (length, 1)),
        target=np.tile([0.0, 0.0, 0.4], (length, 1)),
    )  # fmt: skip


@pytest.mark.parametrize("chunk", [None, 3])
def test_the_first_pixel_frames_are_those_of_the_whole_clip(chunk):
    clips = [falling(5), falling(5)]
    whole, first = render(clips, **SIZE), render(clips, **SIZE, num_pixel_frames=3, chunk=chunk)
    assert first.pixels.shape == (2, 3, 28, 48, 3)
    assert torch.equal(first.pixels, whole.pixels[:, :3]) and torch.equal(first.body_index, whole.body_index[:, :3])
    assert not torch.equal(whole.pixels[:, 2], whole.pixels[:, 3])


@pytest.mark.parametrize("wrong", [0, 6])
def test_a_number_that_the_clip_does_not_have_is_named(wrong):
    with pytest.raises(ValueError, match="between 1 and the clip's 5"):
        render(falling(5), **SIZE, num_pixel_frames=wrong)
