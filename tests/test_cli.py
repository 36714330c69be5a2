"""The commands, in process: flags, outputs, exit codes, and messages that name the fix."""

import json
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from random_nano import random_nano  # noqa: F401 (fixture)

from cosmos_lab import video
from cosmos_lab.cli import COMMANDS, main

PROMPT = "a red ball rolls to the left"


@pytest.fixture
def quick(random_nano, tmp_path):  # noqa: F811
    """The flags of a small run that writes clip.mp4."""
    return ["--model", str(random_nano), "--prompt", PROMPT, "--num_steps", "1", "--num_pixel_frames", "5", "--quiet",
            "--save_path", str(tmp_path / "clip.mp4")]  # fmt: skip


def run(*arguments):
    """Exit code of a command, also where argparse leaves by itself."""
    try:
        return main([str(argument) for argument in arguments])
    except SystemExit as left:
        return left.code


def test_text2world_writes_what_it_says(quick, tmp_path, capsys):
    assert run("text2world", *quick, "--seed", 5, "--contact_sheet", "--fps", 10, "--guidance", 2) == 0
    said = capsys.readouterr().out
    for name in ("clip.mp4", "clip_sheet.png", "clip.txt", "clip.json"):
        assert (tmp_path / name).is_file() and str(tmp_path / name) in said
    clip = video.read(tmp_path / "clip.mp4")
    assert clip.pixels.shape == (5, 112, 192, 3) and clip.fps == 10
    settings = json.loads((tmp_path / "clip.json").read_text())["settings"]
    assert (settings["seed"], settings["guidance"], settings["prompt"]) == (5, 2.0, PROMPT)


def test_hyphens_and_underscores_are_one(quick, tmp_path):
    hyphens = [word.replace("_", "-") if word.startswith("--") else word for word in quick]
    assert run("text2world", *hyphens, "--negative-prompt=a-b_c --d") == 0
    assert json.loads((tmp_path / "clip.json").read_text())["settings"]["negative_prompt"] == "a-b_c --d"


def test_replay_makes_the_same_bytes(quick, tmp_path, capsys):
    assert run("text2world", *quick) == 0
    assert run("replay", tmp_path / "clip.mp4", "--quiet") == 0
    assert "the same bytes" in capsys.readouterr().out
    assert (tmp_path / "clip_replay.mp4").read_bytes() == (tmp_path / "clip.mp4").read_bytes()
    (tmp_path / "clip.mp4").write_bytes(b"other")
    assert run("replay", tmp_path / "clip.json", "--quiet") == 1
    assert "other bytes than" in capsys.readouterr().out


def test_text2image_writes_a_picture(random_nano, tmp_path, capsys):  # noqa: F811
    path = tmp_path / "picture.png"
    assert run("text2image", "--model", random_nano, "--prompt", PROMPT, "--num_steps", 1, "--quiet",
               "--save_path", path) == 0  # fmt: skip
    assert Image.open(path).size == (192, 112) and path.with_suffix(".txt").is_file()
    assert run("replay", path, "--quiet") == 0


def test_image2world_and_video2world_continue(quick, tmp_path):
    Image.fromarray(np.full((90, 160, 3), 120, dtype=np.uint8)).save(tmp_path / "start.jpg")
    assert run("image2world", *quick, "--input_path", tmp_path / "start.jpg") == 0
    assert json.loads((tmp_path / "clip.json").read_text())["settings"]["num_conditional_frames"] == 1
    assert run("video2world", *quick, "--input_path", tmp_path / "clip.mp4", "--num_video_frames", 9,
               "--num_conditional_frames", 5, "--save_path", tmp_path / "next.mp4") == 0  # fmt: skip
    provenance = json.loads((tmp_path / "next.json").read_text())
    assert provenance["settings"]["num_conditional_frames"] == 5
    assert provenance["input"]["path"] == str(tmp_path / "clip.mp4")


def test_what_is_disabled_is_recorded(quick, tmp_path):
    assert run("text2world", *quick, "--disable_guardrail", "--disable_prompt_upsampler") == 0
    settings = json.loads((tmp_path / "clip.json").read_text())["settings"]
    assert (settings["guardrail"], settings["refiner"]) == ("DISABLED", "DISABLED")


def test_a_prompt_that_is_cut_is_reported(quick, capsys):
    assert run("text2world", *quick, "--prompt", "red " * 10_000) == 0
    assert "the prompt is too long: its last" in capsys.readouterr().out


@pytest.mark.parametrize(
    "flags, message",
    [
        (["--prompt", ""], "the prompt is empty"),
        (["--num_pixel_frames", "34"], "use 33 or 37"),
        (["--resolution", "100,190"], "192x96"),
        (["--seed", "-3"], "seed is a whole number from 0 on"),
        (["--seed", "x"], "invalid int value"),
        (["--model", "nona"], "did you mean nano"),
        (["--aspect_ratio", "2:1"], "invalid choice"),
        (["--save_path", "clip.avi"], "must end in .mp4"),
        (["--steps", "3"], "unrecognized arguments"),
        (["--num_step", "3"], "unrecognized arguments"),
    ],
)
def test_a_wrong_command_line_exits_2(quick, tmp_path, capsys, flags, message):
    assert run("text2world", *quick, *flags) == 2
    said = capsys.readouterr().err
    assert message in said and "Traceback" not in said
    assert list(tmp_path.iterdir()) == []


def test_work_that_fails_exits_1(quick, tmp_path, capsys):
    (tmp_path / "cut.mp4").write_bytes(b"\x00\x00\x00\x18ftypmp42")
    (tmp_path / "file").write_text("")
    for flags, message in (
        (["--input_path", tmp_path / "cut.mp4"], "cut.mp4 is damaged or cut off"),
        (["--input_path", tmp_path / "gone.mp4"], "there is no file"),
    ):
        assert run("video2world", *quick, "--num_pixel_frames", 9, *flags) == 1
        assert message in capsys.readouterr().err
    assert run("text2world", *quick, "--save_path", tmp_path / "file" / "clip.mp4") == 1
    assert "a part of that path is a file" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cut.mp4", "file"]


def test_ctrl_c_leaves_no_file(quick, tmp_path, capsys, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("cosmos_lab.video._encode", interrupted)
    assert run("text2world", *quick) == 130
    assert list(tmp_path.iterdir()) == [] and "interrupted" in capsys.readouterr().err


def test_an_interrupt_from_the_keyboard_ends_the_program(random_nano, tmp_path):  # noqa: F811
    """End to end, in the middle of the solver: 130, one line, no file."""
    command = [sys.executable, "-m", "cosmos_lab", "text2world", "--model", str(random_nano), "--prompt", PROMPT,
               "--num_steps", "10000", "--save_path", str(tmp_path / "new" / "clip.mp4")]  # fmt: skip
    # A shell's background job ignores the keyboard, and its children inherit that: the program must not.
    heed = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, preexec_fn=heed) as process:
        seen = b""
        while b"10001" not in seen:
            byte = process.stderr.read(1)
            assert byte, f"it ended before the solver began: {seen.decode()}"
            seen += byte
        process.send_signal(signal.SIGINT)
        try:
            said = process.communicate(timeout=120)[1].decode()
        finally:
            process.kill()
    assert process.returncode == 130 and said.endswith("cosmos-lab: interrupted\n") and "Traceback" not in said
    assert list(tmp_path.iterdir()) == []


def test_benchmark_says_what_a_clip_costs(random_nano, capsys):  # noqa: F811
    assert run("benchmark", random_nano, "--runs", 1, "--num_steps", 1, "--quiet") == 0
    said = capsys.readouterr().out
    for line in ("denoise", "decode", "imports and loading", "peak memory", "float32, 1 steps"):
        assert line in said
    assert run("benchmark", random_nano, "--runs", 0) == 2


def test_models_and_doctor_say_what_there_is(capsys):
    assert run("models") == 0
    listed = capsys.readouterr().out
    assert "nano" in listed and "predict2-14b-video2world-720p-16fps" in listed
    assert run("doctor") in (0, 1)
    assert len(capsys.readouterr().out.splitlines()) == 11


def test_every_command_explains_itself(capsys):
    assert run("--help") == 0
    overview = capsys.readouterr().out
    for name in COMMANDS:
        assert name in overview
        assert run(name, "--help") == 0
        assert "usage: cosmos-lab " + name in capsys.readouterr().out
    assert run() == 2 and run("fly") == 2
    assert "choose from" in capsys.readouterr().err


def test_every_command_file_is_a_command():
    folder = Path(main.__code__.co_filename).parent
    files = {path.stem.replace("_", "-") for path in folder.glob("*.py")} - {"--init--"}
    files -= {"flags", "absent", "choosing", "making", "places"}
    assert files == set(COMMANDS)


def test_the_module_runs_from_the_shell(quick, tmp_path):
    done = subprocess.run([sys.executable, "-m", "cosmos_lab", "text2world", *quick], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "clip.mp4").is_file() and done.stderr == ""
