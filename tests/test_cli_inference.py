"""Predict2.5's files of samples in both forms, and downloading."""

import json
from pathlib import Path

import pytest
from cli_runs import PROMPT, official, run, settings, write_clip, write_still  # noqa: F401 (fixture)
from random_nano import pipe, random_nano  # noqa: F401 (fixtures)

from cosmos_lab import video
from cosmos_lab.pipelines.samples import read_samples, without_comments
from cosmos_lab.runtime import download

# The example of the guide, with its comments.
EXAMPLE = """{
  // Inference type: text2world, image2world, video2world
  "inference_type": "video2world",
  // Sample name
  "name": "robot_pouring",
  // Input prompt
  "prompt": "A robotic arm, primarily white with black joints and cables...",
  // Path to the input image/video file (not needed for text2world)
  "input_path": "robot_pouring.mp4"
}
"""


@pytest.fixture
def quick(random_nano, tmp_path):  # noqa: F811
    return ["--model", str(random_nano), "--num_steps", "1", "--num_pixel_frames", "9", "--resolution", "64,96",
            "--quiet", "-o", str(tmp_path / "out")]  # fmt: skip


def write(path, value):
    path.write_text(value if isinstance(value, str) else json.dumps(value))
    return path


def test_the_example_of_the_guide(quick, tmp_path):
    file = write(tmp_path / "robot_pouring.json", EXAMPLE)
    write_clip(tmp_path / "robot_pouring.mp4")
    assert run("inference", "-i", file, *quick) == 0
    said = settings(tmp_path / "out" / "robot_pouring.mp4")
    assert (said["num_conditional_frames"], said["seed"], said["task"]) == (5, 0, "video2world")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "batch_report.json", "robot_pouring.json", "robot_pouring.mp4", "robot_pouring.txt"]  # fmt: skip


def test_the_table_of_samples(quick, tmp_path):
    """All samples share the fields beside the table; its seed is 1 by default, and prompt_path wins over prompt."""
    write_still(tmp_path / "a.jpg")
    write(tmp_path / "b.txt", " a blue box \n")
    file = write(tmp_path / "many.json", {"inference_type": "image2world", "guidance": 2, "samples": {
        "first": {"prompt": PROMPT, "input_path": "a.jpg"},
        "second": {"prompt": PROMPT, "prompt_path": "b.txt", "input_path": "a.jpg"},
        "third": {"prompt": PROMPT}, "fourth": {"prompt": PROMPT, "input": "a.jpg"}, "fifth": {"input_path": "a.jpg"},
    }})  # fmt: skip
    assert run("inference", file, tmp_path / "out", *quick[:-2], "--report", tmp_path / "said.json") == 1
    first, second = (settings(tmp_path / "out" / f"{name}.mp4") for name in ("first", "second"))
    assert (first["seed"], first["guidance"], first["num_conditional_frames"]) == (1, 2.0, 1)
    assert (first["prompt"], second["prompt"]) == (PROMPT, "a blue box")
    items = json.loads((tmp_path / "said.json").read_text())["items"]
    messages = ["", "", "'input_path' is missing", "a sample has the fields", "the prompt is empty"]
    assert all(message in item["message"] for item, message in zip(items, messages, strict=True))


def test_the_type_can_be_replaced(quick, tmp_path):
    """--inference_type, and every other field but the name; hyphens as in the guide; several files at once."""
    write_clip(tmp_path / "robot_pouring.mp4")
    files = [write(tmp_path / "a.json", EXAMPLE),
             write(tmp_path / "b.jsonl", '{"name": "x", "prompt": "p", "inference_type": "text2world"}\n')]  # fmt: skip
    assert run("inference", "-i", *files, *quick, "--inference-type=text2world", "--seed", 9) == 0
    for name in ("robot_pouring", "x"):
        said = settings(tmp_path / "out" / f"{name}.mp4")
        assert (said["task"], said["num_conditional_frames"], said["seed"]) == ("text2world", 0, 9)
    assert run("inference", "-i", *files, *quick, "--inference-type=image2world", "--input-path",
               tmp_path / "robot_pouring.mp4", "--prompt", "a green ball") == 0  # fmt: skip
    said = settings(tmp_path / "out" / "x.mp4")
    assert (said["num_conditional_frames"], said["prompt"]) == (1, "a green ball")


def test_the_flat_form_prefers_the_prompt(tmp_path):
    write(tmp_path / "p.txt", "from the file")
    flat = {"name": "a", "prompt": "itself", "prompt_path": "p.txt", "inference_type": "text2world"}
    (sample,) = read_samples([write(tmp_path / "a.json", flat)])
    assert sample.prompt == "itself" and sample.overridden({"prompt_path": "p.txt"}).prompt == "itself"
    (sample,) = read_samples([write(tmp_path / "b.json", {**flat, "prompt": None})])
    assert sample.prompt == "from the file"


def test_comments_are_blanked_where_they_are_comments():
    text = '{"a": "no // comment", /* but\n this */ "b": 1} // and this'
    assert json.loads(without_comments(text)) == {"a": "no // comment", "b": 1}
    assert len(without_comments(text)) == len(text) and without_comments(text).count("\n") == 1


def test_models_have_the_guides_names(official, tmp_path, capsys):  # noqa: F811
    """--model 2B/post-trained; official weights are not run unchecked."""
    file = write(tmp_path / "a.json", {"name": "a", "prompt": PROMPT, "inference_type": "text2world"})
    given = ["inference", "-i", file, "-o", tmp_path / "out", "--model", "2B/post-trained", "--quiet"]
    assert run(*given) == 2 and "NOT_CHECKED" in capsys.readouterr().err
    assert run(*given, "--disable-guardrails", "--checkpoint-path", "mine.pt") == 0
    assert official.name == "predict2.5-2b-post-trained" and official.calls[0][1]["dit_path"] == "mine.pt"
    assert settings(tmp_path / "out" / "a.mp4")["guardrail"] == "DISABLED"


def test_every_field_reaches_the_clip(random_nano, tmp_path):  # noqa: F811
    """Of both forms; --num_pixel_frames is not among the fields."""
    write_clip(tmp_path / "given.mp4")
    fields = {"inference_type": "video2world", "negative_prompt": "a box", "seed": 3, "guidance": 2,
              "resolution": "64,96"}  # fmt: skip
    flat = {**fields, "name": "flat", "prompt": PROMPT, "input_path": "given.mp4", "num_steps": 2}
    table = {**fields, "samples": {"one": {"prompt": PROMPT, "input_path": "given.mp4"}}}
    files = [write(tmp_path / "a.json", flat), write(tmp_path / "b.jsonc", table)]
    for file in files:
        assert run("inference", "-i", file, "-o", tmp_path, "--model", random_nano, "--num_pixel_frames", 9,
                   "--quiet", *(["--num_steps", 1] if "samples" in file.read_text() else [])) == 0  # fmt: skip
    flat, one = (settings(tmp_path / f"{name}.mp4") for name in ("flat", "one"))
    for said in (flat, one):
        assert (said["prompt"], said["negative_prompt"], said["seed"], said["guidance"]) == (PROMPT, "a box", 3, 2.0)
        assert (said["height"], said["width"], said["num_conditional_frames"]) == (64, 96, 5)
    assert (flat["num_steps"], one["num_steps"]) == (2, 1)


def test_long_clips_are_made_in_chunks(quick, tmp_path):
    """enable_autoregressive with num_output_frames, chunk_size and chunk_overlap; without it they do nothing."""
    write_clip(tmp_path / "given.mp4")
    sample = {"prompt": PROMPT, "input_path": "given.mp4", "num_output_frames": 20, "chunk_overlap": 5}
    lines = [{**sample, "name": "text", "inference_type": "text2world", "enable_autoregressive": True},
             {**sample, "name": "clip", "inference_type": "video2world", "enable_autoregressive": True,
              "chunk_size": 8, "chunk_overlap": 1},
             {**sample, "name": "plain", "inference_type": "image2world"}]  # fmt: skip
    file = write(tmp_path / "a.jsonl", "\n".join(map(json.dumps, lines)))
    assert run("inference", "-i", file, *quick) == 0
    text, clip, plain = (settings(tmp_path / "out" / f"{line['name']}.mp4") for line in lines)
    assert (text["num_chunks"], text["chunk_size"], text["num_conditional_frames"]) == (4, 9, 0)
    assert (clip["num_chunks"], clip["chunk_size"], clip["num_conditional_frames"]) == (3, 8, 5)
    assert (plain["task"], plain["num_conditional_frames"]) == ("image2world", 1)
    lengths = [len(video.read(tmp_path / "out" / f"{line['name']}.mp4").pixels) for line in lines]
    assert lengths == [20, 20, 9]
    assert run("inference", "-i", file, *quick) == 0
    assert {item["status"] for item in json.loads((tmp_path / "out" / "batch_report.json").read_text())["items"]} == {
        "kept"}  # fmt: skip
    assert run("replay", tmp_path / "out" / "clip.mp4", "--quiet") == 0
    # The guide's own lengths where nothing is said, and fields replaced from the command line.
    file = write(tmp_path / "b.json", {"name": "b", "prompt": PROMPT, "inference_type": "text2world"})
    assert run("inference", "-i", file, *quick, "--enable-autoregressive") == 0
    assert settings(tmp_path / "out" / "b.mp4")["num_output_frames"] == 77
    assert run("inference", "-i", file, *quick, "--enable-autoregressive", "--num-output-frames", "12",
               "--chunk-size", "7", "--chunk-overlap", "5") == 0  # fmt: skip
    said = settings(tmp_path / "out" / "b.mp4")
    assert [said[n] for n in ("num_output_frames", "chunk_size", "chunk_overlap", "num_chunks")] == [12, 7, 5, 4]


def test_existing_output_can_be_kept_whatever_made_it(quick, tmp_path):
    flat = {"name": "a", "prompt": PROMPT, "inference_type": "text2world"}
    file = write(tmp_path / "a.json", flat)
    assert run("inference", "-i", file, *quick) == 0
    before = settings(tmp_path / "out" / "a.mp4")
    assert run("inference", "-i", file, *quick, "--seed", 5, "--skip-existing-output") == 0
    assert settings(tmp_path / "out" / "a.mp4") == before
    assert run("inference", "-i", file, *quick, "--seed", 5) == 0
    assert settings(tmp_path / "out" / "a.mp4")["seed"] == 5


@pytest.mark.parametrize(
    "value, message",
    [
        ({"name": "a", "prompt": "p"}, "'inference_type' is one of"),
        ({"name": "a", "prompt": "p", "inference_type": "fly"}, "not 'fly'"),
        ({"name": "../a", "prompt": "p", "inference_type": "text2world"}, "no file name"),
        ({"prompt": "p", "inference_type": "text2world"}, "'name' is missing"),
        ({"name": "a", "prompt": "p", "inference_type": "text2world", "sed": 1}, "unknown field 'sed'"),
        ({"name": "a", "prompt": "p", "inference_type": "text2world", "seed": "1"}, "'seed' is"),
        ({"name": "a", "prompt": "p", "inference_type": "text2world", "guidance": 9}, "between 0 and 7"),
        ({"name": "a", "prompt_path": "gone.txt", "inference_type": "text2world"}, "there is no file"),
        ({"name": "a", "prompt": "p", "inference_type": "video2world"}, "'input_path' is missing"),
        ({"name": "a", "prompt": "p", "inference_type": "text2world", "enable_autoregressive": 1}, "is 1, which is"),
        ({"name": "a", "prompt": "p", "inference_type": "text2world", "enable_autoregressive": True,
          "chunk_overlap": 2}, "continues 1 or 5 pixel frames, not 2"),
        ({"name": "a", "prompt": "p", "inference_type": "text2world", "enable_autoregressive": True,
          "chunk_size": 77}, "at most the chunk's 9 pixel frames, not 77"),
    ],
)
def test_a_wrong_sample_is_reported(quick, tmp_path, capsys, value, message):
    good = {"name": "good", "prompt": "p", "inference_type": "text2world"}
    files = [write(tmp_path / "a.json", value), write(tmp_path / "b.json", good)]
    assert run("inference", "-i", *files, *quick) == 1
    assert message in capsys.readouterr().out and (tmp_path / "out" / "good.mp4").is_file()


@pytest.mark.parametrize(
    "name, text, message",
    [
        ("a.json", '{\n "name" 1}', "line 2, column 9"),
        ("a.json", "[]", "holds no object"),
        ("a.yaml", "name: a", "read from .json or .jsonl"),
        ("a.json", '{"samples": {}, "steps": 3}', "unknown field 'steps'"),
        ("a.json", '{"samples": []}', "samples is a table"),
        ("a.json", '{"samples": {}}', "there are no samples"),
    ],
)
def test_a_wrong_file_says_where(quick, tmp_path, capsys, name, text, message):
    assert run("inference", "-i", write(tmp_path / name, text), *quick) == 2
    assert message in capsys.readouterr().err


def test_a_wrong_line_or_file_costs_its_own_samples_only(quick, tmp_path):
    """Also a name that is given twice; the first one has it."""
    good = json.dumps({"name": "a", "prompt": PROMPT, "inference_type": "text2world"})
    files = [write(tmp_path / "a.jsonl", f"{good}\n{{\n{good}\n"), write(tmp_path / "b.json", "[]")]
    assert run("inference", "-i", *files, *quick) == 1
    items = json.loads((tmp_path / "out" / "batch_report.json").read_text())["items"]
    assert [item["status"] for item in items] == ["made", "failed", "failed", "failed"]
    assert items[1]["label"] == "a.jsonl, line 2"
    for item, message in zip(items[1:], ("no JSON", "given to two samples", "holds no object"), strict=True):
        assert message in item["message"]


@pytest.mark.parametrize(
    "given, message",
    [
        (["--guidance", "9"], "between 0 and 7"),
        (["--guidance", "nan"], "between 0 and 7"),
        (["--resolution", "abc"], "abc"),
        (["--num_steps", "0"], "num_steps is a whole number"),
        (["--num_pixel_frames", "10"], "use 9 or 13"),
        (["--enable-autoregressive", "--chunk-overlap", "2"], "continues 1 or 5"),
        (["--no-keep-going"], "--no_keep_going: "),
    ],
)
def test_a_wrong_flag_exits_2(quick, tmp_path, capsys, given, message):
    """Once, and not as what is wrong with every sample."""
    file = write(tmp_path / "a.json", {"name": "a", "prompt": PROMPT, "inference_type": "text2world"})
    assert run("inference", "-i", file, *quick, *given) == 2
    said = capsys.readouterr().err
    assert message in said and said.count("\n") == 1 and not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "flag",
    ["--no_disable_guardrails", "--no_offload_guardrail_models", "--no_offload_diffusion_model",
     "--no_offload_tokenizer", "--no_offload_text_encoder", "--no_enable_autoregressive", "--no_profile",
     "--no_skip_existing_output", "--keep_going"],
)  # fmt: skip
def test_switches_have_the_guides_no_form(quick, tmp_path, capsys, flag):
    """Which is what there is without them; the last of both forms counts."""
    lines = {"name": "a", "prompt": PROMPT, "inference_type": "text2world", "enable_autoregressive": True,
             "num_output_frames": 12}  # fmt: skip
    file = write(tmp_path / "a.json", lines)
    assert run("inference", "-i", file, *quick, "--disable-guardrails", flag.replace("_", "-")) == 0
    said = settings(tmp_path / "out" / "a.mp4")
    assert said["guardrail"] == ("NOT_CHECKED" if "guardrails" in flag else "DISABLED")
    assert said["task"] == ("text2world" if "autoregressive" in flag else "long_video")
    assert "nothing to offload" not in capsys.readouterr().out


def test_places_are_needed(quick, tmp_path, capsys):
    for given, message in (([], "-i"), (["-i", "a.json"], "-o"), (["a.json"], "FILE and FOLDER"),
                           (["a.json", "b", "-o", "c"], "FILE and FOLDER")):  # fmt: skip
        assert run("inference", *given) == 2 and message in capsys.readouterr().err
    assert run("inference", "-i", "gone.json", *quick) == 1


class Shelf:
    """Stands for the Hub."""

    def describe(self, repository, revision):
        names = ["model.pt", "encoder.jit", "decoder.jit", "mean_std.pt", "config.json", "spiece.model"]
        return dict.fromkeys(names, 2**30), repository.startswith("nvidia/")

    def download(self, repository, revision, name, folder):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(repository)
        return folder / name


def test_download_says_how_large_and_asks(tmp_path, capsys, monkeypatch):
    """--model_sizes and --model_types as in the guides, into --checkpoint_dir; nothing without the user's word."""
    monkeypatch.setattr(download, "HuggingFace", Shelf)
    given = ["--checkpoint_dir", tmp_path, "--model_sizes", "7B", "14B", "--model_types", "Text2World"]
    assert run("download", *given) == 1
    said = capsys.readouterr().out
    assert "Cosmos-Predict1-7B-Text2World" in said and "Cosmos-Predict1-14B-Text2World" in said and "GiB" in said
    assert "Video2World" not in said and "gated" in said and list(tmp_path.iterdir()) == []
    assert run("download", "predict1-7b-text2world", "--checkpoint_dir", tmp_path, "--yes") == 0
    assert (tmp_path / "Cosmos-Predict1-7B-Text2World" / "model.pt").is_file()
    assert str(Path("Cosmos-Predict1-7B-Text2World") / "model.pt") in capsys.readouterr().out


def test_download_knows_the_flags_of_predict2(tmp_path, capsys, monkeypatch):
    """--dry_run stops before asking, --resolution and --fps choose among the clips, --natten is not there."""
    monkeypatch.setattr(download, "HuggingFace", Shelf)
    given = ["download", "--generation", "predict2", "--checkpoint_dir", tmp_path, "--dry-run", "--model_sizes", "2B"]
    everything, asked = [], []
    monkeypatch.setattr(download, "inspect", lambda parts: everything.append({str(part) for part in parts}) or [])
    for more in ([], ["--resolution", "480", "--fps", "10"]):
        assert run(*given, *more) == 0
        asked.append(everything[-1])
    left = " ".join(asked[1])
    assert asked[1] < asked[0] and "480p-10fps" in left and "720p" not in left and "16fps" not in left
    assert "Text2Image" in left and "nothing was downloaded" not in capsys.readouterr().out
    assert run("download", "--fps", "10") == 2 and "--generation predict2" in capsys.readouterr().err
    assert run(*given, "--natten") == 2 and "sparse attention is not there yet" in capsys.readouterr().err


@pytest.mark.parametrize(
    "given, message",
    [
        ([], "name models"),
        (["nano"], "nothing to download"),
        (["predict3"], "there is no model"),
        (["predict1-7b-text2world", "--model_sizes", "7B"], "name models"),
        (["--model_sizes", "70B"], "of size 70B"),
    ],
)
def test_wrong_downloads_are_refused(capsys, given, message):
    assert run("download", *given) == 2 and message in capsys.readouterr().err
