"""A batch from Python: whose files are whose, what is unforeseen, what is kept, and where a moved input lies."""

import json

import pytest
from cli_runs import write_still
from random_nano import pipe, random_nano  # noqa: F401 (fixtures)

import cosmos_lab as lab
from cosmos_lab.pipelines.batch import Item, generate_batch
from cosmos_lab.pipelines.generate import Pipeline

QUICK = {"num_steps": 1, "num_pixel_frames": 5, "resolution": (64, 96)}


def item(output, *, prompt="a red ball", task="text2world", given=None):
    options = {"num_steps": 1, "resolution": (64, 96)} if task == "text2image" else QUICK
    arguments = {} if given is None else {"num_conditional_frames": 1}
    return Item(
        label=output.name, task=task, output=output, prompt=prompt, given=given, arguments=arguments, options=options
    )


def made_of(pipe, *items, **options):  # noqa: F811
    outcomes = generate_batch(pipe, items, progress=False, **options).outcomes
    return [outcome.status for outcome in outcomes], [outcome.message for outcome in outcomes]


@pytest.fixture
def generations(monkeypatch):
    """The prompts of all generations that run."""
    real, prompts = Pipeline.generate, []

    def counted(self, call, **options):
        prompts.append(call.settings.prompt)
        return real(self, call, **options)

    monkeypatch.setattr(Pipeline, "generate", counted)
    return prompts


def test_outputs_that_differ_in_their_suffix_would_share_prompts_and_provenance(pipe, tmp_path):  # noqa: F811
    items = [item(tmp_path / name, task="text2image") for name in ("x.png", "x.jpg", "y.jpg")]
    statuses, messages = made_of(pipe, *items)
    assert statuses == ["made", "failed", "made"]
    assert "x.txt is written by x.png already; choose another name" in messages[1]


def test_the_reports_place_is_taken(pipe, tmp_path):  # noqa: F811
    items = [item(tmp_path / f"{name}.mp4") for name in ("batch_report", "clip")]
    statuses, messages = made_of(pipe, *items, report_path=tmp_path / "batch_report.json")
    assert statuses == ["failed", "made"] and "batch_report.json is written by the report already" in messages[0]
    assert json.loads((tmp_path / "batch_report.json").read_text())["counts"]["made"] == 1


def test_a_place_that_cannot_be_written_to_is_known_before_the_work(pipe, tmp_path, generations):  # noqa: F811
    (tmp_path / "file").write_text("")
    (tmp_path / "a.mp4").mkdir()
    items = [item(tmp_path / name) for name in ("file/b.mp4", "a.mp4", "good.mp4")]
    statuses, messages = made_of(pipe, *items)
    assert statuses == ["failed", "failed", "made"] and len(generations) == 1
    assert "a part of that path is a file" in messages[0] and "is a folder" in messages[1]


def test_an_unforeseen_exception_costs_its_item_only(pipe, tmp_path, monkeypatch):  # noqa: F811
    real = Pipeline.generate

    def failing(self, call, **options):
        if call.settings.prompt == "a bug":
            raise ZeroDivisionError("division by zero")
        return real(self, call, **options)

    monkeypatch.setattr(Pipeline, "generate", failing)
    items = [item(tmp_path / f"{prompt}.mp4", prompt=prompt) for prompt in ("a bug", "a ball")]
    statuses, messages = made_of(pipe, *items)
    assert statuses == ["failed", "made"] and messages == ["ZeroDivisionError: division by zero", ""]


def test_only_a_whole_clip_with_its_prompts_is_kept(pipe, tmp_path):  # noqa: F811
    clip = item(tmp_path / "clip.mp4")
    assert made_of(pipe, clip)[0] == ["made"] and made_of(pipe, clip)[0] == ["kept"]
    before = clip.output.read_bytes()
    clip.output.write_bytes(b"garbage")
    assert made_of(pipe, clip)[0] == ["made"] and clip.output.read_bytes() == before
    clip.output.with_suffix(".txt").unlink()
    assert made_of(pipe, clip)[0] == ["made"] and clip.output.with_suffix(".txt").is_file()


def test_a_clip_without_its_digest_replays_but_is_made_again(pipe, tmp_path):  # noqa: F811
    clip = item(tmp_path / "clip.mp4")
    made_of(pipe, clip)
    said = json.loads(clip.output.with_suffix(".json").read_text())
    del said["file"]
    clip.output.with_suffix(".json").write_text(json.dumps(said))
    assert lab.replay(clip.output, pipe=pipe, progress=False).provenance == said
    assert made_of(pipe, clip)[0] == ["made"] and made_of(pipe, clip)[0] == ["kept"]


def test_a_kept_clip_follows_its_input(pipe, tmp_path):  # noqa: F811
    clip = item(tmp_path / "clip.mp4", task="image2world", given=write_still(tmp_path / "a.png"))
    assert made_of(pipe, clip)[0] == ["made"]
    moved = item(clip.output, task="image2world", given=(tmp_path / "a.png").rename(tmp_path / "b.png"))
    with pytest.raises(FileNotFoundError, match="a.png is gone"):
        lab.replay(clip.output, pipe=pipe, progress=False)
    before = clip.output.stat().st_mtime_ns
    assert made_of(pipe, moved)[0] == ["kept"] and clip.output.stat().st_mtime_ns == before
    assert lab.replay(clip.output, pipe=pipe, progress=False).provenance["input"]["path"] == str(tmp_path / "b.png")
    assert made_of(pipe, moved)[0] == ["kept"]


def test_what_was_not_read_of_a_prompt_is_told(pipe, tmp_path):  # noqa: F811
    statuses, messages = made_of(pipe, item(tmp_path / "clip.mp4", prompt="red ball " * 5000))
    assert statuses == ["made"] and "the prompt is too long: its last" in messages[0]
