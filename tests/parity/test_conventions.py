"""The page of conventions: true to the code, true to diffusers' defaults, and every line held by a test that exists."""

import inspect
from dataclasses import replace
from pathlib import Path

import pytest

from cosmos_lab import catalog
from cosmos_lab.conventions import CONVENTIONS, table, with_conventions
from cosmos_lab.pipelines import assembly
from cosmos_lab.pipelines.settings import resolve
from cosmos_lab.runtime.diffusers_folder import KINDS

V2W = "predict2-2b-video2world-720p-16fps"


@pytest.mark.parametrize("kind", KINDS)
def test_defaults_are_diffusers_own(kind):
    import importlib

    import diffusers

    card = with_conventions(catalog.card(KINDS[kind].card), "diffusers")
    pipeline = getattr(diffusers, kind)
    defaults = {name: p.default for name, p in inspect.signature(pipeline.__call__).parameters.items()}
    assert card.sampling.num_steps == defaults["num_inference_steps"]
    assert card.sampling.guidance == defaults["guidance_scale"]
    if "fps" in defaults:
        assert card.fps == defaults["fps"]
    if "augment_sigma" in defaults:
        assert card.sampling.sigma_conditional == defaults["augment_sigma"]
    if "sigma_conditioning" in defaults:
        assert card.sampling.sigma_conditional == defaults["sigma_conditioning"]
    if "conditional_frame_timestep" in defaults:
        assert card.sampling.sigma_conditional / 1000 == defaults["conditional_frame_timestep"]
    assert card.negative_prompt == importlib.import_module(pipeline.__module__).DEFAULT_NEGATIVE_PROMPT
    assert card.sampling.unconditional == "text"


def test_guidance_has_diffusers_threshold_and_officially_none():
    official = catalog.card(V2W).sampling
    diffusers = with_conventions(catalog.card(V2W), "diffusers").sampling
    for scale, off in ((1.0, True), (0.5, True), (1.01, False)):
        assert assembly.guidance(diffusers, scale, "cond").is_off == off
        assert not assembly.guidance(official, scale, "cond").is_off
    assert assembly.guidance(official, 0.0, "cond").is_off


def test_steps_count_evaluations_of_the_network():
    post_trained = catalog.card("predict2.5-2b-post-trained")
    diffusers = with_conventions(post_trained, "diffusers").sampling
    official = assembly.sigmas(post_trained.sampling, 35)
    assert assembly.sigmas(diffusers, 36).equal(official) and len(official) == 36 + 1
    predict2 = with_conventions(catalog.card(V2W), "diffusers").sampling
    grid = assembly.sigmas(predict2, 35)
    assert grid[0] == 80 and grid[-1] == grid[-2] and grid[1].item() == pytest.approx(68.0051, abs=1e-4)


def test_diffusers_samples_pre_trained_models_with_post_trained_settings():
    pre, post = (
        with_conventions(catalog.card(f"predict2.5-2b-{stage}"), "diffusers").sampling
        for stage in ("pre-trained", "post-trained")
    )
    assert pre == post


def test_any_length_is_legal_in_diffusers():
    card = catalog.card(V2W)
    options = {"num_pixel_frames": 29}
    with pytest.raises(ValueError, match="makes 93"):
        resolve(card, "text2world", "a ball", num_conditional_frames=0, options=options)
    settings = resolve(
        with_conventions(card, "diffusers"), "text2world", "a ball", num_conditional_frames=0, options=options
    )
    assert settings.num_pixel_frames == 29


def test_what_diffusers_does_not_have_is_refused():
    for name in ("nano", "predict1-7b-text2world"):
        with pytest.raises(ValueError, match=f"no pipeline for {name}"):
            with_conventions(catalog.card(name), "diffusers")
    with pytest.raises(ValueError, match="one of official, historical, diffusers, not 'mine'"):
        with_conventions(catalog.card(V2W), "mine")
    changed = with_conventions(catalog.card(V2W), "diffusers")
    assert with_conventions(changed, "diffusers") is changed
    with pytest.raises(ValueError, match="load it again"):
        with_conventions(changed, "official")
    with pytest.raises(ValueError, match="no historical form"):
        with_conventions(catalog.card(V2W), "historical")


def test_every_line_names_a_test_that_exists():
    root = Path(__file__).parents[2]
    for convention in CONVENTIONS:
        path, _, name = convention.test.partition("::")
        assert f"def {name}(" in (root / path).read_text(encoding="utf-8"), convention.test


def test_the_page_shows_what_the_cards_say():
    page = {row["convention"]: row for row in table()}
    assert len(page) == len(CONVENTIONS)
    assert page["solver"][V2W] == "ab2, clean final evaluation"
    assert page["solver"][f"{V2W} in diffusers"] == "euler"
    assert page["rotary time"][V2W] == "index of the latent frame"
    assert page["rotary time"][f"{V2W} in diffusers"] == "index / fps · 24"
    assert page["timestep"]["predict2.5-2b-post-trained"] == "1000 sigma cut to an integer, · 0.001"
    assert page["latent statistics"]["predict1-7b-video2world"] == "one per channel and latent frame, times 0.5"
    # The page is read off the cards: change a card and the line changes with it.
    solver = next(convention for convention in CONVENTIONS if convention.name == "solver")
    card = catalog.card(V2W)
    assert solver.of(replace(card, sampling=replace(card.sampling, solver="heun"))) == "heun, clean final evaluation"
