"""Batch files: every form, what is made again, what is reported, and that nothing is lost."""

import errno
import json

import pytest
from cli_runs import PROMPT, SMALL, official, run, settings, write_clip, write_still  # noqa: F401 (fixture)
from random_nano import pipe, random_nano, write_random_nano  # noqa: F401 (fixtures)

from cosmos_lab import video
from cosmos_lab.pipelines.batch import Report
from cosmos_lab.pipelines.generate import Pipeline
from cosmos_lab.pipelines.painter import Painter


@pytest.fixture
def quick(random_nano, tmp_path, monkeypatch):  # noqa: F811
    monkeypatch.chdir(tmp_path)
    return ["--model", str(random_nano), *SMALL]


def array(path, *entries):
    path.write_text(json.dumps(entries))
    return ["--batch_input_json", str(path)]


def statuses(path):
    return [item["status"] for item in json.loads(path.read_text())["items"]]


def test_every_clip_is_made_with_one_loaded_model(quick, tmp_path, capsys, monkeypatch):
    from cosmos_lab.pipelines import generate

    loads, real = [], generate.load
    monkeypatch.setattr(generate, "load", lambda *a, **o: loads.append(a) or real(*a, **o))
    batch = array(tmp_path / "a.json", {"prompt": PROMPT, "output_video": "out/1.mp4"},
                  {"prompt": "a blue box", "output_video": "out/2.mp4"})  # fmt: skip
    assert run("text2world", *quick, *batch, "--seed", 4) == 0
    for name, prompt in (("1", PROMPT), ("2", "a blue box")):
        assert len(video.read(f"out/{name}.mp4").pixels) == 9
        said = settings(tmp_path / "out" / f"{name}.mp4")
        assert (said["prompt"], said["seed"]) == (prompt, 4) and prompt in (tmp_path / f"out/{name}.txt").read_text()
    assert len(loads) == 1
    report = json.loads((tmp_path / "out" / "batch_report.json").read_text())
    assert report["counts"]["made"] == 2 and report["weights"] and report["items"][0]["seconds"] > 0
    shown = capsys.readouterr().out
    assert "item 1" in shown and "2 made" in shown and "status" in shown


# The table of flags names these two.
def test_a_json_array(quick, tmp_path):
    """--batch_input_json of video2world, image2world, long-video, text2image and video2video."""
    write_clip(tmp_path / "given.mp4")
    write_still(tmp_path / "given.jpg")
    entry = {"input_video": "given.mp4", "prompt": PROMPT, "output_video": "a.mp4"}
    assert run("video2world", *quick, *array(tmp_path / "1.json", entry), "--num_conditional_frames", 5) == 0
    assert json.loads((tmp_path / "a.json").read_text())["input"]["path"] == str(tmp_path / "given.mp4")
    assert run("image2world", *quick, *array(tmp_path / "2.json", entry | {"output_video": "b.mp4"})) == 0
    long = entry | {"input_video": "given.jpg", "output_video": "c.mp4"}
    assert run("long-video", *quick, *array(tmp_path / "3.json", long), "--num_chunks", 2) == 0
    assert len(video.read("c.mp4").pixels) == 17
    picture = array(tmp_path / "4.json", {"prompt": PROMPT, "output_image": "d.png"})
    assert run("text2image", *[word for word in quick if word not in ("--num_pixel_frames", "9")], *picture) == 0
    edits = array(tmp_path / "5.json", {"prompt": PROMPT, "output_video": "e.mp4"})
    assert run("video2video", *quick, *edits, "--input_video_path", "given.mp4", "--num_steps", 2) == 0
    for name in ("c", "e"):
        assert run("replay", f"{name}.mp4", "--quiet") == 0
    # Again, nothing is made: edits and long videos are compared too.
    assert run("long-video", *quick, *array(tmp_path / "3.json", long), "--num_chunks", 2) == 0
    assert statuses(tmp_path / "batch_report.json") == ["kept"]
    assert run("video2video", *quick, *edits, "--input_video_path", "given.mp4", "--num_steps", 2) == 0
    assert statuses(tmp_path / "batch_report.json") == ["kept"]


def test_json_lines(quick, tmp_path):
    """--batch_input_path, with and without an input; a bad line keeps its number."""
    write_clip(tmp_path / "given.mp4")
    (tmp_path / "a.jsonl").write_text(f'{{"prompt": "{PROMPT}"}}\n\n{{"prompt": 3}}\n{{"prompt": "a blue box"}}\n')
    assert run("text2world", *quick, "--batch_input_path", "a.jsonl", "--video_save_folder", "out") == 1
    assert sorted(path.name for path in (tmp_path / "out").glob("*.mp4")) == ["0.mp4", "2.mp4"]
    (tmp_path / "b.jsonl").write_text(f'{{"prompt": "{PROMPT}", "visual_input": "given.mp4"}}\n{{broken\n')
    assert run("video2world", *quick, "--batch_input_path", "b.jsonl", "--disable_prompt_upsampler") == 1
    items = json.loads((tmp_path / "outputs" / "batch_report.json").read_text())["items"]
    assert [item["status"] for item in items] == ["made", "failed"]
    assert items[1]["label"] == "line 2" and "no JSON at column 2" in items[1]["message"]


def test_a_bad_item_is_reported_and_the_rest_goes_on(quick, tmp_path, capsys):
    (tmp_path / "cut.mp4").write_bytes(b"\x00\x00\x00\x18ftypmp42")
    write_still(tmp_path / "still.jpg")
    write_clip(tmp_path / "short.mp4", length=3)
    write_clip(tmp_path / "good.mp4")
    bad = {"gone.mp4": "there is no file", "cut.mp4": "damaged", "still.jpg": "a still image", "short.mp4": "only 3"}
    entries = [{"input_video": name, "prompt": PROMPT, "output_video": f"out/{n}.mp4"} for n, name in enumerate(bad)]
    entries += [
        {"input_video": "good.mp4", "output_video": "out/5.mp4"},
        {"input_video": "good.mp4", "prompt": PROMPT},
        "text",
        {"input_video": "good.mp4", "prompt": PROMPT, "output_video": "out/7.avi"},
        {"input_video": "good.mp4", "prompt": PROMPT, "output_video": "out/good.mp4"},
        {"input_video": "good.mp4", "prompt": "again", "output_video": "out/good.mp4"},
    ]
    assert run("video2world", *quick, *array(tmp_path / "a.json", *entries), "--num_conditional_frames", 5,
               "--report", "said.json") == 1  # fmt: skip
    items = json.loads((tmp_path / "said.json").read_text())["items"]
    messages = [*bad.values(), "lacks 'prompt'", "lacks 'output_video'", "an object was expected", "must end in .mp4",
                "", "good.mp4 is written by item 9 already"]  # fmt: skip
    for item, message in zip(items, messages, strict=True):
        assert message in item["message"] and item["status"] == ("failed" if message else "made")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["good.json", "good.mp4", "good.txt"]
    assert "failed" in capsys.readouterr().out


def test_a_folder_that_cannot_be_written_to_costs_its_items_only(quick, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    entries = [{"prompt": PROMPT, "output_video": f"{folder}/a.mp4"} for folder in ("file", "out")]
    batch = array(tmp_path / "in.json", *entries)
    assert run("text2world", *quick, *batch) == 1
    assert statuses(tmp_path / "out" / "batch_report.json") == ["failed", "made"]
    assert "a part of that path is a file" in capsys.readouterr().out
    (tmp_path / "out" / "a.mp4").unlink()
    # A report that could not be written is known before the work.
    assert run("text2world", *quick, *batch, "--report", "file/said.json") == 1
    assert "a part of that path is a file" in capsys.readouterr().err and not (tmp_path / "out" / "a.mp4").exists()


def test_a_report_that_cannot_be_written_at_the_end_hides_no_outcome(quick, tmp_path, capsys, monkeypatch):
    real, saves = Report.save, []

    def full(report, path):
        saves.append(path)
        if len(saves) == 2:
            raise OSError(errno.ENOSPC, "No space left on this disk", str(path))
        return real(report, path)

    monkeypatch.setattr(Report, "save", full)
    assert run("text2world", *quick, *array(tmp_path / "in.json", {"prompt": PROMPT, "output_video": "a.mp4"})) == 1
    said = capsys.readouterr().out
    assert "1 made" in said and "No space left on this disk" in said and (tmp_path / "a.mp4").is_file()


def test_a_rerun_makes_what_changed(quick, tmp_path, random_nano):  # noqa: F811
    write_still(tmp_path / "given.jpg")
    entries = [{"input_video": "given.jpg", "prompt": prompt, "output_video": f"{n}.mp4"}
               for n, prompt in enumerate(("a red ball", "a blue box"))]  # fmt: skip
    said, again = tmp_path / "batch_report.json", ["image2world", *quick]

    def rerun(*more):
        assert run(*again, *array(tmp_path / "a.json", *entries), *more) == 0
        return statuses(said)

    assert rerun() == ["made", "made"]
    before = (tmp_path / "0.mp4").stat().st_mtime_ns
    assert rerun() == ["kept", "kept"] and (tmp_path / "0.mp4").stat().st_mtime_ns == before
    entries[1]["prompt"] = "a green ball"
    assert rerun() == ["kept", "made"]
    assert rerun("--seed", "3") == ["made", "made"] and rerun("--seed", "3") == ["kept", "kept"]
    assert rerun("--seed", "3", "--num_steps", "2") == ["made", "made"]
    assert rerun("--overwrite", "--seed", "3", "--num_steps", "2") == ["made", "made"]
    rerun()
    (tmp_path / "0.json").unlink()
    (tmp_path / "1.mp4").unlink()
    assert rerun() == ["made", "made"]
    (tmp_path / "1.json").write_text("{")
    assert rerun() == ["kept", "made"]
    write_clip(tmp_path / "other.mp4")
    (tmp_path / "given.jpg").write_bytes((tmp_path / "given.jpg").read_bytes() + b" ")
    assert rerun() == ["made", "made"]
    write_random_nano(tmp_path / "other", seed=1)
    again[2] = str(tmp_path / "other")
    assert rerun() == ["made", "made"]


def test_an_interruption_leaves_what_is_done_and_a_report(quick, tmp_path, monkeypatch):
    real, runs = Pipeline.generate, []

    def interrupted(*given, **options):
        runs.append(given)
        if len(runs) == 2:
            raise KeyboardInterrupt
        return real(*given, **options)

    monkeypatch.setattr(Pipeline, "generate", interrupted)
    entries = [{"prompt": PROMPT, "output_video": f"{n}.mp4"} for n in range(3)]
    batch = array(tmp_path / "in.json", *entries)
    assert run("text2world", *quick, *batch) == 130
    assert statuses(tmp_path / "batch_report.json") == ["made", "left", "left"]
    assert sorted(path.name for path in tmp_path.glob("*.mp4")) == ["0.mp4"]
    monkeypatch.setattr(Pipeline, "generate", real)
    assert run("text2world", *quick, *batch) == 0
    assert statuses(tmp_path / "batch_report.json") == ["kept", "made", "made"]


def test_a_painter_is_loaded_once_for_all_first_pixel_frames(official, tmp_path, monkeypatch):  # noqa: F811
    entries = [{"prompt": prompt, "output_video": str(tmp_path / f"{prompt}.mp4")} for prompt in ("ball", "box")]
    batch = array(tmp_path / "in.json", *entries)
    assert run("text2world", "--model_size", "2B", *batch, "--disable_guardrail", "--quiet") == 0
    assert [name for name, _ in official.calls] == ["predict2-2b-video2world-720p-16fps", "predict2-2b-text2image"]
    assert settings(tmp_path / "box.mp4")["num_conditional_frames"] == 1
    # What is there already needs no first pixel frame, and so no painter.
    assert run("text2world", "--model_size", "2B", *batch, "--disable_guardrail", "--quiet") == 0
    assert statuses(tmp_path / "batch_report.json") == ["kept", "kept"] and len(official.calls) == 3
    # Other weights of the painter, which its files tell without loading it, are another clip.
    monkeypatch.setattr(Painter, "weights", lambda painter: "0" * 64)
    assert run("text2world", "--model_size", "2B", *batch, "--disable_guardrail", "--quiet") == 0
    assert statuses(tmp_path / "batch_report.json") == ["made", "made"]


@pytest.mark.parametrize(
    "text, message",
    [
        ('[{"prompt": "a",\n "output_video" "b"}]', "item 1, line 2, column 17"),
        ('[{"prompt": "a, b"},\n {"prompt": "c, d"},\n {"prompt": "e, f" 1}]', "item 3, line 3, column 20"),
        ("[]", "holds no items"),
        ('{"prompt": "a"}', "it is a JSON array"),
        ("", "line 1, column 1"),
        ("\udcff", "no UTF-8"),
    ],
)
def test_a_file_that_is_no_batch_says_where(quick, tmp_path, capsys, text, message):
    (tmp_path / "a.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    assert run("text2world", *quick, "--batch_input_json", "a.json") == 2
    assert message in capsys.readouterr().err
    (tmp_path / "a.jsonl").write_text("\n")
    assert run("text2world", *quick, "--batch_input_path", "a.jsonl") == 2
    assert run("text2world", *quick, "--batch_input_json", "gone.json") == 1
    assert "there is no file gone.json" in capsys.readouterr().err


@pytest.mark.parametrize(
    "more", [["--prompt", "a"], ["--save_path", "a.mp4"], ["--video_save_name", "a"], ["--contact_sheet"],
             ["--benchmark"], ["--video_save_folder", "a"], ["--batch_input_path", "a.jsonl"]],
)  # fmt: skip
def test_flags_of_a_single_run_are_refused(quick, tmp_path, capsys, more):
    batch = array(tmp_path / "in.json", {"prompt": PROMPT, "output_video": "a.mp4"})
    assert run("text2world", *quick, *batch, *more) == 2
    assert more[0] in capsys.readouterr().err and not (tmp_path / "a.mp4").exists()
