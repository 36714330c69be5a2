"""The page of conventions: true to the code, true to diffusers' defaults, and every line held by a test that exists."""

import inspect
from dataclasses import replace
from pathlib import Path

import parity.test_official_loops as loops
import pytest
import tiny_diffusers as tiny
import torch
from golden_files import relative_error

from cosmos_lab import catalog
from cosmos_lab.conventions import CONVENTIONS, table, with_conventions
from cosmos_lab.nn.wan_vae import WanVAE, WanVAEConfig
from cosmos_lab.nn.wavelet_vae import WaveletVAE
from cosmos_lab.pipelines import assembly
from cosmos_lab.pipelines.generate import Pipeline
from cosmos_lab.pipelines.generation import Timing
from cosmos_lab.pipelines.settings import resolve
from cosmos_lab.runtime.diffusers_folder import KINDS
from cosmos_lab.runtime.text_folders import AbsentTextEncoder
from cosmos_lab.text.encoders import T5TextEncoder
from cosmos_lab.text.reason1 import Reason1Encoder

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
    with pytest.raises(ValueError, match="predict2.5-2b-post-trained has no historical form"):
        with_conventions(catalog.card("predict2.5-2b-post-trained"), "historical")


def test_historical_forms_are_the_mistake_and_nothing_else():
    for name in ("predict2-2b-text2image", V2W):
        card = catalog.card(name)
        historical = with_conventions(card, "historical")
        assert historical.pictures == replace(card.pictures, decoded="guessed") != card.pictures
        assert replace(historical, pictures=card.pictures, conventions="official") == card
    card = catalog.card("predict1-7b-video2world")
    historical = with_conventions(card, "historical")
    assert historical.sampling == replace(card.sampling, legacy_replacement=True) != card.sampling
    assert replace(historical, sampling=card.sampling, conventions="official") == card


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
    assert page["solver"]["nano"] == "ab2, clean final evaluation, churn 0.3 from 79 to 4"
    assert page["rotary time"][V2W] == "index of the latent frame"
    assert page["rotary time"][f"{V2W} in diffusers"] == "index / fps · 24"
    assert page["timestep"]["predict2.5-2b-post-trained"] == "1000 sigma cut to an integer, · 0.001"
    assert page["latent statistics"]["predict1-7b-video2world"] == "one per channel and latent frame, times 0.5"
    assert page["pictures held upright"][V2W] == "turned as EXIF says, officially not"
    assert page["pictures held upright"]["nano"] == page["pictures held upright"][f"{V2W} in diffusers"]
    sizes = page["size of a continued clip"]
    assert sizes["predict1-7b-video2world"] == "multiples of 16x16, officially 1280x704 alone"
    assert sizes[V2W] == "multiples of 16x16" and sizes["predict2-2b-text2image"] == "-"
    assert page["range of decoded pixels"][V2W] == "from -1 to 1"
    assert page["range of decoded pixels"][f"{V2W}, historical"].startswith("from 0 to 1 if none is below -0.5")
    # The page is read off the cards: change a card and the line changes with it.
    solver = next(convention for convention in CONVENTIONS if convention.name == "solver")
    card = catalog.card(V2W)
    assert solver.of(replace(card, sampling=replace(card.sampling, solver="heun"))) == "heun, clean final evaluation"


@pytest.mark.parametrize("size", [(704, 1280), (480, 640), (32, 48)])
def test_predict1_continues_at_every_size_that_it_can_make(size):
    """The official command makes 704x1280 of whatever height and width it is given, which is the default here."""
    pipe = loops.pipeline("predict1-7b-video2world", torch.float32)
    options = {"given": tiny.clip(1, 40, 60), "num_conditional_frames": 1}
    settings = pipe.call("video2world", "a ball", resolution=size, **options).settings
    assert (settings.height, settings.width) == size
    card = catalog.card("predict1-7b-video2world")
    assert card.size_of() == (704, 1280) and card.size_of(size) == size
    with pytest.raises(ValueError, match="nearest size that it can is 48x32"):
        card.size_of((33, 48))


class Words(torch.nn.Module):
    """Stands for a text encoder: a text's embedding is its length; remembers what it was asked."""

    def __init__(self, width):
        super().__init__()
        self.width, self.asked = width, []

    def encode(self, prompts):
        self.asked += prompts
        return torch.full((1, 7, self.width), float(len(prompts[0]) + 1))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (V2W, "prompt"),
        ("predict2-2b-text2image", "zeros"),
        ("predict1-7b-text2world", "zeros"),
        ("predict1-7b-video2world", "prompt"),
        ("predict2.5-2b-post-trained", "empty text"),
    ],
)
def test_an_empty_negative_prompt_means_what_it_does_officially(name, expected):
    """What the unconditional branch reads: the prompt (so that guidance does nothing), zeros, or the empty text."""
    pipe = loops.pipeline(name, torch.float32)
    words = Words(pipe.card.dit.text_projection or pipe.card.dit.text_width)
    pipe = Pipeline(replace(pipe.model, text=words))
    task = "text2image" if "text2image" in name else "text2world"
    options = {"negative_prompt": "", "resolution": (32, 48), "num_pixel_frames": None if "image" in name else 9}
    if "video2world" in name:
        task, options = "video2world", options | {"given": tiny.clip(1, 32, 48), "num_conditional_frames": 1}
    words.tokenize = AbsentTextEncoder().tokenize
    denoiser = pipe.start(pipe.call(task, "a ball", **options), Timing()).denoiser
    cond, uncond = denoiser.text
    assert words.asked == (["a ball", ""] if expected == "empty text" else ["a ball"])
    meant = {"prompt": cond, "zeros": torch.zeros_like(cond), "empty text": torch.ones_like(cond)}
    assert torch.equal(uncond, meant[expected]) and cond.unique().item() == 7


def test_text_is_512_tokens_and_padding_is_attended_to():
    """No mask reaches the network: T5's padded rows are zero and count in its softmax, Reason1's are as encoded."""
    official = [card for card in catalog.cards().values() if card.generation != "nano"]
    assert {card.text.num_tokens for card in official} == {512}
    assert {card.text.kind for card in official if card.generation == "predict2.5"} == {"reason1"}
    for kind in ("t5", "reason1"):
        encoder = text_encoder(kind, *tiny.TEXTS[kind]())
        tokens = encoder.tokenize(["a red ball"])
        embedded, words = encoder.encode(["a red ball"]), int(tokens.mask.sum())
        assert embedded.shape[:2] == (1, 512) and 0 < words < 512
        assert (embedded[:, words:].abs().max() == 0) == (kind == "t5") and embedded[:, :words].abs().max() > 0
    net = loops.pipeline(V2W, torch.float32).model.dit
    x, text = torch.randn(1, 16, 2, 4, 6, generator=torch.Generator().manual_seed(0)), torch.ones(1, 4, 24)
    padded = torch.cat([text, torch.zeros(1, 8, 24)], dim=1)
    assert relative_error(net(x, torch.tensor([0.5]), padded), net(x, torch.tensor([0.5]), text)) > 1e-3


def text_encoder(kind, model, tokenizer):
    if kind == "reason1":
        return Reason1Encoder(model.model.language_model, tokenizer)
    encoder = T5TextEncoder(model.config, tokenizer.backend_tokenizer)
    encoder.model = model
    return encoder


@pytest.mark.parametrize("name", ["predict1-7b-video2world", V2W, "predict2.5-2b-pre-trained", "nano"])
def test_tokenizers_compress_as_the_page_says(name):
    card = catalog.card(name)
    page = next(convention for convention in CONVENTIONS if convention.name.startswith("compression"))
    t, h, w = page.of(card)
    with torch.device("meta"):
        vae = (WanVAE if isinstance(card.tokenizer, WanVAEConfig) else WaveletVAE)(card.tokenizer)
        latents = torch.empty(1, 16, 3, 4, 6)
        assert vae.decode(latents).shape == (1, 3, 1 + 2 * t, 4 * h, 6 * w)
    assert (t, h, w) == ((8, 8, 8) if "predict1" in name else (4, 8, 8))


def test_a_part_of_the_page():
    part = table("solver", "guidance", systems=("nano", "predict1-7b-video2world"))
    whole = table()
    assert part.header == ("convention", "nano", "predict1-7b-video2world", "fails when wrong")
    assert [row["convention"] for row in part] == ["solver", "guidance"]
    assert all(row[name] in [full[name] for full in whole] for row in part for name in part.header)
    with pytest.raises(ValueError, match="no convention solvent; there are: noise levels, solver"):
        table("solvent")
