"""From class shares to readings: with the renderer's own segmentation the ruler must be all but perfect."""

import numpy as np
import pytest
import torch
from made_worlds import reading, track

from cosmos_lab.evaluation.falls import measure_fall
from cosmos_lab.evaluation.labels import BACKGROUND, COLOR_NAMES, label_table, vocabularies
from cosmos_lab.evaluation.physics import GRAVITY, Lens
from cosmos_lab.evaluation.reader import Reader, ReaderConfig
from cosmos_lab.evaluation.reading import assemble, gather_evidence, read, true_readings
from cosmos_lab.evaluation.ruler import position_errors
from cosmos_lab.worlds.camera import project
from cosmos_lab.worlds.scene import SIZES


@pytest.fixture(scope="module")
def truth(dropped):
    rollout, _, body_index = dropped
    return true_readings([rollout.scene], body_index, label_table([rollout.scene]), vocabularies())[0]


def test_objects_attributes_and_camera(truth):
    assert {(made.color, made.shape) for made in truth.objects} == {("red", "sphere"), ("blue", "box")}
    labels = truth.motion, truth.camera, truth.floor, truth.light, truth.count
    assert labels == ("bounce", "static", "wood", "noon", 2)
    assert truth.readable and truth.pitch == pytest.approx(12.68, abs=0.01)


def test_positions_agree_with_the_projection(truth, dropped):
    rollout = dropped[0]
    u, v, _ = project(rollout.position[:, :1], rollout.eye, rollout.target)
    errors = np.linalg.norm(truth.track("red").position - np.concatenate([u, v], axis=1), axis=1)
    # The center of a ball's picture is not quite the picture of its center, and cells are two pixels wide.
    assert errors.max() < 0.4 and errors.mean() < 0.2


def test_gravity_from_the_masks_of_one_clip(truth):
    radius = SIZES["sphere"]["large"][0]
    fall = measure_fall(truth.track("red"), radius, Lens(pitch=truth.pitch))
    # One clip of eight pixel frames; the error of a tenth of a pixel makes about 2 %.
    assert fall.gravity == pytest.approx(GRAVITY, rel=0.03) and fall.height == pytest.approx(1.35 - radius, rel=0.05)


def shares(center=(20.0, 30.0), radius=4.0, color="green", length=4):
    """A soft disc on the background, as shares (1, T, 10, 56, 96)."""
    rows, columns = torch.meshgrid(torch.arange(56) + 0.5, torch.arange(96) + 0.5, indexing="ij")
    disc = (radius + 0.5 - torch.hypot(rows - center[0], columns - center[1])).clamp(0, 1)
    colors = torch.zeros(1, length, 10, 56, 96)
    colors[:, :, COLOR_NAMES.index(color)] = disc
    colors[:, :, BACKGROUND] = 1 - disc
    return colors


def assembled(colors):
    clip = {name: torch.eye(len(names))[:1] for name, names in vocabularies().items()}
    shapes = torch.full((1, colors.shape[1], 4, 56, 96), 0.1)
    shapes[:, :, 2] = 0.7
    evidence = gather_evidence(colors, shapes, clip, view=torch.tensor([[10.0, 4.0]]), features=torch.zeros(1, 3))
    return assemble(evidence, vocabularies())[0]


def test_centroid_area_and_spread_of_a_known_disc():
    made = assembled(shares()).track("green")
    # Cells are two pixels wide; u runs along columns.
    assert made.position[0] == pytest.approx([60.0, 40.0], abs=0.05)
    # Faint edges are trimmed, so the area falls a little short of pi r^2.
    assert made.area[0] == pytest.approx(4 * np.pi * 16, rel=0.05)
    # A disc's deviation along an axis is half its radius.
    assert made.spread[0] == pytest.approx([4.0, 4.0], rel=0.05)
    assert made.shape == "cylinder" and made.whole.all()


def test_a_disc_at_the_border_is_visible_but_not_whole():
    made = assembled(shares(center=(20.0, 1.0))).track("green")
    assert made.visible.all() and not made.whole.any()


def test_faint_probability_everywhere_is_no_object():
    colors = torch.full((1, 4, 10, 56, 96), 0.01)
    colors[:, :, BACKGROUND] = 0.91
    empty = assembled(colors)
    assert empty.objects == () and not empty.readable


def test_a_small_patch_of_another_color_joins_its_object():
    colors, patch = shares(), (slice(None), slice(None), slice(None), slice(18, 22), slice(33, 35))
    colors[patch] = 0
    colors[:, :, COLOR_NAMES.index("cyan"), 18:22, 33:35] = 1
    made = assembled(colors)
    assert [track.color for track in made.objects] == ["green"]
    # It gives the object most of the area that the patch had taken: 8 cells of 50.
    assert made.track("green").area[0] > 0.95 * assembled(shares()).track("green").area[0]


def test_an_unsure_reading_is_unreadable():
    tracks = [track(np.zeros((33, 2)))]
    assert reading(tracks).readable and not reading(tracks, certainty=0.3).readable


def test_position_errors_compare_what_both_show():
    path = np.stack([np.arange(33), np.full(33, 50)], axis=1)
    seen = np.where(np.arange(33) < 20, 300, 0)
    read_, true = reading([track(path + [3, 4])]), reading([track(path, area=seen), track(path, color="blue")])
    errors = position_errors([read_], [true])
    assert len(errors) == 20 and np.allclose(errors, 5)


def test_reading_clips_with_an_untrained_network(dropped):
    reader = Reader(ReaderConfig.default())
    reader.initialize(torch.Generator().manual_seed(0))
    (found,) = read(reader, dropped[1][:, :9])
    assert found.classes.shape == (9, 56, 96) and found.features.shape == (128,)
    assert found.motion in vocabularies()["motion"]
    with pytest.raises(ValueError, match="uint8"):
        read(reader, dropped[1].float())
