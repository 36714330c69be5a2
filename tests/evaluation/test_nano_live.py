"""The embedded model itself: a handful of clips measured here and now, and the record of the full evaluation."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from cosmos_lab.evaluation.batch import generate_batch, reconstruct_batch
from cosmos_lab.evaluation.codec import psnr
from cosmos_lab.evaluation.labels import label_table
from cosmos_lab.evaluation.reader import load_reader
from cosmos_lab.evaluation.reading import read, true_readings
from cosmos_lab.evaluation.references import read_references
from cosmos_lab.evaluation.report import Evaluation
from cosmos_lab.evaluation.ruler import position_errors
from cosmos_lab.pipelines.generate import load
from cosmos_lab.runtime.checkpoints import find_folder
from cosmos_lab.worlds.render import render
from cosmos_lab.worlds.scene import COLORS

FOLDER = find_folder("nano")
PROMPTS = ("a red ball rolls to the right across a wooden floor.", "a yellow cube falls onto grass.")


@pytest.fixture(scope="module")
def pipe():
    return load("nano", device="cpu")


@pytest.fixture(scope="module")
def reader():
    return load_reader(FOLDER / "reader.safetensors")


@pytest.fixture(scope="module")
def rendered():
    rollouts = read_references(FOLDER / "eval", "familiar", 8)
    return rollouts, render(rollouts, device="cpu")


def test_the_ruler_reads_rendered_clips(reader, rendered):
    rollouts, shown = rendered
    scenes = [rollout.scene for rollout in rollouts]
    readings = read(reader, shown.pixels)
    truth = true_readings(scenes, shown.body_index, label_table(scenes), dict(reader.config.classes))
    right = []
    for reading, true in zip(readings, truth):
        right.append({(t.color, t.shape) for t in reading.objects} == {(t.color, t.shape) for t in true.objects})
        right += [reading.motion == true.motion, reading.floor == true.floor, reading.camera == true.camera]
    # The rates stand in the record. Eight clips prove none: one slip of 32 is let pass.
    assert sum(right) >= 31 and position_errors(readings, truth).mean() < 1.0


def test_the_ruler_finds_an_object_that_has_another_color_for_a_moment(reader, rendered):
    rollouts, shown = rendered
    # Two rows of dominoes and a tower, where bodies touch others; a pendulum, a ramp, an arm.
    for row, rollout in enumerate(rollouts[:6]):
        changed = repainted(rollout)
        pixels = shown.pixels[row : row + 1].clone()
        pixels[:, 12:18] = render([changed], device="cpu").pixels[:, 12:18]
        colors = {body.color for scene in (rollout.scene, changed.scene) for body in scene.objects}
        assert {track.color for track in read(reader, pixels)[0].objects} == colors


def repainted(rollout):
    """The same motion, but the first object has a color that the scene does not show."""
    scene = rollout.scene
    used = {body.color for body in scene.bodies}
    color = next(color for color in COLORS if color not in used)
    first = scene.objects[0].name
    bodies = tuple(replace(body, color=color) if body.name == first else body for body in scene.bodies)
    return replace(rollout, scene=replace(scene, bodies=bodies))


def test_the_tokenizer_keeps_what_it_is_given(pipe, rendered):
    # The figure of the record is a mean over 256 clips; single clips scatter by a few dB.
    assert psnr(reconstruct_batch(pipe, rendered[1].pixels[:1]), rendered[1].pixels[:1]).item() > 30


def test_generated_clips_show_what_their_prompts_say(pipe, reader):
    clips = generate_batch(pipe, PROMPTS, seeds=[0, 1], num_steps=12)
    readings = read(reader, clips)
    found = [{(t.color, t.shape) for t in reading.objects} for reading in readings]
    checks = [("red", "sphere") in found[0], readings[0].motion == "roll right", readings[0].floor == "wood",
              ("yellow", "box") in found[1], readings[1].motion == "fall", readings[1].floor == "grass"]  # fmt: skip
    # Two clips prove no rate: one slip of six is let pass.
    assert sum(checks) >= 5 and np.ptp(clips) > 100


def test_the_record_is_of_these_weights(pipe):
    record = Evaluation.load(FOLDER / "evaluation.json")
    assert record.provenance["weights"] == pipe.model.digest
    assert len(json.dumps(record.provenance)) > 50 and record.figure("ruler: color").number >= 512
    assert torch.isfinite(torch.tensor(record.figure("joint: all").value))
