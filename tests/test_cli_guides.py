"""The example commands of the guides, on nano's small likeness: its flags replace those that choose a model.

Each is here once, those that differ only in the size of the model or in the text of the prompt together.
"""

import json
import shlex

import pytest
from cli_runs import run, settings, write_clip, write_still
from random_nano import random_nano  # noqa: F401 (fixture)

from cosmos_lab import video

OFFLOAD = (
    "--offload_tokenizer --offload_diffusion_transformer --offload_text_encoder_model --offload_prompt_upsampler "
    "--offload_guardrail_models"
)


@pytest.fixture
def folder(random_nano, tmp_path, monkeypatch):  # noqa: F811
    """A working folder with the guides' inputs."""
    monkeypatch.chdir(tmp_path)
    for name in ("input0.jpg", "input1.jpg", "example_input.jpg"):
        write_still(tmp_path / name)
    for name in ("input2.mp4", "input3.mp4", "robot_pouring.mp4"):
        write_clip(tmp_path / name)
    prompts = ("A wooden sailboat gently moves across a tranquil lake.", "A modern kitchen scene.")
    files = {
        "text2world.json": [{"prompt": p, "output_video": f"output/{n}.mp4"} for n, p in enumerate(prompts)],
        "video2world.json": [{"input_video": f"input{n}.{kind}", "prompt": p, "output_video": f"output/{n}.mp4"}
                             for n, kind, p in ((0, "jpg", prompts[0]), (2, "mp4", prompts[1]))],
        "snowy_stop_light.json": {"inference_type": "text2world", "name": "snowy_stop_light", "prompt": "Snow falls."},
        "robot_pouring.json": {"inference_type": "video2world", "name": "robot_pouring", "prompt": "A robotic arm…",
                               "input_path": "robot_pouring.mp4"},
    }  # fmt: skip
    for name, value in files.items():
        (tmp_path / name).write_text(json.dumps(value))
    (tmp_path / "text2world.jsonl").write_text("".join(json.dumps({"prompt": p}) + "\n" for p in prompts))
    lines = [{"prompt": p, "visual_input": f"input{n}.mp4"} for n, p in zip((2, 3), prompts)]
    (tmp_path / "video2world.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return tmp_path


@pytest.mark.parametrize(
    "command, outputs",
    [
        # Cosmos 1.0 and Predict1. The small likeness continues 5 pixel frames where they continue 9.
        ('text2world --prompt "A sleek, humanoid robot" --offload_prompt_upsampler --video_save_name robot',
         ["outputs/robot"]),
        (f'text2world --prompt "A sleek, humanoid robot" --video_save_name lean {OFFLOAD}', ["outputs/lean"]),
        ('text2world --prompt "A sleek, humanoid robot" --video_save_name large --offload_prompt_upsampler '
         "--offload_guardrail_models", ["outputs/large"]),
        ("text2world --batch_input_path text2world.jsonl --video_save_folder outputs/7B --offload_prompt_upsampler",
         ["outputs/7B/0", "outputs/7B/1"]),
        ('video2world --input_image_or_video_path input0.jpg --num_input_frames 1 --prompt "A long, straight highway" '
         "--video_save_name highway --offload_prompt_upsampler", ["outputs/highway"]),
        ('video2world --input_image_or_video_path input0.jpg --num_input_frames 1 --prompt "A long, straight highway" '
         f"--video_save_name lean {OFFLOAD}", ["outputs/lean"]),
        ("video2world --batch_input_path video2world.jsonl --video_save_folder outputs/wo_ps --num_input_frames 5 "
         "--disable_prompt_upsampler", ["outputs/wo_ps/0", "outputs/wo_ps/1"]),
        # Predict2.
        ("text2world --save_path output/example.mp4", ["output/example"]),
        ('text2world --prompt "An autonomous welding robot arm" --save_path output/text2world_2b.mp4',
         ["output/text2world_2b"]),
        ("text2world --batch_input_json text2world.json", ["output/0", "output/1"]),
        ('video2video --prompt "A snowy street" --text2image_edit_strength 0.4 --video2world_edit_strength 0.8 '
         "--input_video_path input3.mp4 --save_path output/edited.mp4 --num_steps 3", ["output/edited"]),
        ('video2world --input_path input0.jpg --num_conditional_frames 1 --prompt "A nighttime city bus terminal" '
         "--save_path output/video2world_2b.mp4", ["output/video2world_2b"]),
        ('video2world --input_path input0.jpg --num_conditional_frames 1 --prompt "A nighttime city bus terminal" '
         "--save_path output/video2world_14b.mp4 --offload_guardrail --offload_prompt_refiner",
         ["output/video2world_14b"]),
        ("video2world --batch_input_json video2world.json", ["output/0", "output/2"]),
        ('video2world --input_path input3.mp4 --num_conditional_frames 5 --prompt "A point-of-view video" '
         "--save_path output/video2world_2b_5frames.mp4", ["output/video2world_2b_5frames"]),
        ('video2world --input_path input0.jpg --prompt "A nighttime city bus terminal." --disable_prompt_refiner '
         "--save_path output/plain.mp4", ["output/plain"]),
        ('long-video --num_chunks 6 --input_path example_input.jpg --prompt "A well-lit warehouse" '
         "--save_path output/long.mp4 --disable_guardrail --disable_prompt_refiner", ["output/long"]),
        # Predict2.5.
        ("inference -i robot_pouring.json -o out --inference-type=video2world", ["out/robot_pouring"]),
        ("inference -i robot_pouring.json -o out --inference-type=text2world", ["out/robot_pouring"]),
        ("inference -i robot_pouring.json -o out --inference-type=image2world", ["out/robot_pouring"]),
        ("inference -i robot_pouring.json snowy_stop_light.json -o out", ["out/robot_pouring", "out/snowy_stop_light"]),
    ],
)  # fmt: skip
def test_an_example_of_the_guides(folder, random_nano, command, outputs):  # noqa: F811
    name, *given = shlex.split(command)
    steps = [] if "--num_steps" in given else ["--num_steps", "1"]
    size = ["--resolution", "64,96", "--num_pixel_frames", "9"]
    assert run(name, "--model", random_nano, *given, *steps, *size, "--quiet") == 0
    for output in outputs:
        path = folder / f"{output}.mp4"
        clip = video.read(path)
        assert clip.pixels.shape[1:] == (64, 96, 3) and clip.fps == 16
        assert len(clip.pixels) == (9 + 5 * 8 if name == "long-video" else 9)
        prompt = settings(path)["prompt"]
        assert path.with_suffix(".txt").read_text() == f"[Prompt]\n{prompt}\n"


@pytest.mark.parametrize(
    "command, reason",
    [
        ('text2world --prompt "a" --save_path a.mp4 --num_gpus 8 --disable_guardrail --disable_prompt_refiner',
         "--num_gpus 8"),
        ('text2world --num_gpus 8 --prompt "a" --offload_prompt_upsampler --video_save_name a', "--num_gpus 8"),
        ('video2world --input_path input0.jpg --prompt "a" --save_path a.mp4 --num_gpus 8', "--num_gpus 8"),
        ('long-video --num_chunks 6 --input_path example_input.jpg --prompt "a" --save_path a.mp4 --num_gpus 8 '
         "--disable_guardrail --disable_prompt_refiner", "--num_gpus 8"),
        ('video2world --input_path input0.jpg --prompt "a" --natten --save_path a.mp4', "--natten"),
        ('video2world --input_path input0.jpg --prompt "a" --num_generations 4 --num_critic_trials 5 '
         "--disable_guardrail --save_path demo", "--num_generations"),
        ("video2world --skip_generation --save_path output/my_existing_videos", "--skip_generation"),
    ],
)  # fmt: skip
def test_an_example_that_has_to_wait_says_why(folder, random_nano, capsys, command, reason):  # noqa: F811
    name, *given = shlex.split(command)
    before = sorted(folder.iterdir())
    assert run(name, "--model", random_nano, *given) == 2
    said = capsys.readouterr().err
    assert reason in said and "not there yet" in said and sorted(folder.iterdir()) == before


def test_a_prompt_that_the_upsampler_would_write_is_asked_for(folder, random_nano, capsys):  # noqa: F811
    """Cosmos 1.0's video2world without --prompt, and its batch file without prompts."""
    given = ["video2world", "--model", random_nano, "--num_input_frames", "5", "--quiet"]
    assert run(*given, "--input_image_or_video_path", "input2.mp4", "--offload_prompt_upsampler") == 2
    assert "--prompt is missing" in capsys.readouterr().err
    (folder / "ps.jsonl").write_text('{"visual_input": "input2.mp4"}\n')
    assert run(*given, "--batch_input_path", "ps.jsonl", "--video_save_folder", "outputs") == 1
    assert "lacks 'prompt'" in capsys.readouterr().out


@pytest.mark.parametrize("command", ["text2world", "video2world", "inference"])
def test_help_is_there(command, capsys):
    assert run(command, "--help") == 0 and f"usage: cosmos-lab {command}" in capsys.readouterr().out
