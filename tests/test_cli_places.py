"""Where commands write: never over what they read, and what cannot be written is known before a model is loaded."""

import json
import os

import pytest
from cli_runs import PROMPT, SMALL, run, write_clip, write_still
from random_nano import random_nano  # noqa: F401 (fixture)


@pytest.fixture
def quick(random_nano, tmp_path, monkeypatch):  # noqa: F811
    monkeypatch.chdir(tmp_path)
    write_clip(tmp_path / "given.mp4")
    return ["--model", str(random_nano), *SMALL]


@pytest.fixture
def unloaded(monkeypatch):
    """No model can be loaded: what is refused is refused before."""

    def load(*_, **__):
        raise AssertionError("a model was loaded")

    monkeypatch.setattr("cosmos_lab.pipelines.generate.load", load)
    monkeypatch.setattr("cosmos_lab.pipelines.replay.load", load)


def items(path):
    return [(item["status"], item["message"]) for item in json.loads(path.read_text())["items"]]


def array(path, *entries):
    path.write_text(json.dumps([{"prompt": PROMPT, **entry} for entry in entries]))
    return ["--batch_input_json", str(path)]


@pytest.mark.parametrize(
    "command, given",
    [
        ("video2world", ["--input_path", "given.mp4", "--save_path", "given.mp4"]),
        ("video2world", ["--input_image_or_video_path", "given.mp4", "--save_path", "new/../given.mp4"]),
        ("video2world", ["--input_path", "link.mp4", "--save_path", "given.mp4"]),
        ("image2world", ["--input_path", "a_sheet.png", "--save_path", "a.mp4", "--contact_sheet"]),
        ("long-video", ["--input_path", "given.mp4", "--save_path", "given.mp4"]),
        ("video2video", ["--input_video_path", "given.mp4", "--save_path", "given.mp4"]),
    ],
)
def test_a_clip_is_not_written_over_its_input(quick, unloaded, tmp_path, capsys, command, given):
    write_still(tmp_path / "a_sheet.png")
    (tmp_path / "link.mp4").symlink_to("given.mp4")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert run(command, *quick, "--prompt", PROMPT, *given) == 2
    said = capsys.readouterr().err
    assert f"would overwrite {given[1]}" in said and said.count("\n") == 1
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize(
    "entry, more", [({"output_video": "in.mp4"}, []), ({"output_video": "a.mp4"}, ["--report", "in.json"]),
                    ({"output_video": "a.mp4"}, ["--report", "given.mp4"])],
)  # fmt: skip
def test_a_batch_is_not_written_over_its_own_files(quick, unloaded, tmp_path, capsys, entry, more):
    batch = array(tmp_path / "in.json", {"input_video": "given.mp4", **entry})
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert run("video2world", *quick, *batch, *more) == 2
    assert "would overwrite" in capsys.readouterr().err
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_an_item_is_not_written_over_an_input(quick, tmp_path):
    """Neither over its own nor over another one's; the rest is made."""
    write_clip(tmp_path / "other.mp4")
    entries = [{"input_video": "given.mp4", "output_video": name} for name in ("given.mp4", "other.mp4", "a.mp4")]
    batch = array(tmp_path / "in.json", *entries, {"input_video": "other.mp4", "output_video": "\0.mp4"})
    before = (tmp_path / "given.mp4").read_bytes()
    assert run("video2world", *quick, *batch) == 1
    (first, over_own), (second, over_other), (third, _), (fourth, _) = items(tmp_path / "batch_report.json")
    assert (first, second, third, fourth) == ("failed", "failed", "made", "failed")
    assert "overwrite given.mp4" in over_own and "overwrite other.mp4" in over_other
    assert (tmp_path / "given.mp4").read_bytes() == before == (tmp_path / "other.mp4").read_bytes()


def test_samples_are_not_overwritten(quick, tmp_path, capsys):
    """Neither their file nor the files that they name; the guide's own layout in one folder shows both."""
    folder = tmp_path / "s"
    folder.mkdir()
    (folder / "robot.txt").write_text(PROMPT)
    sample = {"name": "robot", "prompt_path": "robot.txt", "inference_type": "text2world"}
    given = ["--model", quick[1], "--num_steps", 1, "--num_pixel_frames", 9, "--resolution", "64,96", "--quiet"]
    (folder / "robot.json").write_text(json.dumps(sample))
    assert run("inference", "-i", "s/robot.json", "-o", "s", *given) == 2
    assert "would overwrite s/robot.json" in capsys.readouterr().err
    (folder / "many.jsonl").write_text(json.dumps(sample) + "\n" + json.dumps({**sample, "name": "b"}) + "\n")
    assert run("inference", "-i", "s/many.jsonl", "-o", "s", *given) == 1
    (first, message), (second, _) = items(folder / "batch_report.json")
    assert (first, second) == ("failed", "made") and "would overwrite s/robot.txt" in message
    assert (folder / "robot.txt").read_text() == PROMPT and json.loads((folder / "robot.json").read_text()) == sample


@pytest.mark.parametrize("place", ["given.mp4/a.mp4", "closed/a.mp4", "blocked.mp4", "sheet.mp4"])
def test_a_closed_place_is_known_before_the_work(quick, unloaded, tmp_path, capsys, monkeypatch, place):
    for name in ("closed", "blocked.json", "sheet_sheet.png"):
        (tmp_path / name).mkdir()
    real = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: "closed" not in str(path) and real(path, mode))
    flags = ["--save_path", place, "--contact_sheet"]
    assert run("text2world", *quick, "--prompt", PROMPT, *flags) == 1
    assert "Traceback" not in (said := capsys.readouterr().err) and said.count("\n") == 1


def test_a_replay_leaves_what_it_is_compared_with(quick, tmp_path, capsys, monkeypatch):
    given = ["--input_path", "given.mp4", "--prompt", PROMPT, "--save_path", "a.mp4"]
    assert run("video2world", *quick, *given) == 0
    monkeypatch.setattr("cosmos_lab.pipelines.replay.replay", None)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    for file, place, code, message in (
        ("a.mp4", "a.mp4", 2, "would overwrite a.mp4"), ("a.json", "a.mp4", 2, "would overwrite a.mp4"),
        ("a.mp4", "given.mp4", 2, "given.mp4, which is needed"), ("a.mp4", "b.avi", 2, "must end in .mp4"),
        ("a.mp4", "given.mp4/b.mp4", 1, "a part of that path is a file"),
    ):  # fmt: skip
        assert run("replay", file, "--save_path", place) == code
        assert message in capsys.readouterr().err
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_the_report_lies_beside_good_outputs(quick, tmp_path, capsys):
    batch = array(tmp_path / "in.json", {"output_video": "bad/a.avi"}, {"output_video": "good/a.mp4"})
    assert run("text2world", *quick, *batch) == 1
    assert (tmp_path / "good" / "batch_report.json").is_file() and not (tmp_path / "bad").exists()
    capsys.readouterr()
    assert run("text2world", *quick, *array(tmp_path / "in.json", {"output_video": "given.mp4/a.mp4"})) == 1
    assert "report        none: no folder" in capsys.readouterr().out


def test_the_report_of_samples_lies_in_their_folder(quick, tmp_path, capsys):
    """Whatever is wrong with all of them."""
    (tmp_path / "a.json").write_text(json.dumps({"name": "../b/a", "inference_type": "fly"}))
    given = ["inference", "-i", "a.json", "--model", quick[1]]
    assert run(*given, "-o", "out") == 1 and [path.name for path in (tmp_path / "out").iterdir()] == [
        "batch_report.json"]  # fmt: skip
    capsys.readouterr()
    assert run(*given, "-o", "given.mp4") == 1
    assert "report        none: no folder" in capsys.readouterr().out
