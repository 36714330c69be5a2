"""The museum of bugs: mistakes that other systems shipped, put into ours. Whole generations must show each of them.

Each test runs the pipeline against the official loop (`test_official_loops`) as it is, and once more with the mistake.
Entries 11 (latent statistics), 12 (a LoRA that matches nothing), 15 (global randomness) and 16 (a checkpoint path that
is not read) stand where their parts are tested; entries 8 to 10, 13 and 14 belong to parts that are not there.
"""

from dataclasses import replace
from pathlib import Path

import parity.test_official_loops as loops
import pytest
import tiny_diffusers as tiny
import torch
from diffusion.test_solvers import predict2_denoiser
from golden_files import read_golden, relative_error
from parity.test_pipelines import configured

from cosmos_lab.diffusion import FrameReplacement, ab2, karras, sample
from cosmos_lab.diffusion.conditioning import Condition
from cosmos_lab.noise import official
from cosmos_lab.pipelines import assembly
from cosmos_lab.pipelines.generate import Pipeline
from cosmos_lab.pipelines.source import Source

V2W = "predict2-2b-video2world-720p-16fps"
POST_TRAINED = "predict2.5-2b-post-trained"
INPUT = tiny.clip(12, loops.HEIGHT, loops.WIDTH)
SAME, SEEN = 1e-5, 1e-3  # float32 rounding over a whole generation, and a hundred times that


@pytest.fixture(autouse=True)
def a_longer_input(monkeypatch):
    """The official loops take the last pixel frames of the same clip of 12."""
    monkeypatch.setattr(tiny, "clip", lambda count, height, width: INPUT[len(INPUT) - count :])


def run(pipe, given, length, guidance=None):
    text, negative = loops.embeddings(pipe)
    call = pipe.call(
        "video2world", "", given=INPUT, num_conditional_frames=given, num_steps=loops.STEPS, seed=loops.SEED,
        guidance=loops.GUIDANCE if guidance is None else guidance, num_pixel_frames=length, output="latents",
        resolution=(loops.HEIGHT, loops.WIDTH), prompt_embeds=text, negative_prompt_embeds=negative,
    )  # fmt: skip
    return pipe.generate(call, progress=False).latents


def predict2_error(given=5, length=9, **changes):
    """Of the pipeline, its card changed, against the official loop of the unchanged card."""
    pipe = loops.pipeline(V2W, torch.float32)
    return relative_error(run(mutated(pipe, **changes), given, length), loops.predict2(pipe, given, length))


def predict2_5_error(**changes):
    pipe = loops.pipeline(POST_TRAINED, torch.float32)
    sigmas = [s / (1 + s) for s in loops.karras(loops.STEPS, 0.01, 200)]
    return relative_error(run(mutated(pipe, **changes), 5, 9), loops.predict2_5(pipe, 5, 9, sigmas, 0.1))


def mutated(pipe, *, dit=None, **sampling):
    card = replace(pipe.card, sampling=replace(pipe.card.sampling, **sampling), dit=replace(pipe.card.dit, **dit or {}))
    return Pipeline(configured(pipe.model, card))


def test_museum_1_first_instead_of_last_pixel_frames_condition(monkeypatch):
    assert predict2_error() < SAME
    of = Source.of

    def first(given, *, num_conditional_frames, alpha="white"):
        return of(given[:num_conditional_frames], num_conditional_frames=num_conditional_frames, alpha=alpha)

    monkeypatch.setattr(Source, "of", first)
    assert predict2_error() > SEEN


def test_museum_2_an_overlap_in_pixel_frames_is_passed_as_latent_frames(monkeypatch):
    """One pixel frame is one latent frame, which hides it; five are two."""
    assert predict2_error(given=5, length=21) < SAME
    right = assembly.diffusion.frame_mask
    monkeypatch.setattr(assembly.diffusion, "frame_mask", lambda latents, count: right(latents, 1 + 4 * (count - 1)))
    assert predict2_error(given=1, length=21) < SAME
    assert predict2_error(given=5, length=21) > SEEN


def test_museum_3_given_and_noisy_latent_frames_have_one_sigma(monkeypatch):
    assert predict2_error() < SAME
    monkeypatch.setattr(FrameReplacement, "timesteps", Condition.timesteps)
    assert predict2_error() > SEEN
    assert predict2_5_error() < SAME
    assert predict2_5_error(sigma_conditional=None) > SEEN


def test_museum_4_the_conditional_timestep_is_not_scaled():
    """0.1 of 1000 as if it were a sigma of 0.1, which is timestep 100."""
    assert predict2_5_error() < SAME
    assert predict2_5_error(sigma_conditional=100.0) > SEEN


def test_museum_5_time_is_in_seconds_although_trained_without():
    for error in (predict2_error, predict2_5_error):
        assert error() < SAME
        assert error(dit={"fps_modulation": True}) > SEEN


@pytest.mark.parametrize("name", ["cosmos1-7b-video2world", "predict1-7b-video2world"])
def test_museum_5_turned_round_cosmos_1_and_predict1_measure_time_in_seconds(name, monkeypatch):
    """At 24 pixel frames a second both are the same, so the clip has 12."""

    def made(**changes):
        pipe = loops.pipeline(name, torch.float32)
        pipe = mutated(Pipeline(replace(pipe.model, card=replace(pipe.card, fps=12))), **changes)
        return run(pipe, 9, 17)

    assert relative_error(made(dit={"fps_modulation": False}), made()) > 1e-3


def test_museum_6_guidance_in_the_other_form():
    assert predict2_error() < SAME
    assert predict2_error(guidance_form="uncond") > SEEN


def test_museum_6_guidance_is_off_up_to_1(monkeypatch):
    """diffusers' gate: at a scale of 1 the official clip is still guided."""
    monkeypatch.setattr(loops, "GUIDANCE", 1.0)
    assert predict2_error() < SAME
    assert predict2_error(guidance_threshold=1.0) > SEEN


def float32_grid(num_steps):
    first, last = 80.0 ** (1 / 7), 0.002 ** (1 / 7)
    return ((first + torch.linspace(0, 1, num_steps + 1) * (last - first)) ** 7).double()


def even_grid(num_steps):
    return torch.linspace(80, 0.002, num_steps + 1, dtype=torch.float64)


@pytest.mark.parametrize(("grid", "seen"), [(float32_grid, 0.0), (even_grid, SEEN)])
def test_museum_7_the_grid_is_in_float32_or_even_in_sigma(grid, seen):
    """The official samples are reproduced bit for bit, so that even the last digits of a grid show."""
    golden = read_golden("predict2_sampler")
    mu = golden["in/mu"]
    finals = [sample(ab2(predict2_denoiser(mu), official(7, mu.shape) * 80, g(35))) for g in (karras, grid)]
    assert torch.equal(finals[0], golden["out/final_35"])
    assert relative_error(finals[1], golden["out/final_35"]) > seen


@pytest.mark.parametrize(
    ("entry", "path", "name"),
    [
        (11, "nn/test_wan_vae.py", "test_museum_latent_std_inverted_or_absent_is_seen"),
        (11, "nn/test_wavelet_vae.py", "test_museum_latent_std_inverted_or_absent_is_seen"),
        (12, "runtime/test_lora.py", "test_a_lora_that_matches_nothing_is_an_error"),
        (15, "test_noise.py", "test_museum_15_mutants_are_found"),
        (16, "runtime/test_official.py", "test_an_explicit_checkpoint_path_is_the_one_that_is_read"),
    ],
)
def test_the_other_entries_have_their_tests(entry, path, name):
    source = (Path(__file__).parents[1] / path).read_text(encoding="utf-8")
    assert f"def {name}(" in source and str(entry) in source
