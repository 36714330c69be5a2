"""Seams and drift: a cut is found, a seamless clip is not accused, a standing clip is no better than its last frame."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from made_worlds import drop, reading, track
from random_nano import pipe, random_nano  # noqa: F401 (fixtures)

from cosmos_lab.cli import main
from cosmos_lab.evaluation.long_video import LongExtent, drift, measure_long, pixel_steps, position_steps, seams_of
from cosmos_lab.evaluation.reader import load_reader
from cosmos_lab.evaluation.references import pack_rollouts
from cosmos_lab.evaluation.report import Evaluation
from cosmos_lab.runtime.checkpoints import find_folder
from cosmos_lab.worlds.render import render

NANO = find_folder("nano")
SEAMS, LENGTH = [8, 14], 6


def moving(length=20, jump_at=None, by=0.0):
    """Positions (T, 2) that go 2 pixels a pixel frame, with a jump."""
    path = np.stack([20 + 2.0 * np.arange(length), np.full(length, 50.0)], axis=1)
    if jump_at is not None:
        path[jump_at:, 0] += by
    return path


def square(path):
    """A clip in which a bright square follows a path."""
    clip = np.zeros((len(path), 100, 120, 3), dtype=np.uint8)
    for frame, (u, v) in zip(clip, path.astype(int)):
        frame[v : v + 10, u : u + 10] = 200
    return clip


def test_a_seamless_clip_shows_no_seam():
    pixels = seams_of([pixel_steps(square(moving()))], SEAMS, LENGTH)
    places = seams_of([position_steps(reading([track(moving())]))], SEAMS, LENGTH)
    for found in (pixels, places):
        assert found.at.shape == (2,) and found.inside.shape == (2, 2 * LENGTH - 2)
        assert found.ratio == pytest.approx(1) and found.standing_out == 0


def test_a_cut_is_found():
    path = moving(jump_at=8, by=30.0)
    pixels = seams_of([pixel_steps(square(path))], SEAMS, LENGTH)
    places = seams_of([position_steps(reading([track(path)]))], SEAMS, LENGTH)
    assert places.ratio == pytest.approx((32 + 2) / 2 / 2) and pixels.ratio > 2
    assert pixels.standing_out == places.standing_out == 0.5


def test_a_jump_inside_a_chunk_is_no_seam():
    places = seams_of([position_steps(reading([track(moving(jump_at=11, by=30.0))]))], SEAMS, LENGTH)
    assert places.ratio < 1 and places.standing_out == 0


def test_steps_of_objects_leave_out_what_is_not_seen():
    area = np.full(20, 300.0)
    area[5:8] = 0
    steps = position_steps(reading([track(moving(), area=area), track(moving() + 9, color="blue")]))
    assert np.allclose(steps, 2)
    assert np.isnan(position_steps(reading([track(moving(), area=area)]))[4:8]).all()
    assert np.isnan(position_steps(reading())).all()


def test_drift_is_counted_chunk_by_chunk():
    truth, ends = reading([track(moving())]), [8, 14, 20]
    exact = drift(truth, truth, 2, ends)
    assert (exact[:, 0] == 0).all() and exact[:, 2].tolist() == [6, 6, 6]
    # The last given place is that of pixel frame 1: after k more it is 2 k pixels away.
    assert exact[:, 1].tolist() == [2 * sum(range(a - 1, b - 1)) for a, b in ((2, 8), (8, 14), (14, 20))]
    still = reading([track(np.tile(moving()[1], (20, 1)))])
    assert np.allclose(drift(still, truth, 2, ends)[:, 0], exact[:, 1])
    # What is never shown counts as standing where it was last given.
    assert np.allclose(drift(reading(), truth, 2, ends)[:, 0], exact[:, 1])
    off = drift(reading([track(moving(jump_at=14, by=7.0))]), truth, 2, ends)
    assert off[:, 0].tolist() == [0, 0, 42]


def longer(start, length, floor):
    """`drop` on a floor, after which everything rests for as long as it takes."""
    made = drop(start)
    made = replace(made, scene=replace(made.scene, floor=floor))
    rows = np.minimum(np.arange(length), len(made.position) - 1)
    return replace(made, position=made.position[rows], quaternion=made.quaternion[rows])


def test_the_measurement_runs_and_is_kept(pipe, tmp_path, monkeypatch):  # noqa: F811
    """With random weights, the ruler of the embedded model, and two short takes."""
    (tmp_path / "eval").mkdir()
    takes = [longer(1.35, 24, "wood"), longer(1.1, 24, "grass")]
    np.savez_compressed(tmp_path / "eval" / "takes.npz", **pack_rollouts(takes))
    small = type(pipe)(replace(pipe.model, card=replace(pipe.card, num_pixel_frames=13)))
    reader = load_reader(NANO / "reader.safetensors")
    monkeypatch.setattr("cosmos_lab.evaluation.long_video.render", partial(render, samples=1))
    extent = LongExtent(takes=2, chunks=2, num_steps=1)
    measure_long(small, reader, folder=tmp_path, extent=extent, progress=False).save(tmp_path / "long_video.json")
    found = Evaluation.load(tmp_path / "long_video.json")
    seam = found.figure("long video: change of pixels at seams over inside")
    assert seam.number == 2 and seam.rendered < 1.5 < seam.baseline
    first = found.figure("long video: error over repeating the last pixel frame, chunk 1")
    assert first.rendered < 0.2 and first.value > 0.5
    assert found.details["chunks begin"] == [5, 13] and len(found.details["change of pixels"][0]) == 20
    with pytest.raises(ValueError, match="ask for fewer"):
        measure_long(small, reader, folder=tmp_path, extent=LongExtent(takes=3, num_steps=1), progress=False)


def test_the_command_measures_long_videos(random_nano, monkeypatch, capsys):  # noqa: F811
    extents = []

    def measure(pipe, reader, *, extent, **rest):  # noqa: F811
        extents.append(extent)
        return Evaluation(figures=())

    monkeypatch.setattr("cosmos_lab.evaluation.long_video.measure_long", measure)
    command = ["evaluate", str(random_nano), "--only", "long", "--folder", str(NANO), "--takes", "3", "--seeds", "7"]
    assert main([*command, "--num_steps", "2", "--device", "cpu"]) == 0
    assert extents == [LongExtent(takes=3, seed=7, num_steps=2)] and "figure" in capsys.readouterr().out


def test_the_record_is_of_these_weights():
    record, whole = (Evaluation.load(NANO / f"{name}.json") for name in ("long_video", "evaluation"))
    assert record.provenance["weights"] == whole.provenance["weights"]
    seam = record.figure("long video: change of pixels at seams over inside")
    # The truth has no seams, and a cut is one.
    assert 0.8 < seam.rendered < 1.2 and seam.baseline > 3


def test_the_extent_is_checked():
    with pytest.raises(ValueError, match="at least 2 takes"):
        LongExtent(takes=1)
