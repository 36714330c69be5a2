"""diffusers as a live peer: tiny random pipelines saved with `save_pretrained`, loaded here, same noise."""

import copy
from dataclasses import dataclass, replace
from functools import cache

import pytest
import tiny_diffusers as tiny
import torch
from golden_files import relative_error

from cosmos_lab.conventions import apply
from cosmos_lab.noise import Recorded
from cosmos_lab.pipelines.generate import Pipeline, load

PROMPT, NEGATIVE, STEPS, GUIDANCE = "a red ball rolls over the floor", "blurry dark", 4, 3.0


@dataclass(frozen=True)
class Case:
    """One generation: the kind of pipeline, pixel frames of the clip, given pixel frames and their size."""

    kind: str
    length: int
    given: int = 0
    size: tuple[int, int] = (tiny.HEIGHT, tiny.WIDTH)


CASES = {
    "cosmos1_text2world": Case("cosmos1_text2world", 17),
    "cosmos1_video2world": Case("cosmos1_video2world", 17, 9),
    "cosmos1_image2world": Case("cosmos1_video2world", 9, 1),
    "cosmos2_text2image": Case("cosmos2_text2image", 1),
    "cosmos2_video2world": Case("cosmos2_video2world", 9, 5),
    "cosmos2_image2world_other_size": Case("cosmos2_video2world", 9, 1, (40, 50)),
    "cosmos2_5_text2world": Case("cosmos2_5_predict", 9),
    "cosmos2_5_video2world": Case("cosmos2_5_predict", 9, 5),
    "cosmos2_5_video2world_other_size": Case("cosmos2_5_predict", 9, 5, (20, 70)),
}


@pytest.fixture(scope="module")
def peers(tmp_path_factory):
    return peers_in(tmp_path_factory.mktemp("folders"))


def peers_in(folder):
    """kind -> (diffusers' pipeline, ours of the saved folder)."""

    @cache
    def peer(kind):
        theirs = tiny.make(kind)
        return theirs, load(tiny.save(theirs, folder / kind), device="cpu", dtype="float32", conventions="diffusers")

    return peer


def draws(shape, seed=7):
    """diffusers' draws from one generator, under the names that our noise sources know them by."""
    generator = torch.Generator().manual_seed(seed)
    initial = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    augment = {("augment", i, b): torch.randn(shape, generator=generator) for i in range(STEPS) for b in range(2)}
    posterior = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    return Recorded({("initial", 0, 0): initial, ("posterior", 0, 0): posterior, **augment})


def run_theirs(pipeline, case, shape, seed=7):
    """(latents, decoded pixels before they become 8 bits) of diffusers."""
    from PIL import Image

    states, decoded, decode = [], [], pipeline.vae.decode
    options = {} if case.length == 1 else {"num_frames": case.length}
    if case.given:
        options["video"] = [Image.fromarray(frame) for frame in tiny.clip(case.given, *case.size)]
        if "cosmos2_5" in case.kind:
            options["num_latent_conditional_frames"] = 1 + (case.given - 1) // 4

    def keep(_pipeline, _step, _timestep, values):
        states.append(values["latents"])
        return values

    pipeline.vae.decode = lambda *args, **options: decoded.append(decode(*args, **options)[0]) or (decoded[-1],)
    try:
        pipeline(
            prompt=PROMPT, negative_prompt=NEGATIVE, height=tiny.HEIGHT, width=tiny.WIDTH, num_inference_steps=STEPS,
            guidance_scale=GUIDANCE, latents=draws(shape)(shape), generator=torch.Generator().manual_seed(seed),
            callback_on_step_end=keep, output_type="np", **options,
        )  # fmt: skip
    finally:
        pipeline.vae.decode = decode
    return states[-1], decoded[0]


def run_ours(pipe, case, shape):
    task = "text2image" if case.length == 1 else "video2world" if case.given else "text2world"
    given = tiny.clip(case.given, *case.size) if case.given else None
    call = pipe.call(
        task, PROMPT, given=given, num_conditional_frames=case.given, negative_prompt=NEGATIVE,
        guidance=GUIDANCE, num_steps=STEPS, num_pixel_frames=case.length,
        resolution=(tiny.HEIGHT, tiny.WIDTH), noise=draws(shape), output="latents",
    )  # fmt: skip
    return pipe.generate(call, progress=False).latents


def latent_shape(pipe, case):
    vae = pipe.model.vae
    size = (tiny.HEIGHT // vae.spatial_factor, tiny.WIDTH // vae.spatial_factor)
    return (1, 16, vae.num_latent_frames(case.length), *size)


def deviations(theirs, ours, case):
    """Relative errors of our latents and, on their latents, of our decoded pixels."""
    shape = latent_shape(ours, case)
    latents, pixels = run_theirs(theirs, case, shape)
    latents = latents.reshape(shape)
    assert pixels.std() > 0.05 and latents.std() > 0.1
    decoded = ours.model.vae.decode(latents / ours.card.sampling.sigma_data)
    # diffusers clamps what the Wan tokenizer decodes.
    decoded = decoded.clamp(pixels.min(), pixels.max())
    return relative_error(run_ours(ours, case, shape), latents), relative_error(decoded, pixels)


@pytest.mark.parametrize("name", CASES)
def test_same_latents_and_pixels_as_diffusers(peers, name):
    case = CASES[name]
    # Measured 0.7e-6 to 2.2e-6: rounding of two float32 systems over four guided steps.
    assert max(deviations(*peers(case.kind), case)) < 1e-5


@pytest.mark.parametrize("kind", ["cosmos2_video2world", "cosmos2_5_predict"])
def test_same_text_embedding_as_diffusers(peers, kind):
    theirs, ours = peers(kind)
    expected, _ = theirs.encode_prompt(prompt=PROMPT, do_classifier_free_guidance=False, device="cpu")
    assert relative_error(ours.model.text.encode([PROMPT]), expected) < 1e-5
    assert ours.model.text.tokenize([PROMPT]).ids.shape == (1, 512)


MUTANTS = {
    "cosmos2_video2world": {
        "fps ignored in rotary time": lambda card: replace(card, dit=replace(card.dit, fps_modulation=False)),
        "posterior mean": lambda card: replace(card, pictures=replace(card.pictures, posterior="mean")),
        "official solver": lambda card: replace(card, sampling=replace(card.sampling, solver="ab2", schedule="karras")),
        "official grid": lambda card: replace(card, sampling=replace(card.sampling, schedule="karras")),
        "clean final evaluation": lambda card: replace(card, sampling=replace(card.sampling, final_step="denoise")),
        "conditional level": lambda card: replace(card, sampling=replace(card.sampling, sigma_conditional=1e-2)),
        "uncond form of guidance": lambda card: replace(card, sampling=replace(card.sampling, guidance_form="uncond")),
    },
    "cosmos1_video2world": {
        "one augment draw for all": lambda card: replace(card, sampling=replace(card.sampling, augment_noise="once")),
        "sigma_data 1": lambda card: replace(card, sampling=replace(card.sampling, sigma_data=1.0)),
    },
    "cosmos2_5_predict": {
        "timesteps cut": lambda card: replace(card, sampling=replace(card.sampling, truncate_timesteps=True)),
        "common timestep": lambda card: replace(card, sampling=replace(card.sampling, sigma_conditional=None)),
        "one evaluation more": lambda card: replace(card, sampling=replace(card.sampling, schedule="flow_karras")),
    },
}


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind in MUTANTS for name in MUTANTS[kind]])
def test_a_wrong_convention_is_seen(peers, kind, name):
    _, ours = peers(kind)
    case = next(case for case in CASES.values() if case.kind == kind and case.given > 1)
    shape = latent_shape(ours, case)
    wrong = run_ours(Pipeline(configured(ours.model, MUTANTS[kind][name](ours.card))), case, shape)
    # Above the tolerance of the comparison; the least is augment noise, which is 1e-3 of the latents.
    assert relative_error(wrong, run_ours(ours, case, shape)) > 3e-5


def test_official_conventions_are_the_default_and_differ(peers, tmp_path):
    case = CASES["cosmos2_video2world"]
    theirs, ours = peers(case.kind)
    official = load(tiny.save(theirs, tmp_path / "folder"), device="cpu", dtype="float32")
    assert official.card.conventions == "official" and official.card.sampling.solver == "ab2"
    shape = latent_shape(ours, case)
    any_length = configured(official.model, replace(official.card, any_length=True))
    assert relative_error(run_ours(Pipeline(any_length), case, shape), run_ours(ours, case, shape)) > 1e-2
    again = apply(official.model, "diffusers")
    assert torch.equal(run_ours(Pipeline(again), case, shape), run_ours(ours, case, shape))
    assert all(a is b for a, b in zip(again.dit.parameters(), official.model.dit.parameters(), strict=True))


def configured(model, card):
    dit = copy.copy(model.dit)
    dit.config = card.dit
    return replace(model, card=card, dit=dit)
