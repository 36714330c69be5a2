"""Every keyword argument that all tasks share, on every task: it changes what it says."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from random_nano import pipe, random_nano  # noqa: F401 (fixtures)

import cosmos_lab as lab
from cosmos_lab import catalog
from cosmos_lab.noise import Keyed
from cosmos_lab.pipelines.generate import Pipeline
from cosmos_lab.pipelines.settings import Options
from cosmos_lab.video import through_jpeg

PROMPT, OTHER = "a red ball rolls to the left", "a blue box rolls to the right"
SIZES = {"112": {"16:9": (96, 64), "1:1": (64, 64)}}
CLIP = np.random.default_rng(0).integers(0, 255, (9, 64, 96, 3), dtype=np.uint8)
TASKS = {
    "text2image": lambda p, prompt, **o: p.text2image(prompt, **o),
    "text2world": lambda p, prompt, **o: p.text2world(prompt, **o),
    "image2world": lambda p, prompt, **o: p.image2world(CLIP[0], prompt, **o),
    "video2world": lambda p, prompt, **o: p.video2world(CLIP, prompt, **o),
    "edit": lambda p, prompt, **o: lab.edit(p, CLIP, prompt, strength=0.7, **o),
    "long_video": lambda p, prompt, **o: lab.long_video(p, CLIP[0], prompt, num_chunks=2, **o),
}
QUICK = {"num_steps": 3, "progress": False}
tasks = pytest.mark.parametrize("task", TASKS)


@pytest.fixture(scope="module")
def small(pipe):  # noqa: F811
    """The small model with the rules of Predict2.5, of which diffusers has a form, and two small sizes."""
    official = catalog.card("predict2.5-2b-post-trained")
    sampling = replace(official.sampling, unconditional="zero", guidance=3.0)
    return Pipeline(replace(pipe.model, card=replace(
        pipe.card, generation="predict2.5", sampling=sampling, sizes=SIZES, num_pixel_frames=9)))  # fmt: skip


@pytest.fixture(scope="module")
def plain(small):
    """Each task without further keywords."""
    return {task: make(small, PROMPT, **QUICK) for task, make in TASKS.items()}


def differ(one, other):
    return one.latents.shape != other.latents.shape or not torch.equal(one.latents, other.latents)


@tasks
@pytest.mark.parametrize(
    "keyword, value", [("negative_prompt", OTHER), ("guidance", 1.0), ("num_steps", 4), ("seed", 7)]
)
def test_it_decides_the_latents_and_is_recorded(small, plain, task, keyword, value):
    made = TASKS[task](small, PROMPT, **{**QUICK, keyword: value})
    assert made.provenance["settings"][keyword] == value and differ(made, plain[task])


@tasks
def test_num_pixel_frames(small, plain, task):
    if task == "text2image":
        with pytest.raises(ValueError, match="a picture is 1 pixel frame, not 13"):
            small.text2image(PROMPT, num_pixel_frames=13)
        return
    made = TASKS[task](small, PROMPT, num_pixel_frames=13, **QUICK)
    assert len(made.frames) == 13 + (12 if task == "long_video" else 0) > len(plain[task].frames)


@tasks
def test_resolution_aspect_ratio_and_fps(small, plain, task):
    assert plain[task].frames.shape[1:3] == (64, 96) and plain[task].fps == 16
    assert TASKS[task](small, PROMPT, resolution=(80, 112), **QUICK).frames.shape[1:3] == (80, 112)
    assert TASKS[task](small, PROMPT, aspect_ratio="1:1", **QUICK).frames.shape[1:3] == (64, 64)
    assert TASKS[task](small, PROMPT, fps=10, **QUICK).fps == 10


@tasks
def test_conventions(small, plain, task, tmp_path):
    """diffusers' way for one call: as if loaded so, without a trace in the pipeline, and made again from its file."""
    made = TASKS[task](small, PROMPT, conventions="diffusers", **QUICK)
    assert made.provenance["conventions"] == "diffusers" and differ(made, plain[task])
    assert made == TASKS[task](small.under("diffusers"), PROMPT, **QUICK)
    assert TASKS[task](small, PROMPT, conventions="official", **QUICK) == plain[task]
    assert plain[task].provenance["conventions"] == "official"
    assert lab.replay(made, pipe=small, progress=False) == made
    if task.startswith("text"):
        path = made.save(tmp_path / f"made.{'png' if task == 'text2image' else 'mp4'}")
        assert lab.replay(path, pipe=small, progress=False) == made


def test_conventions_that_a_model_does_not_have_are_refused(pipe, small):  # noqa: F811
    with pytest.raises(ValueError, match="diffusers has no pipeline for nano"):
        pipe.text2world(PROMPT, conventions="diffusers", **QUICK)
    with pytest.raises(ValueError, match="conventions are one of"):
        small.text2world(PROMPT, conventions="mine", **QUICK)


def test_the_trajectory_follows_the_conventions_too(small):
    steps = list(small.denoise(PROMPT, conventions="diffusers", num_steps=3))
    assert torch.equal(steps[-1].x0, small.text2world(PROMPT, conventions="diffusers", **QUICK).latents)


def test_the_painter_of_the_first_pixel_frame_follows_the_conventions_too(small):
    card = replace(small.card, first_frame="painter")
    two_phase = Pipeline(replace(small.model, card=card), open_first_frame=lambda: small)
    made = two_phase.text2world(PROMPT, conventions="diffusers", **QUICK)
    negative = made.provenance["settings"]["negative_prompt"]
    picture = small.text2image(PROMPT, conventions="diffusers", negative_prompt=negative, progress=False).frames[0]
    by_hand = small.image2world(through_jpeg(picture), PROMPT, conventions="diffusers", **QUICK)
    assert torch.equal(made.latents, by_hand.latents)


@tasks
def test_noise(small, plain, task):
    """A source, or a tensor: here those that another seed would draw."""
    shape, chunks = plain[task].latents.shape, 1 + (task == "long_video")
    seeds = [Keyed(7 + number)((1, 16, shape[2] // chunks, *shape[3:]), purpose="initial") for number in range(chunks)]
    by_tensor = TASKS[task](small, PROMPT, noise=torch.cat(seeds), **QUICK)
    keyed = replace(small.card, sampling=replace(small.card.sampling, noise="keyed"))
    by_seed = TASKS[task](Pipeline(replace(small.model, card=keyed)), PROMPT, seed=7, **QUICK)
    assert torch.equal(by_tensor.latents, by_seed.latents) and differ(by_tensor, plain[task])
    by_source = TASKS[task](small, PROMPT, noise=Keyed(7), **QUICK)
    first = shape[2] // chunks
    assert torch.equal(by_source.latents[:, :, :first], by_tensor.latents[:, :, :first])
    with pytest.raises(ValueError, match="noise for this"):
        TASKS[task](small, PROMPT, noise=torch.cat([*seeds, *seeds]), **QUICK)


@tasks
def test_embeddings(small, plain, task):
    encode = small.model.text.encode
    made = TASKS[task](small, "", prompt_embeds=encode([OTHER]), **QUICK)
    assert torch.equal(made.latents, TASKS[task](small, OTHER, **QUICK).latents) and differ(made, plain[task])
    made = TASKS[task](small, PROMPT, negative_prompt_embeds=encode([OTHER]), **QUICK)
    by_text = TASKS[task](small, PROMPT, negative_prompt=OTHER, **QUICK)
    assert torch.equal(made.latents, by_text.latents) and differ(made, plain[task])


@tasks
def test_output(small, plain, task):
    made = TASKS[task](small, PROMPT, output="latents", **QUICK)
    assert made.frames is None and torch.equal(made.latents, plain[task].latents)
    assert lab.replay(made, pipe=small, progress=False) == made


@tasks
def test_progress(small, task, capsys):
    TASKS[task](small, PROMPT, num_steps=2, progress=True)
    assert "%" in capsys.readouterr().err
    TASKS[task](small, PROMPT, num_steps=2, progress=False)
    assert capsys.readouterr().err == ""


@tasks
def test_checks_can_be_switched_off(small, plain, task):
    settings = TASKS[task](small, PROMPT, guardrail=False, refine=False, **QUICK).provenance["settings"]
    assert (settings["guardrail"], settings["refiner"]) == ("DISABLED", "DISABLED")
    assert plain[task].provenance["settings"]["guardrail"] == "NOT_CHECKED"


@tasks
def test_tries(small, plain, task):
    """Without a critic there is one; with one, see `selection/test_tries.py`."""
    made = TASKS[task](small, PROMPT, tries=1, **QUICK)
    assert made.provenance == plain[task].provenance and torch.equal(made.latents, plain[task].latents)
    with pytest.raises(ValueError, match="leave tries away"):
        TASKS[task](small, PROMPT, tries=2, **QUICK)


def test_every_keyword_has_its_test():
    source = open(__file__).read()
    for name in Options.__annotations__:
        assert f"{name}=" in source or f'"{name}"' in source, name
