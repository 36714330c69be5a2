"""What users get wrong: one clear message that names the fix, exit code 2 for usage and 1 for failure, nothing lost."""

import errno
import json
import os

import pytest
import torch
from cli_runs import PROMPT, SMALL, run, write_clip, write_still
from random_nano import random_nano  # noqa: F401 (fixture)

from cosmos_lab import video
from cosmos_lab.pipelines.source import Source


@pytest.fixture
def quick(random_nano, tmp_path, monkeypatch):  # noqa: F811
    monkeypatch.chdir(tmp_path)
    return ["--model", str(random_nano), *SMALL]


@pytest.mark.parametrize(
    "command, given, code, message",
    [
        # A wrong flag, or a wrong value.
        ("text2world", ["--promt", "a"], 2, "unrecognized arguments: --promt a; did you mean --prompt? see"),
        ("text2world", ["--seed", "one"], 2, "invalid int value"),
        ("text2world", ["--model_size", "7B"], 2, "choose from"),
        ("text2world", ["--num_steps", "0"], 2, "num_steps is a whole number from 1 on"),
        ("text2world", ["--num_video_frames", "10"], 2, "use 9 or 13"),
        ("text2world", ["--height", "70"], 2, "nearest size"),
        ("text2world", ["--resolution", "64,96", "--height", "64"], 2, "give one"),
        ("text2world", ["--prompt", "  "], 2, "the prompt is empty"),
        ("video2video", ["--input_video_path", "clip.mp4", "--video2world_edit_strength", "2"], 2,
         "argument --video2world_edit_strength: strength lies"),
        ("video2video", ["--input_video_path", "clip.mp4", "--text2image_edit_strength", "nan"], 2,
         "argument --text2image_edit_strength: strength lies"),
        ("video2video", ["--input_video_path", "clip.mp4", "--source_prompt", " "], 2, "--source_prompt is a text"),
        ("video2video", ["--input_video_path", "clip.mp4", "--num_draws", "2"], 2, "--num_draws needs --source_prompt"),
        ("text2world", ["--report", "r.json"], 2, "--report is for a batch"),
        ("text2world", ["--overwrite"], 2, "--overwrite is for a batch"),
        ("long-video", ["--num_chunks", "0"], 2, "num_chunks is a whole number from 1 on"),
        ("video2world", ["--input_path", "clip.mp4", "--num_conditional_frames", "3"], 2, "continues 1 or 5"),
        # A missing flag.
        ("video2world", [], 2, "--input_path is missing"),
        ("image2world", [], 2, "--input_path is missing"),
        ("video2video", [], 2, "--input_video_path is missing"),
        # An input that cannot be used.
        ("video2world", ["--input_path", "gone.mp4"], 1, "there is no file gone.mp4"),
        ("video2world", ["--input_path", "clip.doc"], 1, "unknown kind '.doc'; use one of"),
        ("video2world", ["--input_path", "empty.mp4"], 1, "damaged"),
        ("video2world", ["--input_path", "still.jpg", "--num_conditional_frames", "5"], 2, "a still image"),
        ("video2world", ["--input_path", "short.mp4", "--num_conditional_frames", "5"], 2, "has only 3"),
        # An output that cannot be written.
        ("text2world", ["--save_path", "a.avi"], 2, "must end in .mp4"),
        ("text2image", ["--save_path", "a.mp4"], 2, "must end in .jpg"),
        ("text2world", ["--save_path", "still.jpg/a.mp4"], 1, "a part of that path is a file"),
        ("text2world", ["--save_path", "a.mp4", "--video_save_name", "b"], 2, "give one"),
        # A model, or a device, that is not there.
        ("text2world", ["--device", "tpu"], 2, "there is no kind of device 'tpu'; it is cpu or cuda"),
        ("text2world", ["--device", "cuda:99"], 2, "CUDA device"),
        ("text2world", ["--model", "nowhere"], 2, "there is no model 'nowhere'"),
        ("text2world", ["--model", "."], 1, "holds no model"),
        ("text2world", ["--model", "predict2-2b-video2world-720p-16fps", "--disable_guardrail"], 1, "download"),
    ],
)
def test_one_message_names_the_fix(quick, tmp_path, capsys, command, given, code, message):
    write_still(tmp_path / "still.jpg")
    write_clip(tmp_path / "clip.mp4")
    write_clip(tmp_path / "short.mp4", length=3)
    (tmp_path / "clip.doc").write_text("")
    (tmp_path / "empty.mp4").write_bytes(b"")
    before = sorted(tmp_path.iterdir())
    prompt = ["--prompt", PROMPT] if "--prompt" not in given else []
    common = quick if "--model" not in given else ["--quiet"]
    if command == "text2image":
        common = [word for word in common if word not in ("--num_pixel_frames", "9")]
    if "--resolution" in given:
        common = ["--model", quick[1], "--quiet"]
    assert run(command, *common, *prompt, *given) == code
    said = capsys.readouterr().err
    assert message in said and "Traceback" not in said
    assert said.count("\n") == 1 or message == "download"
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    "command, given, message",
    [
        ("text2world", ["--num_steps", "0"], "num_steps is a whole number"),
        ("text2world", ["--guidance", "nan"], "guidance is a number"),
        ("text2world", ["--height", "70"], "nearest size"),
        ("video2world", ["--num_conditional_frames", "3"], "continues 1 or 5"),
        ("long-video", ["--num_chunks", "0"], "num_chunks is a whole number"),
        ("video2video", ["--input_video_path", "clip.mp4", "--video2world_edit_strength", "7"], "strength lies"),
        ("video2video", ["--input_video_path", "clip.mp4", "--source_prompt", ""], "--source_prompt is a text"),
        ("video2video", [], "--input_video_path is missing"),
    ],
)
def test_a_wrong_flag_of_a_batch_is_as_wrong(quick, tmp_path, capsys, command, given, message):
    """Exit code 2 and one message, where every item would fail with it."""
    write_clip(tmp_path / "clip.mp4")
    entry = {"prompt": PROMPT, "input_video": "clip.mp4", "output_video": "out/a.mp4"}
    (tmp_path / "in.json").write_text(json.dumps([entry, {**entry, "output_video": "out/b.mp4"}]))
    assert run(command, *quick, "--batch_input_json", "in.json", *given) == 2
    said = capsys.readouterr().err
    assert message in said and said.count("\n") == 1 and not (tmp_path / "out").exists()


def test_a_mistake_of_the_library_is_one_line(quick, tmp_path, capsys, monkeypatch):
    """It says how to see where; then the exception is raised."""
    from cosmos_lab.pipelines import generate

    def load(*_, **__):
        raise raised

    monkeypatch.setattr(generate, "load", load)
    flags = ["text2world", *quick, "--prompt", PROMPT, "--save_path", "a.mp4"]
    for raised in (OverflowError("too large"), RecursionError("too deep"), RuntimeError("two\n lines"), KeyError("a")):
        assert run(*flags) == 1
        said = capsys.readouterr().err
        assert said.startswith(f"cosmos-lab: unexpected {type(raised).__name__}: ") and said.count("\n") == 1
        assert "COSMOS_LAB_TRACEBACK=1" in said
    raised = ModuleNotFoundError("No module named 'mujoco'")
    assert run(*flags) == 1 and "'mujoco': install it" in capsys.readouterr().err
    monkeypatch.setenv("COSMOS_LAB_TRACEBACK", "1")
    raised = RuntimeError("here")
    with pytest.raises(RuntimeError, match="here"):
        run(*flags)


def test_a_read_only_folder_is_named(quick, tmp_path, capsys, monkeypatch):
    (tmp_path / "closed").mkdir()
    real = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: "closed" not in str(path) and real(path, mode))
    assert run("text2world", *quick, "--prompt", PROMPT, "--save_path", "closed/a.mp4") == 1
    assert "cannot write into closed; choose another folder" in capsys.readouterr().err


def test_a_full_disk_loses_nothing(quick, tmp_path, capsys, monkeypatch):
    """The clip of the run before stays whole, with its prompts and provenance."""
    assert run("text2world", *quick, "--prompt", PROMPT, "--save_path", "a.mp4") == 0
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def full(target, pixels, **_):
        with open(target, "wb") as file:
            file.write(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("cosmos_lab.video._encode", full)
    capsys.readouterr()
    assert run("text2world", *quick, "--prompt", "a blue box", "--save_path", "a.mp4") == 1
    assert "No space left on this disk: free some, or write elsewhere" in capsys.readouterr().err
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_full_gpu_costs_its_clip_only(quick, tmp_path, capsys, monkeypatch):
    """Exit code 1 and one message with the fix; a batch goes on."""
    from cosmos_lab.nn.dit import DiT

    real, calls = DiT.forward, []

    def full(*given, **named):
        calls.append(given)
        if len(calls) == 1:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return real(*given, **named)

    monkeypatch.setattr(DiT, "forward", full)
    assert run("text2world", *quick, "--prompt", PROMPT, "--save_path", "a.mp4") == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "9 pixel frames of 96x64" in said and "smaller resolution" in said
    assert list(tmp_path.iterdir()) == []
    calls.clear()
    (tmp_path / "in.json").write_text(json.dumps([{"prompt": PROMPT, "output_video": f"{n}.mp4"} for n in range(2)]))
    assert run("text2world", *quick, "--batch_input_json", "in.json") == 1
    items = json.loads((tmp_path / "batch_report.json").read_text())["items"]
    assert [item["status"] for item in items] == ["failed", "made"] and "smaller resolution" in items[0]["message"]


def test_a_missing_folder_is_made(quick, tmp_path):
    assert run("text2world", *quick, "--prompt", PROMPT, "--save_path", "new/folder/a.mp4") == 0
    assert (tmp_path / "new" / "folder" / "a.mp4").is_file()


def test_the_example_prompt_is_said(quick, tmp_path, capsys):
    """Predict2's guide has a default prompt for text2world; here it is nano's example, and shown."""
    assert run("text2world", *quick, "--save_path", "a.mp4") == 0
    assert "a red ball rolls across a wooden floor" in capsys.readouterr().out
    write_still(tmp_path / "a.jpg")
    assert run("image2world", *quick, "--input_path", "a.jpg", "--save_path", "b.mp4") == 2
    assert "--prompt is missing" in capsys.readouterr().err


@pytest.mark.parametrize(
    "name, codec, size, pixel_format",
    [("a.webm", "libvpx-vp9", (98, 62), "yuv420p"), ("odd.mp4", "libx264", (97, 61), "yuv444p"),
     ("a.avi", "mpeg4", (98, 62), "yuv420p"), ("a.mkv", "libx264", (98, 62), "yuv420p")],
)  # fmt: skip
def test_clips_of_every_common_kind_are_continued(quick, tmp_path, name, codec, size, pixel_format):
    """Also of another size and rate: the last 5 of 7 pixel frames, fitted to the model's size."""
    import av
    import numpy as np

    with av.open(str(tmp_path / name), "w") as container:
        stream = container.add_stream(codec, rate=24)
        stream.width, stream.height, stream.pix_fmt = *size, pixel_format
        for level in range(0, 210, 30):
            picture = np.full((size[1], size[0], 3), level, dtype=np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    given = ["--input_path", name, "--num_conditional_frames", "5", "--prompt", PROMPT, "--save_path", "out.mp4"]
    assert run("video2world", *quick, *given) == 0
    assert video.read("out.mp4").pixels.shape == (9, 64, 96, 3) and video.read("out.mp4").fps == 16
    source = Source.of(tmp_path / name, num_conditional_frames=5)
    assert np.abs(source.pixels.mean(axis=(1, 2, 3)) - [60, 90, 120, 150, 180]).max() < 6
