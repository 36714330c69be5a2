"""Batches equal single calls, and the whole evaluation runs on a random network, offline and without a simulator."""

import argparse
import os
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.multiprocessing as mp
from made_worlds import drop, reading, track
from random_nano import pipe, random_nano  # noqa: F401 (fixtures)

from cosmos_lab import video
from cosmos_lab.cli import evaluate as evaluate_command
from cosmos_lab.cli import main
from cosmos_lab.evaluation import clips as made_clips
from cosmos_lab.evaluation.batch import generate_batch, reconstruct_batch, redraw_batch
from cosmos_lab.evaluation.clips import Extent, Group, Runner
from cosmos_lab.evaluation.evaluate import _ruler_figures, evaluate
from cosmos_lab.evaluation.physics_figures import all_falls
from cosmos_lab.evaluation.reader import Reader, ReaderConfig, save_reader
from cosmos_lab.evaluation.references import SETS, pack_rollouts
from cosmos_lab.evaluation.report import Evaluation
from cosmos_lab.pipelines import assembly
from cosmos_lab.pipelines.generate import Pipeline
from cosmos_lab.runtime.ranks import Ranks

PROMPTS = ["a red ball rolls to the left", "a blue box rolls to the right", "a green ball rolls to the left"]


@pytest.fixture(scope="module")
def batch(pipe):  # noqa: F811
    return generate_batch(pipe, PROMPTS, seeds=[5, 6, 7], num_steps=1, batch=2)


def test_a_batch_equals_single_calls(pipe, batch):  # noqa: F811
    assert batch.shape == (3, 33, 112, 192, 3) and batch.dtype == np.uint8
    alone = pipe.text2world(PROMPTS[2], seed=7, num_steps=1, progress=False).frames
    # Other batch sizes take other kernels: a level of rounding.
    assert np.abs(batch[2].astype(int) - alone).max() <= 1
    assert np.abs(batch[0].astype(int) - alone).max() > 10


def test_a_batch_puts_the_same_noise_back_as_single_calls(pipe, batch):  # noqa: F811
    clips = generate_batch(pipe, PROMPTS[:2], seeds=[5, 6], num_steps=3)
    alone = pipe.text2world(PROMPTS[1], seed=6, num_steps=3, progress=False).frames
    assert np.abs(clips[1].astype(int) - alone).max() <= 1
    sampling = replace(pipe.card.sampling, churn=0.0)
    without = Pipeline(replace(pipe.model, card=replace(pipe.card, sampling=sampling)))
    calm = generate_batch(without, PROMPTS[:2], seeds=[5, 6], num_steps=3)
    assert np.abs(clips[1].astype(int) - calm[1]).max() > 10


@pytest.mark.parametrize("unconditional", ["zero", "prompt", "text"])
def test_an_empty_negative_prompt_means_to_a_batch_what_it_means_to_single_calls(pipe, unconditional):  # noqa: F811
    sampling = replace(pipe.card.sampling, unconditional=unconditional)
    other = Pipeline(replace(pipe.model, card=replace(pipe.card, sampling=sampling)))
    clips = generate_batch(other, PROMPTS[:2], seeds=[5, 6], num_steps=1, guidance=5.0, num_pixel_frames=9)
    options = {"seed": 6, "num_steps": 1, "num_pixel_frames": 9, "progress": False}
    alone = other.text2world(PROMPTS[1], guidance=5.0, **options).frames
    assert np.abs(clips[1].astype(int) - alone).max() <= 1
    free = other.text2world(PROMPTS[1], guidance=0.0, **options).frames
    assert (np.abs(clips[1].astype(int) - free).max() <= 1) == (unconditional == "prompt")


def test_a_batch_continues_given_pixel_frames(pipe, batch):  # noqa: F811
    given = batch[:2, :5]
    continued = generate_batch(pipe, PROMPTS[:2], seeds=[1, 2], given=given, num_steps=1)
    alone = pipe.video2world(given[1], PROMPTS[1], seed=2, num_steps=1, progress=False).frames
    assert np.abs(continued[1].astype(int) - alone).max() <= 1


def test_lengths_must_agree(pipe):  # noqa: F811
    with pytest.raises(ValueError, match="one seed and one start"):
        generate_batch(pipe, PROMPTS, seeds=[1])


def test_reconstructions_keep_order_and_size(pipe, batch):  # noqa: F811
    clips = torch.from_numpy(batch[:2, :5])
    both, second = reconstruct_batch(pipe, clips), reconstruct_batch(pipe, clips[1:])
    assert both.shape == clips.shape and (both[1].int() - second[0].int()).abs().max() <= 1


def test_clips_drawn_again_begin_in_some_noise_of_their_own(pipe, batch, monkeypatch):  # noqa: F811
    clips, begun = batch[:2, :5], []
    walk = assembly.walk

    def noted(sampling, denoise, x, grid, *, start):
        begun.append((x, grid[start]))
        assert not denoise.text[0].any() and denoise.guidance is None
        return walk(sampling, denoise, x, grid, start=start)

    monkeypatch.setattr(assembly, "walk", noted)
    both = redraw_batch(pipe, clips, seeds=[3, 4], sigma=2.0)
    second = redraw_batch(pipe, clips[1:], seeds=[4], sigma=2.0)
    assert both.shape == clips.shape and np.abs(both[1].astype(int) - second[0]).max() <= 1
    x, sigma = begun[0]
    sigmas = assembly.sigmas(pipe.card.sampling, pipe.card.sampling.num_steps)
    assert sigma == max(level for level in sigmas if level <= 2.0)
    latents = pipe.model.vae.encode(video.to_network(clips[0])).float() * pipe.card.sampling.sigma_data
    noise = assembly.noise_source(pipe.card.sampling, 3)(latents.shape, purpose="initial")
    assert torch.allclose(x[:1], latents + sigma * noise, atol=1e-4)
    # Even from less noise than the last level holds, a step is made.
    redraw_batch(pipe, clips[:1], seeds=[3], sigma=1e-6)
    assert begun[-1][1] == sigmas[-2] > 0
    redraw_batch(pipe, clips[:1], seeds=[3], sigma=2.0, num_steps=4)
    assert begun[-1][1] in assembly.sigmas(pipe.card.sampling, 4)


def test_the_ruler_s_rows_say_what_it_reads_in_clips_drawn_again(tmp_path):
    """Of two clips, the second is read rightly as rendered, and not at all once it was drawn again."""
    scenes = [drop(), drop(color="green")]
    places = np.full((len(scenes[0].position), 2), 40.0)
    right = [reading([track(places, color=color), track(places + 40, color="blue", shape="box")], count="2")
             for color in ("red", "green")]  # fmt: skip
    lost = replace(right[1], objects=())
    group = Group(rollouts=scenes, rendered=None, reconstructed=None, truth=right,
                  readings={"rendered": right, "reconstructed": right})  # fmt: skip
    rows = {figure.name: figure for figure in _ruler_figures(group, [right[0], lost])}
    assert (rows["ruler: color"].value, rows["ruler: color"].baseline) == (1.0, 0.5)
    assert (rows["ruler: clips it can read"].value, rows["ruler: clips it can read"].baseline) == (1.0, 0.5)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A reader that nobody trained, and tiny reference sets written by hand."""
    made = tmp_path_factory.mktemp("evaluation")
    reader = Reader(ReaderConfig.default())
    reader.initialize(torch.Generator().manual_seed(0))
    save_reader(reader, made / "reader.safetensors")
    (made / "eval").mkdir()
    for name in SETS:
        # A green ball is a withheld combination.
        clips = [drop(start, color="red" if name == "familiar" else "green") for start in (1.35, 1.1)]
        np.savez_compressed(made / "eval" / f"{name}.npz", **pack_rollouts(clips))
    return made


def small_evaluation(model, folder, save_path):
    """The command that measures a few clips in a single step, one at a time."""
    return ["evaluate", str(model), "--folder", str(folder), "--prompts", "4", "--falls", "0", "--rolls", "0",
            "--codec_clips", "2", "--num_steps", "1", "--seeds", "0", "--batch", "1", "--quiet", "--device", "cpu",
            "--save_path", str(save_path)]  # fmt: skip


def test_the_whole_evaluation_runs_and_is_saved(random_nano, folder, tmp_path, capsys):  # noqa: F811
    assert main(small_evaluation(random_nano, folder, tmp_path / "evaluation.json")) == 0
    found = Evaluation.load(tmp_path / "evaluation.json")
    names = [figure.name for figure in found.figures]
    for name in (
        "ruler: color", "ruler: position error", "tokenizer: PSNR", "obedience: motion", "obedience: shape, withheld",
        "shuffled prompts: camera", "permanence", "joint: all", "distribution: Fréchet distance",
        "image2world: error over repeating the last pixel frame",
        "video2world: error over linear extrapolation, accelerating",
    ):  # fmt: skip
        assert name in names
    assert "tokenizer: PSNR" in capsys.readouterr().out and found.provenance["extent"]["prompts"] == 4
    # Random weights draw noise: no clip can be read as what its prompt asks for.
    assert found.figure("joint: all").value == 0 and found.figure("tokenizer: PSNR").met is False
    # The ruler's own rows also say what it makes of the same clips in the model's hand.
    of_ruler = [figure for figure in found.figures if figure.name.startswith("ruler: ")]
    assert [figure.note for figure in of_ruler] == ["drawn again from sigma 1"] * 9
    # What each clip gets wrong adds up to the figures.
    faults = found.details["faults"]["seed 0"]
    assert [fault["place"] for fault in faults] == [0, 1, 2, 3] and all(fault["prompt"] for fault in faults)
    lasting = 4 - sum("permanence" in fault["wrong"] for fault in faults)
    assert found.figure("permanence").value == lasting / 4
    mp.spawn(_one_of_two, args=(small_evaluation(random_nano, folder, tmp_path / "shared.json"),), nprocs=2)
    shared = Evaluation.load(tmp_path / "shared.json")
    assert [figure.name for figure in shared.figures] == names
    # Other batches of reconstructions take other kernels: a level of rounding.
    for one, two in zip(found.figures, shared.figures):
        assert two.number == one.number and two.value == pytest.approx(one.value, rel=1e-3, abs=1e-6, nan_ok=True)
        assert two.baseline == pytest.approx(one.baseline, rel=1e-3, abs=1e-6, nan_ok=True)


def _one_of_two(rank, command):
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29543"}
    assert main(command) == 0


def test_shares_come_back_in_their_order():
    items = list(range(7))
    shares = [Ranks(rank=rank, size=3).share(items) for rank in range(3)]
    assert sorted(sum(shares, [])) == items and max(map(len, shares)) - min(map(len, shares)) == 1
    assert Ranks().gather(items) is items
    with pytest.raises(ValueError, match="2 clips cannot be shared by 3 processes"):
        Runner(None, Reader(ReaderConfig.default()), None, Extent(), False, Ranks(size=3))._share([1, 2])


def test_missing_references_are_named(random_nano, tmp_path, capsys):  # noqa: F811
    save_reader(Reader(ReaderConfig.default()), tmp_path / "reader.safetensors")
    assert main(["evaluate", str(random_nano), "--folder", str(tmp_path), "--prompts", "4", "--quiet"]) == 2
    assert "no reference set" in capsys.readouterr().err


def test_tries_reach_the_clips(monkeypatch):
    parser, given = argparse.ArgumentParser(), {}
    evaluate_command.add_arguments(parser)
    _, extent = evaluate_command._clips(parser.parse_args(["--tries", "2"]))
    monkeypatch.setattr(made_clips, "generate_batch", lambda *_, **options: given.update(options) or np.zeros((1, 1)))
    runner = Runner(None, Reader(ReaderConfig.default()), None, extent, False)
    monkeypatch.setattr(runner, "_read", lambda made: [None])
    runner.made(PROMPTS[:1], 0)
    assert given["tries"] == 2 and Extent().tries is None


def test_the_extent_is_checked():
    with pytest.raises(ValueError, match="even number"):
        Extent(prompts=5)
    with pytest.raises(ValueError, match="at least one seed"):
        Extent(seeds=())


def test_falls_are_gathered_from_readings_and_scenes():
    from made_worlds import reading
    from test_physics import Lens, seen_fall

    falls = all_falls([reading([seen_fall(Lens(pitch=10.0))[0]]), reading()], [drop(), drop()])
    assert len(falls) == 1 and falls[0].gravity == pytest.approx(9.81, rel=0.02)
    assert callable(evaluate)
