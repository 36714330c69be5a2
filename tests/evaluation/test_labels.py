"""Labels follow from scenes and from the renderer's segmentation."""

import math
from dataclasses import replace

import pytest
import torch
from made_worlds import ball, cube, scene

from cosmos_lab.evaluation.labels import (
    BACKGROUND,
    COLOR_NAMES,
    PROP,
    VIEW_SCALES,
    dense_targets,
    label_table,
    view_labels,
    vocabularies,
)  # fmt: skip
from cosmos_lab.worlds.scene import SHAPES, Body

SCREEN = Body(name="screen", shape="box", size=(0.5, 0.03, 0.4), color="slate", role="prop")


@pytest.fixture(scope="module")
def scenes():
    return [scene([ball(), cube(), SCREEN]), scene([cube("pink")], family="arm", motion="lift", camera="pan left")]


def test_bodies_become_colors_props_and_background(scenes):
    table = label_table(scenes)
    red, blue, pink = (COLOR_NAMES.index(color) for color in ("red", "blue", "pink"))
    assert table.color_of_body.tolist() == [[red, blue, PROP, BACKGROUND], [pink, BACKGROUND, BACKGROUND, BACKGROUND]]
    sphere, box = SHAPES.index("sphere"), SHAPES.index("box")
    assert table.shape_of_body.tolist() == [[sphere, box, -1, -1], [box, -1, -1, -1]]


def test_clip_labels_index_their_vocabularies(scenes):
    table, words = label_table(scenes), vocabularies()
    named = {name: [words[name][index] for index in values] for name, values in table.clip.items()}
    assert named["motion"] == ["bounce", "lift"] and named["camera"] == ["static", "pan left"]
    assert named["count"] == ["2", "1"] and named["family"] == ["fall", "arm"]


def test_selected_labels_keep_the_order(scenes):
    table = label_table(scenes)
    again = table.select(torch.tensor([1, 0, 1]))
    assert again.clip["motion"].tolist() == table.clip["motion"][[1, 0, 1]].tolist() and len(again) == 3
    assert torch.equal(again.view, table.view[[1, 0, 1]])


def test_the_view_is_pitch_and_distance(scenes):
    pitch, distance = view_labels(scenes[0])
    # The eye stands 4 m back and 0.9 m above the target.
    assert pitch == pytest.approx(math.degrees(math.atan(0.9 / 4))) and distance == pytest.approx(math.hypot(4, 0.9))
    center, scale = VIEW_SCALES["pitch"]
    assert float(label_table(scenes).view[0, 0]) * scale + center == pytest.approx(pitch, abs=1e-4)


def test_dense_targets_are_shares_of_cells(scenes):
    body_index = torch.full((1, 1, 4, 4), -1, dtype=torch.int8)
    body_index[0, 0, 0, 0] = 0
    body_index[0, 0, 2:, 2:] = 1
    body_index[0, 0, 2, 0] = 2
    colors, shapes = dense_targets(body_index, label_table(scenes).select(torch.tensor([0])))
    assert torch.allclose(colors.sum(dim=2), torch.ones(1, 1, 2, 2))
    assert colors[0, 0, COLOR_NAMES.index("red"), 0, 0] == 0.25 and colors[0, 0, BACKGROUND, 0, 0] == 0.75
    assert colors[0, 0, COLOR_NAMES.index("blue"), 1, 1] == 1 and colors[0, 0, PROP, 1, 0] == 0.25
    # Shapes cover described objects only: neither the screen nor the background has one.
    assert shapes[0, 0, :, 1, 0].sum() == 0 and shapes[0, 0, SHAPES.index("box"), 1, 1] == 1


def test_an_unknown_motion_is_an_error(scenes):
    with pytest.raises(ValueError):
        label_table([replace(scenes[0], motion="fly")])
