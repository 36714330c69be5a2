"""What a card of full size costs: the same loop on tiny cards of every generation, in bfloat16, in process."""

import json
from dataclasses import replace

import pytest
import torch
from cli_runs import run
from official_files import tiny_card

from cosmos_lab import catalog
from cosmos_lab.nn.dit import DiT
from cosmos_lab.pipelines import full_size
from cosmos_lab.pipelines.full_size import FULL_SIZE, Workload, measure, measure_all, num_evaluations
from cosmos_lab.runtime.random_weights import random_model

SMALL = Workload(num_steps=2, num_pixel_frames=17, resolution=(32, 48))
NAMES = (
    "predict2-2b-video2world-480p-16fps", "predict2-14b-video2world-720p-10fps", "predict2.5-2b-post-trained",
    "predict2.5-2b-pre-trained", "predict1-7b-video2world", "predict1-7b-text2world", "cosmos1-7b-video2world", "nano",
)  # fmt: skip


def small_nano():
    card = catalog.card("nano")
    return replace(card, dit=replace(card.dit, width=64, num_blocks=1, num_heads=2), tokenizer=SMALL_TOKENIZER)


SMALL_TOKENIZER = replace(catalog.card("nano").tokenizer, channels=8)


@pytest.mark.parametrize("name", NAMES)
def test_every_generation_from_noise_to_pixel_frames(name):
    card = small_nano() if name == "nano" else tiny_card(name)
    found = measure(card, replace(SMALL, extrapolate_to=35), device="cpu", command="the command")
    assert found.sound and found.num_pixel_frames == 17 and (found.height, found.width) == (32, 48)
    assert list(found.stages) == ["build", "encode", "denoise", "decode"] and found.short_decode.seconds > 0
    assert found.num_conditional_frames == (0 if "text2world" in name else 1)
    assert found.guidance == card.sampling.guidance > 0
    assert found.evaluations == len(found.evaluation_seconds) == num_evaluations(card, 2)
    assert sum(found.evaluation_seconds) <= found.stages["denoise"].seconds
    assert found.extrapolated["evaluations"] == num_evaluations(card, 35)
    assert "not measured" in found.extrapolated["note"]
    written = json.loads(json.dumps(found.to_json()))
    assert written["dtype"] == "bfloat16" and written["attention"] and written["command"] == "the command"
    assert written["clip_seconds"] == found.extrapolated["clip_seconds"] > 10 * max(found.evaluation_seconds[1:])


def test_evaluations_are_those_of_the_network(monkeypatch):
    """Two network calls an evaluation where guidance has two branches, one after the other."""
    calls = []
    forward = DiT.forward
    monkeypatch.setattr(DiT, "forward", lambda *a, **k: calls.append(1) or forward(*a, **k))
    for name in ("predict2-2b-video2world-480p-16fps", "predict1-7b-text2world", "predict2.5-2b-post-trained"):
        calls.clear()
        found = measure(tiny_card(name), SMALL, device="cpu")
        assert len(calls) == 2 * (found.evaluations + 1)  # and one evaluation that does not count


def test_a_loop_that_does_not_fit_has_four_steps_and_says_so():
    card = tiny_card(NAMES[0])
    found = measure(card, replace(SMALL, num_steps=20), device="cpu", seconds=1e-3)
    assert found.num_steps == 4 and found.evaluations == 5 and found.extrapolated["num_steps"] == 20
    assert found.extrapolated["denoise_seconds"] == pytest.approx(21 * sorted(found.evaluation_seconds)[2])
    assert measure(card, SMALL, device="cpu", seconds=1e-3).extrapolated is None


def test_weights_are_drawn_where_they_run_and_let_everything_through():
    model = random_model(tiny_card(NAMES[0]), device="cpu", dtype=torch.bfloat16, seed=3)
    again = random_model(tiny_card(NAMES[0]), device="cpu", dtype=torch.bfloat16, seed=3)
    for name, parameter in model.dit.named_parameters():
        assert parameter.dtype == torch.bfloat16 and parameter.abs().max() > 0, name
        assert torch.equal(parameter, again.dit.get_parameter(name))
    with pytest.raises(ValueError, match="no CUDA device"):
        random_model(tiny_card(NAMES[0]), device="cuda")


def test_memory_is_that_of_a_stage_with_and_over_the_weights(monkeypatch):
    """On a GPU whose counters are pretended: 3 GB of weights, then peaks of 5 and 12 GB."""
    asked, peaks = [], iter((4e9, 5e9, 12e9))
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: None)
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", asked.append)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 3e9)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: next(peaks))
    meter = full_size.Meter(torch.device("cuda"))
    for name in ("build", "denoise", "decode"):
        with meter.stage(name):
            pass
    assert [meter.stages[name].peak_gb for name in meter.stages] == [4.0, 5.0, 12.0] and len(asked) == 3
    assert [meter.stages[name].over_weights_gb for name in ("denoise", "decode")] == [2.0, 9.0]


def test_the_list_at_full_size_is_legal_and_covers_every_size_asked_about():
    shapes = {name: (*catalog.card(name).size_of(), catalog.card(name).num_pixel_frames) for name in FULL_SIZE}
    assert shapes == {
        "predict2-2b-video2world-480p-16fps": (432, 768, 93), "predict2-2b-video2world-720p-16fps": (704, 1280, 93),
        "predict2-14b-video2world-480p-16fps": (432, 768, 93), "predict2-14b-video2world-720p-16fps": (704, 1280, 93),
        "predict2.5-2b-post-trained": (704, 1280, 93), "predict1-7b-video2world": (704, 1280, 121),
    }  # fmt: skip


def test_what_fails_is_told_and_the_next_begins(tmp_path):
    seen, known = {}, catalog.cards()

    def one(card, workload, *, seconds):
        if card.name == FULL_SIZE[0]:
            raise RuntimeError("CUDA out of memory\nand more")
        return measure(tiny_card(card.name), SMALL, device="cpu", seconds=seconds)

    failures = measure_all(FULL_SIZE[:2], measure_one=one, budget_seconds=60, done=seen.__setitem__)
    assert failures == {FULL_SIZE[0]: "CUDA out of memory"} and seen[FULL_SIZE[0]]["error"] == "CUDA out of memory"
    assert seen[FULL_SIZE[1]]["sound"]
    late = measure_all(FULL_SIZE, measure_one=one, budget_seconds=0, done=lambda name, found: None)
    assert list(late) == list(FULL_SIZE) and "not begun" in late[FULL_SIZE[2]]
    assert all(name in known for name in FULL_SIZE)


@pytest.fixture
def tiny_catalog(monkeypatch):
    monkeypatch.setattr(full_size.catalog, "card", lambda name: tiny_card(name))
    monkeypatch.setattr("official_files.catalog", type("Catalog", (), {"card": staticmethod(catalog.cards().get)}))


def test_the_command(tiny_catalog, tmp_path, capsys, monkeypatch):
    options = ("--random_weights", "--device", "cpu", "--dtype", "bfloat16", "--num_pixel_frames", 17, "--height", 32,
               "--width", 48, "--num_steps", 2, "--extrapolate_to", 35)  # fmt: skip
    assert run("benchmark", NAMES[0], *options, "--save_path", tmp_path / "one.json") == 0
    assert "extrapolated, not measured: 36 evaluations" in capsys.readouterr().out
    written = json.loads((tmp_path / "one.json").read_text())
    assert written["model"] == NAMES[0] and written["command"].startswith("python -m cosmos_lab")
    assert run("benchmark", *NAMES[:2], *options, "--save_path", tmp_path / "several") == 0
    assert sorted(path.stem for path in (tmp_path / "several").iterdir()) == sorted(NAMES[:2])
    assert run("benchmark", NAMES[0], "--random_weights", "--device", "cpu", "--num_conditional_frames", 7) == 1
    assert "continues 1 or 5 pixel frames, not 7" in capsys.readouterr().out
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert run("benchmark", NAMES[0], "--random_weights") == 2
    assert "there is no GPU here" in capsys.readouterr().err
    for wrong in (("--runs", 2), ("--height", 32), ("--resolution", "720", "--height", 32, "--width", 48)):
        assert run("benchmark", NAMES[0], "--random_weights", "--device", "cpu", *wrong) == 2
    assert run("benchmark", "nano", "--extrapolate_to", 35) == 2
    assert "--extrapolate_to goes with --random_weights" in capsys.readouterr().err
