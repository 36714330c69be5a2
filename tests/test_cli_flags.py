"""Every flag of the guides of the Cosmos models: what it does here, as the table beside this file says."""

import argparse
import ast
import json
import re
from functools import cache
from importlib import import_module
from pathlib import Path

import pytest
import torch
from cli_runs import PROMPT, SMALL, official, run, settings, write_clip, write_still  # noqa: F401 (fixture)
from PIL import Image
from random_nano import pipe, random_critic, random_nano, write_random_nano  # noqa: F401 (fixtures)

from cosmos_lab import video
from cosmos_lab.cli.absent import COUNTS, OFFLOAD, REASONS

HERE = Path(__file__).parent
CLASSES = ("works", "picks", "recorded", "checked", "refused", "offload", "launcher")


def table():
    rows = re.findall(r"^\| `(.+?)` \| `?(.+?)`? \| `(-.+?)` \| (\w+) \| `?(.*?)`? \|$",
                      (HERE / "flag_table.md").read_text(), re.MULTILINE)  # fmt: skip
    assert len(rows) > 90
    return rows


@cache
def sources(file):
    """The source of every test, with its parameters."""
    source = (HERE / file).read_text()
    lines, found = source.splitlines(), {}
    for node in ast.parse(source).body:
        if isinstance(node, ast.FunctionDef):
            first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
            found[node.name] = "\n".join(lines[first - 1 : node.end_lineno])
    return found


@cache
def flags_of(command):
    parser = argparse.ArgumentParser()
    import_module(f"cosmos_lab.cli.{command.replace('-', '_')}").add_arguments(parser)
    return set(parser._option_string_actions)


def test_the_table_is_true():
    """Every flag is the command's, its class agrees with the code, and its test is there and names it."""
    for document, command, flag, kind, test in table():
        place = (document, command, flag)
        assert kind in CLASSES, place
        assert kind == "launcher" or flag in flags_of(command), place
        refused = flag in REASONS or flag in {name for name, _ in COUNTS.values()}
        assert (kind == "refused") == refused and (kind == "offload") == (flag in OFFLOAD), place
        assert flag in sources(test.partition("::")[0])[test.partition("::")[2]], (*place, test)


def test_the_fields_of_the_files_are_tested():
    """The second table: every field of the guides' batch files, with a test that names it."""
    rows = re.findall(r"^\| `(.+?)` \| `(\w+)` \| `(\w+)` \| `(.+?)::(.+?)` \|$",
                      (HERE / "flag_table.md").read_text(), re.MULTILINE)  # fmt: skip
    assert len(rows) > 25
    for guide, command, field, file, test in rows:
        assert field in sources(file)[test], (guide, command, field, test)


@pytest.fixture
def quick(random_nano, tmp_path):  # noqa: F811
    return ["--model", str(random_nano), "--prompt", PROMPT, *SMALL, "--save_path", str(tmp_path / "clip.mp4")]


@pytest.mark.parametrize("command", ["text2world", "image2world", "video2world", "video2video", "long-video"])
@pytest.mark.parametrize(
    "given, setting, value",
    [
        (["--prompt", "a blue box falls"], "prompt", "a blue box falls"),
        (["--negative_prompt", "a blue box"], "negative_prompt", "a blue box"),
        (["--guidance", "2.5"], "guidance", 2.5),
        (["--seed", "7"], "seed", 7),
        (["--num_steps", "2"], "num_steps", 2),
        (["--num_video_frames", "13"], "num_pixel_frames", 13),
        (["--height", "80"], "height", 80),
        (["--width", "112"], "width", 112),
        (["--fps", "10"], "fps", 10.0),
        (["--aspect_ratio", "16:9"], "width", 96),
        (["--disable_guardrail"], "guardrail", "DISABLED"),
        (["--disable_prompt_refiner"], "refiner", "DISABLED"),
        (["--disable_prompt_upsampler"], "refiner", "DISABLED"),
    ],
)
def test_a_flag_reaches_the_clip(quick, tmp_path, command, given, setting, value):
    of_command = {"text2world": [], "video2video": ["--input_video_path", "{}"]}.get(command, ["--input_path", "{}"])
    of_command += ["--num_chunks", "2"] if command == "long-video" else []
    still = str(write_still(tmp_path / "a.png"))
    assert run(command, *quick, *(word.format(still) for word in of_command), *given) == 0
    assert settings(tmp_path / "clip.mp4")[setting] == value


@pytest.mark.parametrize("command, name", [("text2world", "clip.mp4"), ("text2image", "clip.png")])
def test_a_clip_is_tried_as_often_as_asked(tmp_path, command, name):
    write_random_nano(tmp_path / "model", critic=random_critic(bias=-4))
    options = SMALL if command == "text2world" else ()
    given = ["--model", str(tmp_path / "model"), "--prompt", PROMPT, *options, "--num_steps", "1", "--tries", "2"]
    assert run(command, *given, "--save_path", str(tmp_path / name)) == 0
    assert settings(tmp_path / name)["tries"] == 2
    assert len(json.loads((tmp_path / "clip.json").read_text())["odds"]) == 2


def test_checks_that_are_absent_are_shown(quick, tmp_path, capsys):
    assert run("text2world", *quick) == 0
    said = settings(tmp_path / "clip.mp4")
    assert (said["guardrail"], said["refiner"]) == ("NOT_CHECKED", "NOT_REFINED")
    assert "NOT_CHECKED" in capsys.readouterr().out


@pytest.mark.parametrize(
    "given, name",
    [
        (["--model_size", "2B"], "predict2-2b-video2world-720p-16fps"),
        (["--model_size", "14B"], "predict2-14b-video2world-720p-16fps"),
        (["--resolution", "480"], "predict2-2b-video2world-480p-16fps"),
        (["--resolution", "480", "--fps", "10"], "predict2-2b-video2world-480p-10fps"),
        (["--model_size", "14B", "--fps", "10"], "predict2-14b-video2world-720p-10fps"),
        (["--diffusion_transformer_dir", "Cosmos-1.0-Diffusion-7B-Video2World"], "cosmos1-7b-video2world"),
        (["--diffusion_transformer_dir", "Cosmos-Predict1-14B-Video2World"], "predict1-14b-video2world"),
        (["--model", "2B/post-trained"], "predict2.5-2b-post-trained"),
    ],
)
def test_flags_pick_the_model(official, tmp_path, given, name):  # noqa: F811
    path = tmp_path / "made.mp4"
    assert run("video2world", *given, "--input_path" if "--diffusion_transformer_dir" not in given else
               "--input_image_or_video_path", write_still(tmp_path / "a.jpg"), "--prompt", PROMPT, "--quiet",
               "--disable_guardrail", "--save_path", path) == 0  # fmt: skip
    assert official.name == name and video.read(path).fps in (10, 16, 24)


def test_text2image_picks_a_model_of_pictures(official, tmp_path):  # noqa: F811
    assert run("text2image", "--model_size", "0.6B", "--disable_guardrail", "--quiet", "--aspect_ratio", "4:3",
               "--save_path", tmp_path / "a.png") == 0  # fmt: skip
    assert official.name == "predict2-0.6b-text2image" and Image.open(tmp_path / "a.png").size == (96, 64)


def test_checkpoints_reach_the_loader(official, tmp_path):  # noqa: F811
    common = ["--prompt", PROMPT, "--quiet", "--disable_guardrail", "--save_path", tmp_path / "a.mp4"]
    still = write_still(tmp_path / "a.jpg")
    assert run("video2world", "--model_size", "2B", *common, "--input_path", still, "--checkpoint_dir", "there",
               "--dit_path", "mine.pt", "--load_ema", "--downcast_text_encoder") == 0  # fmt: skip
    assert official.calls[0][1] == {"checkpoints": "there", "dit_path": "mine.pt", "ema": True,
                                    "text_dtype": torch.bfloat16}  # fmt: skip
    folder = "Cosmos-Predict1-7B-Text2World_post-trained"
    assert run("text2world", "--diffusion_transformer_dir", folder, "--checkpoint_dir", "there", *common) == 0
    assert official.calls[1] == ("predict1-7b-text2world",
                                 {"checkpoints": "there", "dit_path": f"there/{folder}/model.pt"})  # fmt: skip


def test_both_phases_have_checkpoints_of_their_own(official, tmp_path):  # noqa: F811
    """Predict2's text2world: a picture by one model, then the clip by another; nothing temporary remains."""
    assert run("text2world", "--model_size", "2B", "--quiet", "--disable_guardrail", "--dit_path_text2image", "a.pt",
               "--dit_path_video2world", "b.pt", "--save_path", tmp_path / "a.mp4") == 0  # fmt: skip
    (clip, first), (picture, second) = official.calls
    assert (clip, first["dit_path"]) == ("predict2-2b-video2world-720p-16fps", "b.pt")
    assert (picture, second["dit_path"]) == ("predict2-2b-text2image", "a.pt")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.json", "a.mp4", "a.txt"]
    assert settings(tmp_path / "a.mp4")["num_conditional_frames"] == 1


def test_outputs_lie_where_the_first_guides_say(official, quick, tmp_path, monkeypatch):  # noqa: F811
    monkeypatch.chdir(tmp_path)
    assert run("text2world", "--diffusion_transformer_dir", "Cosmos-1.0-Diffusion-7B-Text2World", "--prompt", PROMPT,
               "--disable_guardrail", "--quiet") == 0  # fmt: skip
    assert Path("outputs/output.mp4").is_file() and Path("outputs/output.txt").read_text().startswith("[Prompt]")
    assert run("text2world", "--model", "predict1-7b-text2world", "--prompt", PROMPT, "--disable_guardrail", "--quiet",
               "--video_save_name", "b", "--video_save_folder", "mine") == 0  # fmt: skip
    assert Path("mine/b.mp4").is_file()


@pytest.mark.parametrize("flag, count", [("--num_conditional_frames", 5), ("--num_input_frames", 5)])
def test_the_last_pixel_frames_are_continued(quick, tmp_path, flag, count):
    clip = write_clip(tmp_path / "given.mp4")
    for spelling in ("--input_path", "--input_image_or_video_path"):
        assert run("video2world", *quick, spelling, clip, flag, count) == 0
        assert settings(tmp_path / "clip.mp4")["num_conditional_frames"] == count
    assert run("video2world", *quick, "--input_path", clip) == 0
    assert settings(tmp_path / "clip.mp4")["num_conditional_frames"] == 1


def test_save_path_and_its_files(quick, tmp_path):
    assert run("text2world", *quick, "--save_path", tmp_path / "new" / "folder" / "b.mp4") == 0
    assert sorted(path.name for path in (tmp_path / "new" / "folder").iterdir()) == ["b.json", "b.mp4", "b.txt"]


def test_an_edit_has_two_strengths(quick, tmp_path):
    clip = write_clip(tmp_path / "given.mp4")
    common = [*quick, "--num_steps", "4", "--input_video_path", clip]
    assert run("video2video", *common, "--text2image_edit_strength", "0.4", "--video2world_edit_strength", "0.5") == 0
    said = settings(tmp_path / "clip.mp4")
    assert (said["image_strength"], said["strength"], said["task"]) == (0.4, 0.5, "video2video")
    assert run("video2video", *common) == 0
    said = settings(tmp_path / "clip.mp4")
    assert said["strength"] == 0.8 and "image_strength" not in said
    assert run("replay", tmp_path / "clip.mp4", "--quiet") == 0
    assert run("video2video", *common, "--source_prompt", "a red ball", "--num_draws", "2") == 0
    said = settings(tmp_path / "clip.mp4")
    assert (said["source_prompt"], said["num_draws"]) == ("a red ball", 2)


def test_conventions_are_chosen_and_recorded(official, quick, tmp_path, capsys):  # noqa: F811
    path = tmp_path / "a.png"
    for conventions in ("diffusers", "official"):
        assert run("text2image", "--model_size", "2B", "--prompt", PROMPT, "--conventions", conventions, "--quiet",
                   "--disable_guardrail", "--save_path", path) == 0  # fmt: skip
        assert json.loads(path.with_suffix(".json").read_text())["conventions"] == conventions
    assert run("text2world", *quick[2:], "--conventions", "historical") == 2
    assert "choose from" in capsys.readouterr().err


def test_an_official_edit_edits_the_first_pixel_frame_first(official, tmp_path):  # noqa: F811
    clip = write_clip(tmp_path / "given.mp4")
    assert run("video2video", "--model_size", "2B", "--prompt", PROMPT, "--quiet", "--disable_guardrail",
               "--input_video_path", clip, "--save_path", tmp_path / "a.mp4") == 0  # fmt: skip
    assert [name for name, _ in official.calls] == ["predict2-2b-video2world-720p-16fps", "predict2-2b-text2image"]
    said = settings(tmp_path / "a.mp4")
    assert (said["image_strength"], said["strength"], said["num_conditional_frames"]) == (0.4, 0.8, 1)


def test_a_long_video_has_its_chunks(quick, tmp_path):
    assert run("long-video", *quick, "--input_path", write_still(tmp_path / "a.jpg"), "--num_chunks", "3") == 0
    assert len(video.read(tmp_path / "clip.mp4").pixels) == 9 + 2 * 8
    assert run("long_video", *quick, "--num-chunks", "2") == 0
    assert len(video.read(tmp_path / "clip.mp4").pixels) == 9 + 8
    assert run("replay", tmp_path / "clip.mp4", "--quiet") == 0


def test_benchmark_makes_it_four_times(quick, capsys):
    assert run("text2world", *quick, "--benchmark") == 0
    said = capsys.readouterr().out
    assert said.count("run  ") == 4 and said.count("not counted") == 1 and "mean" in said


@pytest.mark.parametrize(
    "command, given",
    [
        ("text2world", ["--num_gpus", "8"]),
        ("video2world", ["--natten"]),
        ("text2world", ["--use_cuda_graphs"]),
        ("text2world", ["--prompt_upsampler_dir", "Pixtral-12B"]),
        ("text2world", ["--word_limit_to_skip_upsampler", "250"]),
        ("video2world", ["--num_generations", "4"]),
        ("video2world", ["--num_critic_trials", "5"]),
        ("video2world", ["--skip_generation"]),
        ("video2world", ["--gr00t_variant", "gr1"]),
        ("video2world", ["--prompt_prefix", "The robot arm is performing a task. "]),
        ("text2image", ["--distill_steps", "4"]),
        ("text2world", ["--distill_steps", "4"]),
        ("text2image", ["--use_fast_tokenizer"]),
    ],
)
def test_a_flag_that_asks_for_absent_work_says_why(random_nano, tmp_path, capsys, command, given):  # noqa: F811
    assert run(command, "--model", random_nano, "--prompt", PROMPT, "--save_path", tmp_path / "a.mp4", *given) == 2
    said = capsys.readouterr().err
    assert given[0] in said and ("not there" in said) and list(tmp_path.iterdir()) == []


def test_torchrun_is_refused_with_the_reason(quick, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "8")
    assert run("text2world", *quick) == 2
    assert "--nproc_per_node: inference on several GPUs is not there yet" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_one_gpu_and_no_distillation_are_what_there_is(quick, random_nano, tmp_path):  # noqa: F811
    assert run("text2world", *quick, "--num_gpus", "1") == 0
    assert run("text2image", "--model", random_nano, "--num_steps", 1, "--height", 64, "--width", 96, "--quiet",
               "--distill_steps", "0", "--save_path", tmp_path / "a.png") == 0  # fmt: skip


@pytest.mark.parametrize(
    "flag",
    ["--offload_guardrail", "--offload_prompt_refiner", "--offload_text_encoder", "--offload_diffusion_transformer",
     "--offload_tokenizer", "--offload_text_encoder_model", "--offload_prompt_upsampler", "--offload_guardrail_models"],
)  # fmt: skip
def test_nano_has_nothing_to_offload_and_others_refuse(quick, flag, capsys):
    assert run("text2world", *quick, flag) == 0
    assert f"{flag}: " in (said := capsys.readouterr().out) and "nothing to offload" in said
    model = "predict2-2b-video2world-720p-16fps"
    model = model if flag in ("--offload_guardrail", "--offload_prompt_refiner", "--offload_text_encoder") else (
        "predict1-7b-text2world")  # fmt: skip
    assert run("text2world", "--model", model, "--prompt", PROMPT, "--disable_guardrail", flag) == 2
    assert "offloading is not there yet" in capsys.readouterr().err


def test_the_tokenizer_is_the_models_own(official, tmp_path, capsys):  # noqa: F811
    given = ["--model", "cosmos1-7b-text2world", "--prompt", PROMPT, "--disable_guardrail", "--quiet",
             "--save_path", tmp_path / "a.mp4"]  # fmt: skip
    assert run("text2world", *given, "--tokenizer_dir", "Cosmos-1.0-Tokenizer-CV8x8x8") == 0
    assert run("text2world", *given, "--tokenizer_dir", "Cosmos-Tokenize1-CV8x8x8-720p") == 2
    assert "was trained with Cosmos-1.0-Tokenizer-CV8x8x8" in capsys.readouterr().err


@pytest.mark.parametrize(
    "given, message",
    [
        (["--model", "nano", "--model_size", "2B"], "nano is of size nano"),
        (["--model_size", "2B", "--diffusion_transformer_dir", "Cosmos-Predict1-7B-Text2World"], "give one of them"),
        (["--diffusion_transformer_dir", "Cosmos-Predict9"], "known are Cosmos-1.0-Diffusion-7B-Text2World"),
        (["--model", "cosmos1-7b-text2world", "--diffusion_transformer_dir", "Cosmos-Predict1-7B-Text2World"],
         "contradicts --model cosmos1-7b-text2world"),
        (["--model", "predict2-2b-video2world-720p-16fps", "--fps", "10"], "contradicts predict2-2b-video2world"),
        (["--model", "predict2-2b-video2world-720p-16fps", "--model_size", "14B"], "is of size 2B"),
        (["--model_size", "2B", "--fps", "12"], "at 10 and 16"),
        (["--model_size", "0.6B"], "makes pictures only"),
        (["--model_size", "2B", "--num_video_frames", "93"],
         "--num_video_frames is a flag of Cosmos 1.0 and Cosmos-Predict1, but predict2-2b-video2world-720p-16fps"),
        (["--model", "predict1-7b-text2world", "--aspect_ratio", "1:1"], "is a flag of Cosmos-Predict2"),
        (["--model", "predict1-7b-text2world", "--batch_input_json", "a.json"], "--batch_input_json is a flag of"),
        (["--model", "predict2-2b-text2image"], "does not do text2world"),
        (["--model_size", "2B"], "NOT_CHECKED"),
        (["--model", "predict1-7b-text2world"], "NOT_CHECKED"),
        (["--model", "nano", "--dit_path", "a.pt"], "does not use dit_path"),
        (["--model", "nano", "--checkpoint_dir", "checkpoints"], "does not use checkpoints"),
        (["--model_size", "2B", "--use_lora", "--disable_guardrail"], "name it with --dit_path"),
        (["--model_size", "2B", "--lora_alpha", "8", "--disable_guardrail"], "add --use_lora"),
        (["--dit_path", "a.pt", "--dit_path_video2world", "b.pt"], "name the same checkpoint"),
    ],
)
def test_contradictions_name_the_generation(tmp_path, capsys, given, message):
    code = run("text2world", *given, "--prompt", PROMPT, "--save_path", tmp_path / "a.mp4")
    said = capsys.readouterr().err
    assert message in said and "Traceback" not in said and code == 2


def test_adapters_are_compared_with_the_flags(tmp_path, official, capsys):  # noqa: F811
    from safetensors.torch import save_file

    file = tmp_path / "lora.safetensors"
    save_file({"net.blocks.0.self_attn.q_proj.lora_A.default.weight": torch.zeros(16, 8),
               "net.blocks.0.self_attn.q_proj.lora_B.default.weight": torch.zeros(8, 16)}, file)  # fmt: skip
    common = ["--model_size", "2B", "--prompt", PROMPT, "--quiet", "--disable_guardrail", "--use_lora", "--dit_path",
              file, "--input_path", write_still(tmp_path / "a.jpg"), "--save_path", tmp_path / "a.mp4"]  # fmt: skip
    assert run("video2world", *common, "--lora_rank", "16", "--lora_alpha", "8", "--lora_target_modules",
               "q_proj,k_proj", "--init_lora_weights", "True") == 0  # fmt: skip
    assert official.calls[0][1]["lora"].alpha == 8 and official.calls[0][1]["lora"].path is None
    assert run("video2world", *common, "--lora_rank", "8") == 2
    assert "have rank 16" in capsys.readouterr().err
    assert run("video2world", *common, "--lora_target_modules", "k_proj") == 2
    assert "q_proj" in capsys.readouterr().err


GROUPS = {
    "text2world": {
        "model selection": ("--model_size", "--load_ema"),
        "input parameters": ("--prompt", "--negative_prompt", "--aspect_ratio"),
        "output parameters": ("--save_path",),
        "generation parameters": ("--guidance", "--seed"),
        "performance parameters": ("--use_cuda_graphs", "--natten", "--benchmark"),
        "text2image phase parameters": ("--dit_path_text2image",),
        "video2world phase parameters": ("--dit_path_video2world", "--resolution", "--fps"),
        "multi-GPU inference": ("--num_gpus",),
        "batch processing": ("--batch_input_json",),
        "content safety and controls": ("--disable_guardrail", "--disable_prompt_refiner"),
        "GPU memory controls": ("--offload_guardrail", "--offload_prompt_refiner"),
    },
    "video2world": {
        "model selection": ("--model_size", "--dit_path", "--load_ema", "--fps", "--resolution"),
        "input parameters": ("--prompt", "--negative_prompt", "--aspect_ratio", "--input_path",
                             "--num_conditional_frames"),
        "output parameters": ("--save_path",),
        "generation parameters": ("--guidance", "--seed"),
        "performance parameters": ("--use_cuda_graphs", "--natten", "--benchmark"),
        "multi-GPU inference": ("--num_gpus",),
        "batch processing": ("--batch_input_json",),
        "content safety and controls": ("--disable_guardrail", "--disable_prompt_refiner"),
        "GPU memory controls": ("--offload_guardrail", "--offload_prompt_refiner"),
    },
    "inference": {"model selection": ("--model",), "fields that replace those of every sample": ("--inference_type",)},
}  # fmt: skip


@pytest.mark.parametrize("command", GROUPS)
def test_help_has_the_groups_of_the_guides(command, capsys):
    assert run(command, "--help") == 0
    parts = dict(re.findall(r"^([^\n:]+):\n(.*?)(?=^\S|\Z)", capsys.readouterr().out, re.MULTILINE | re.DOTALL))
    for group, flags in GROUPS[command].items():
        for flag in flags:
            assert re.search(rf"^  .*{flag}\b", parts[group], re.MULTILINE), (group, flag)
