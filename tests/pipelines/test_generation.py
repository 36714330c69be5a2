"""Saving a generation and making it again."""

import json
from importlib.metadata import PackageNotFoundError

import numpy as np
import pytest
from PIL import Image
from random_nano import pipe, random_nano, write_random_nano  # noqa: F401 (fixtures)

import cosmos_lab as lab
from cosmos_lab import video
from cosmos_lab.files import sha256
from cosmos_lab.pipelines import provenance

QUICK = {"num_steps": 1, "num_pixel_frames": 5, "progress": False}


@pytest.fixture(scope="module")
def clip(pipe):  # noqa: F811
    return pipe.text2world("a red ball", negative_prompt="a blue box", seed=1, **QUICK)


def test_save_writes_clip_prompts_and_provenance(clip, tmp_path):
    path = clip.save(tmp_path / "new" / "clip.mp4")
    assert sorted(file.name for file in path.parent.iterdir()) == ["clip.json", "clip.mp4", "clip.txt"]
    written = video.read(path)
    assert written.pixels.shape == clip.frames.shape and written.fps == clip.fps
    assert path.with_suffix(".txt").read_text() == "[Prompt]\na red ball\n\n[Negative Prompt]\na blue box\n"
    said = json.loads(path.with_suffix(".json").read_text())
    # The file's own digest is known only once it is written.
    assert said == {**clip.provenance, "file": {"sha256": sha256(path)}}
    assert set(said["versions"]) == {"cosmos_lab", "torch", "transformers", "numpy", "av", "pillow"}


def test_a_clip_is_made_where_nothing_that_writes_clips_is_installed(pipe, monkeypatch):  # noqa: F811
    def version(name):
        if name == "av":
            raise PackageNotFoundError(name)
        return "1.0"

    monkeypatch.setattr(provenance, "version", version)
    made = pipe.text2world("a red ball", seed=1, **QUICK).provenance["versions"]
    assert made["av"] == "not installed" and made["torch"] == "1.0"


def test_saving_twice_makes_the_same_bytes(clip, tmp_path):
    first, second = (clip.save(tmp_path / name).read_bytes() for name in ("1.mp4", "2.mp4"))
    assert first == second


def test_a_wrong_suffix_is_refused_before_anything_is_written(clip, pipe, tmp_path):  # noqa: F811
    with pytest.raises(ValueError, match="a clip is saved as .mp4"):
        clip.save(tmp_path / "clip.avi")
    picture = pipe.text2image("a red ball", num_steps=1, progress=False)
    with pytest.raises(ValueError, match="a picture is saved as .jpg, .png"):
        picture.save(tmp_path / "picture.txt")
    assert list(tmp_path.iterdir()) == []
    assert Image.open(picture.save(tmp_path / "picture.png")).size == (192, 112)


def test_replay_makes_the_same_generation(clip, pipe, tmp_path):  # noqa: F811
    assert lab.replay(clip, pipe=pipe, progress=False) == clip
    path = clip.save(tmp_path / "clip.mp4")
    for file in (path, path.with_suffix(".json"), str(path)):
        # Without a pipeline: the provenance says which model to load.
        assert lab.replay(file, progress=False) == clip


def test_replay_of_a_continued_clip_reads_its_input_again(pipe, tmp_path):  # noqa: F811
    Image.fromarray(np.full((60, 80, 3), 90, dtype=np.uint8)).save(tmp_path / "start.png")
    made = pipe.image2world(tmp_path / "start.png", "a red ball", **QUICK)
    made.save(tmp_path / "clip.mp4")
    assert lab.replay(tmp_path / "clip.mp4", pipe=pipe, progress=False) == made
    Image.fromarray(np.full((60, 80, 3), 91, dtype=np.uint8)).save(tmp_path / "start.png")
    with pytest.raises(ValueError, match="start.png has changed since"):
        lab.replay(tmp_path / "clip.mp4", pipe=pipe, progress=False)
    # In memory the generation still holds what it was given.
    assert lab.replay(made, pipe=pipe, progress=False) == made
    (tmp_path / "start.png").unlink()
    with pytest.raises(FileNotFoundError, match="start.png is gone; put it back there"):
        lab.replay(tmp_path / "clip.mp4", pipe=pipe, progress=False)


def test_replay_says_what_it_cannot_know(clip, pipe, tmp_path):  # noqa: F811
    from_memory = pipe.image2world(clip.frames[0], "a red ball", **QUICK)
    assert lab.replay(from_memory, pipe=pipe, progress=False) == from_memory
    with pytest.raises(ValueError, match="input was given in memory"):
        lab.replay(from_memory.save(tmp_path / "a.mp4"), pipe=pipe, progress=False)
    embeds = pipe.model.text.encode(["a red ball"])
    by_hand = pipe.text2world("", prompt_embeds=embeds, **QUICK)
    with pytest.raises(ValueError, match="prompt_embeds were given in memory"):
        lab.replay(by_hand.save(tmp_path / "b.mp4"), pipe=pipe, progress=False)
    with pytest.raises(FileNotFoundError, match="no provenance"):
        lab.replay(tmp_path / "nothing.mp4", pipe=pipe)
    with pytest.raises(FileNotFoundError, match="no provenance"):
        lab.replay(".", pipe=pipe)
    (tmp_path / "odd.json").write_text('{"prompt": "a"}')
    with pytest.raises(ValueError, match="odd.json is no provenance"):
        lab.replay(tmp_path / "odd.json", pipe=pipe)
    (tmp_path / "old.json").write_text('{"provenance": 1}')
    with pytest.raises(ValueError, match="has version 1, not 2; use the release that wrote it"):
        lab.replay(tmp_path / "old.json", pipe=pipe)
    (tmp_path / "half.json").write_text('{"provenance": 2, "weights": "0", "settings": {}}')
    with pytest.raises(ValueError, match="half.json is no provenance of a clip: it lacks model, loaded, conventions"):
        lab.replay(tmp_path / "half.json", pipe=pipe)
    (tmp_path / "deep.json").write_text("[" * 100_000)
    with pytest.raises(ValueError, match="deep.json is no provenance of a clip"):
        lab.replay(tmp_path / "deep.json", pipe=pipe)


@pytest.mark.parametrize(
    "name", ["model", "weights", "loaded", "conventions", "like", "settings", "input", "painter", "given_by_hand",
             "output", "device", "dtype"],
)  # fmt: skip
def test_replay_names_what_a_file_lacks(clip, pipe, tmp_path, name):  # noqa: F811
    rest = {key: value for key, value in clip.provenance.items() if key != name}
    (tmp_path / "less.json").write_text(json.dumps(rest))
    with pytest.raises(ValueError, match=f"less.json is no provenance of a clip: it lacks {name}$"):
        lab.replay(tmp_path / "less.json", pipe=pipe)
    (tmp_path / "odd.json").write_text(json.dumps({**rest, name: True}))
    with pytest.raises(ValueError, match=f"{name} is True, of another type"):
        lab.replay(tmp_path / "odd.json", pipe=pipe)


@pytest.mark.parametrize("name, value", [("num_steps", "x"), ("num_steps", 1.5), ("prompt", None), ("strength", "0.8")])
def test_replay_names_a_setting_of_another_type(clip, pipe, tmp_path, name, value):  # noqa: F811
    settings = {**clip.provenance["settings"], name: value}
    (tmp_path / "odd.json").write_text(json.dumps({**clip.provenance, "settings": settings}))
    with pytest.raises(ValueError, match=f"{name} is {value!r}, of another type"):
        lab.replay(tmp_path / "odd.json", pipe=pipe)
    del settings[name]
    (tmp_path / "odd.json").write_text(json.dumps({**clip.provenance, "settings": settings}))
    if name == "strength":
        # What belongs to some tasks only may be absent; a whole number is a number.
        settings["fps"] = 16
        (tmp_path / "odd.json").write_text(json.dumps({**clip.provenance, "settings": settings}))
        assert np.array_equal(lab.replay(tmp_path / "odd.json", pipe=pipe, progress=False).frames, clip.frames)
    else:
        with pytest.raises(ValueError, match=f"it lacks {name}"):
            lab.replay(tmp_path / "odd.json", pipe=pipe)


def test_replay_finds_input_and_model_from_any_folder(random_nano, tmp_path, monkeypatch):  # noqa: F811
    monkeypatch.chdir(tmp_path)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "model").symlink_to(random_nano)
    Image.fromarray(np.full((60, 80, 3), 90, dtype=np.uint8)).save("start.png")
    made = lab.load("model").image2world("start.png", "a red ball", **QUICK)
    assert made.provenance["input"]["path"] == str(tmp_path / "start.png")
    path = made.save(tmp_path / "clip.mp4")
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert lab.replay(path, progress=False) == made


def test_what_was_not_read_is_noted(pipe):  # noqa: F811
    long, frames = "red ball " * 5000, np.zeros((5, 64, 96, 3), dtype=np.uint8)
    made = lab.edit(pipe, frames, long, source_prompt="a ball", **QUICK)
    dropped = made.provenance["tokens"]["dropped"]
    assert made.note == f"the prompt is too long: its last {dropped} tokens were not read"
    told = lab.edit(pipe, frames, "a ball", source_prompt=long, **QUICK)
    assert told.provenance["tokens"]["dropped"] == 0 and told.provenance["tokens"]["source_dropped"] == dropped
    assert told.note == f"source_prompt is too long: its last {dropped} tokens were not read"
    plain = pipe.text2world("a ball", **QUICK)
    assert plain.note == "" and plain.provenance["tokens"]["source_dropped"] == 0


def test_replay_refuses_other_weights(clip, tmp_path):
    write_random_nano(tmp_path / "other", seed=1)
    with pytest.raises(ValueError, match="it was made with weights"):
        lab.replay(clip, pipe=lab.load(tmp_path / "other"), progress=False)


def test_equality_counts_pixels_and_provenance_but_not_timing(clip):
    from dataclasses import replace

    assert replace(clip, timing={"denoise": 99.0}) == clip
    brighter = clip.frames.copy()
    brighter[0, 0, 0, 0] ^= 1
    assert replace(clip, frames=brighter) != clip
    assert replace(clip, provenance={**clip.provenance, "weights": "0" * 64}) != clip


def test_it_shows_itself(clip, pipe):  # noqa: F811
    shown = clip._repr_html_()
    assert "<video" in shown and " loop autoplay muted" in shown and "a red ball" in shown and "NOT_CHECKED" in shown
    assert "<img" in pipe.text2image("a <b>", num_steps=1, progress=False)._repr_html_()
    hostile = pipe.text2world("<script>alert(1)</script>", **QUICK)._repr_html_()
    assert "<script>" not in hostile
    assert "a red ball" in repr(clip) and "strength" not in shown
    edited = lab.edit(pipe, clip, "a ball", strength=0.5, source_prompt="a <box>", **QUICK)._repr_html_()
    assert " · strength 0.5 · source_prompt a &lt;box&gt;" in edited
    assert "image_strength 0.25" in lab.edit(pipe, clip, "a ball", image_strength=0.25, **QUICK)._repr_html_()


def test_what_the_user_switched_off_is_recorded(pipe):  # noqa: F811
    settings = pipe.text2world("a red ball", guardrail=False, refine=False, **QUICK).provenance["settings"]
    assert (settings["guardrail"], settings["refiner"]) == ("DISABLED", "DISABLED")
