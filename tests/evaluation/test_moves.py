"""The camera's move from the floor alone."""

from dataclasses import replace

import pytest
import torch
from made_worlds import LENGTH, VIEW, drop

from cosmos_lab.evaluation.labels import view_labels
from cosmos_lab.evaluation.moves import camera_scores
from cosmos_lab.worlds import camera
from cosmos_lab.worlds.render import render
from cosmos_lab.worlds.scene import CAMERAS

SHOWN = [0, 8, 16, 24, 32]


@pytest.fixture(scope="module")
def moves():
    """One scene under every camera move: pixels, share of floor, view. Only the pixel frames that count are drawn."""
    still = drop()
    pixels = torch.zeros(len(CAMERAS), LENGTH, 112, 192, 3, dtype=torch.uint8)
    floor = torch.zeros(len(CAMERAS), LENGTH, 56, 96)
    for row, name in enumerate(CAMERAS):
        eye, target = camera.path(name, VIEW, LENGTH)
        poses = {"position": still.position, "quaternion": still.quaternion, "eye": eye, "target": target}
        part = replace(still, **{name: value[SHOWN] for name, value in poses.items()})
        shown = render(part, samples=1)
        pixels[row, SHOWN] = shown.pixels[0]
        floor[row, SHOWN] = (shown.body_index[0, :, ::2, ::2] < 0).float()
    return pixels, floor, torch.tensor([view_labels(still.scene)] * len(CAMERAS))


# The reader's own error of the view, half a degree and a tenth of a metre or so, must be forgiven.
@pytest.mark.parametrize("error", [(0.0, 0.0), (0.7, 0.15), (-0.7, -0.15)])
def test_every_move_is_told_from_the_others(moves, error):
    pixels, floor, view = moves
    shares = camera_scores(pixels, floor, view + torch.tensor([error])).softmax(dim=1)
    assert [CAMERAS[i] for i in shares.argmax(dim=1)] == list(CAMERAS)
    assert shares.amax(dim=1).min() > 0.9


def test_without_a_floor_or_without_time_every_move_is_as_likely(moves):
    pixels, floor, view = moves
    for scores in (camera_scores(pixels, 0 * floor, view), camera_scores(pixels[:, :1], floor[:, :1], view)):
        assert scores.shape == (len(CAMERAS), len(CAMERAS)) and (scores == scores[0, 0]).all()
