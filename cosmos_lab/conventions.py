"""Every convention on one page: what each system does, and `conventions="official"` or `"diffusers"`.

Official repositories and diffusers run the same weights differently, and an official release may have had a mistake,
which is mended here and kept under the name "historical". `with_conventions` turns a card to another way, `apply` a
loaded model, sharing its weights; `table` shows the page, value by value, with the test that fails when it is wrong.
diffusers' way is equal in float32; in bfloat16 the networks round where the official ones do.
"""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from cosmos_lab import catalog
from cosmos_lab.config import CONVENTIONS as NAMES
from cosmos_lab.config import Card, Sampling
from cosmos_lab.nn.wan_vae import WanVAEConfig
from cosmos_lab.runtime.checkpoints import Model
from cosmos_lab.tables import Table

# diffusers' default for every Cosmos pipeline, by the card's parametrization: network evaluations of one branch.
_DEFAULT_STEPS = {"edm": 36, "rectified_flow": 35, "flow": 36}


def with_conventions(card: Card, conventions: str) -> Card:
    """The card with the conventions "official" (as the catalog has it), "historical" or "diffusers".

    "historical" is Predict1's first release, which scaled the given latent frames, and Predict2's saver, which guesses
    the range of the decoded pixels. Raises ValueError for other names, for a card without that form (diffusers has no
    pipeline for Predict1's sampler and nano), and for going back.
    """
    if conventions not in NAMES:
        raise ValueError(f"conventions are one of {', '.join(NAMES)}, not {conventions!r}")
    if conventions == card.conventions:
        return card
    if card.conventions != "official":
        raise ValueError(f"{card.name} has {card.conventions} conventions already; load it again for others")
    return _historical(card) if conventions == "historical" else _diffusers(card)


def _historical(card: Card) -> Card:
    if card.sampling.condition == "state" and card.pictures.conditional_pixel_frames:
        return replace(card, conventions="historical", sampling=replace(card.sampling, legacy_replacement=True))
    if card.generation == "predict2":
        return replace(card, conventions="historical", pictures=replace(card.pictures, decoded="guessed"))
    raise ValueError(f"{card.name} has no historical form; Predict1's video2world and Predict2 have one")


def _diffusers(card: Card) -> Card:
    if card.generation == "nano" or card.sampling.condition == "state":
        raise ValueError(f"diffusers has no pipeline for {card.name}; it has them for cosmos1, predict2 and predict2.5")
    conditions = bool(card.pictures.conditional_pixel_frames)
    rectified = card.sampling.parametrization == "rectified_flow"
    return replace(
        card,
        conventions="diffusers",
        sampling=_sampling(card.sampling),
        # fps reaches the rotary embedding in every video pipeline but Predict2.5's; angles are always float32.
        dit=replace(
            card.dit, rope_dtype="float32", fps_modulation=card.dit.fps_modulation or (rectified and conditions)
        ),
        pictures=replace(
            card.pictures, resize=_resize(card), rounding="truncate",
            posterior="sample" if rectified and conditions else "mean",
        ),
        fps=30 if card.sampling.parametrization == "edm" else 16,
        negative_prompt=card.negative_prompt or catalog.card("predict2-2b-video2world-720p-16fps").negative_prompt,
        any_length=True,
    )  # fmt: skip


def apply(model: Model, conventions: str) -> Model:
    """The model with other conventions. The networks' weights are shared, nothing is copied."""
    card = with_conventions(model.card, conventions)
    if card is model.card:
        return model
    dit = copy.copy(model.dit)
    dit.config = card.dit
    return replace(model, card=card, dit=dit)


def _sampling(official: Sampling) -> Sampling:
    changed = {
        "unconditional": "text", "guidance": 7.0, "guidance_threshold": 1.0, "batch_guidance": False,
        "precision": "float32", "num_steps": _DEFAULT_STEPS[official.parametrization],
    }  # fmt: skip
    if official.parametrization == "flow":
        # Always the post-trained settings, whatever the checkpoint.
        changed |= {"schedule": "diffusers_flow_karras", "sigma_conditional": 0.1, "truncate_timesteps": False}
    else:
        changed |= {"schedule": "diffusers_karras", "solver": "euler", "final_step": "none", "augment_noise": "each"}
    return replace(official, **changed)


def _resize(card: Card) -> str:
    return "bilinear" if card.sampling.parametrization == "flow" else "lanczos"


@dataclass(frozen=True, kw_only=True)
class Convention:
    """One decision in which systems differ: how to read it off a card, and the test that holds it."""

    name: str
    of: Callable[[Card], object]
    test: str


def _levels(card: Card) -> str:
    return f"{card.sampling.schedule}, {card.sampling.sigma_max:g} to {card.sampling.sigma_min:g}"


def _solver(card: Card) -> str:
    s = card.sampling
    last = ", clean final evaluation" if s.final_step == "denoise" else ""
    low, high = s.churn_range
    return s.solver + last + (f", churn {s.churn:g} from {high:g} to {low:g}" if s.churn else "")


def _guidance(card: Card) -> str:
    s = card.sampling
    end = f", off below sigma {s.guidance_least_sigma:g}" if s.guidance_least_sigma else ""
    return f"cond + {s.guidance:g} (cond - uncond) on {s.guided}{end}"


def _threshold(card: Card) -> str:
    limit = card.sampling.guidance_threshold
    return f"off up to {limit:g}" if limit else "none"


def _unconditional(card: Card) -> str:
    meaning = {"zero": "zeros", "prompt": "the prompt itself", "text": "the encoded empty text"}
    return meaning[card.sampling.unconditional]


def _conditions(card: Card) -> str:
    if not card.pictures.conditional_pixel_frames:
        return "none"
    ways = {
        "replace": "clean latents at their own timestep, x0 replaced", "velocity": "clean latents, velocity replaced",
        "augment": f"latents with noise drawn {card.sampling.augment_noise}, x0 replaced",
        "state": "latents with noise, written into the state, output replaced"
        + (" with a wrong scale" if card.sampling.legacy_replacement else ""),
    }  # fmt: skip
    counts = " or ".join(map(str, card.pictures.conditional_pixel_frames))
    return f"last {counts} pixel frames: {ways[card.sampling.condition]}"


def _conditional_level(card: Card) -> str:
    level = card.sampling.sigma_conditional
    if not card.pictures.conditional_pixel_frames:
        return "-"
    if level is None:
        return "the common timestep"
    return f"timestep {level:g} of 1000" if card.sampling.condition == "velocity" else f"sigma {level:g}"


def _noise(card: Card) -> str:
    if card.conventions == "diffusers":
        return "torch generator"
    if card.sampling.noise == "keyed":
        return "keyed Philox"
    return "global generator (keyed here)" if card.sampling.condition == "state" else "RandomState(seed)"


def _initial(card: Card) -> str:
    s = card.sampling
    if s.parametrization == "flow":
        return "noise"
    return f"noise · sqrt({s.sigma_max:g}² + 1)" if s.schedule == "predict1_karras" else f"noise · {s.sigma_max:g}"


def _time(card: Card) -> str:
    return "index / fps · 24" if card.dit.fps_modulation else "index of the latent frame"


def _precision(card: Card) -> str:
    return {
        "float32": "all but the network in float32", "mixed": "state and guidance bfloat16, their sums float32",
        "network": "all but the state in bfloat16, the state in float64",
    }[card.sampling.precision]  # fmt: skip


def _branches(card: Card) -> str:
    return "one batch" if card.sampling.batch_guidance else "one after the other"


def _negative(card: Card) -> str:
    return f"{card.negative_prompt[:24]}…, {len(card.negative_prompt)} letters" if card.negative_prompt else "none"


def _release(card: Card) -> str:
    level = card.sampling.sigma_conditional
    if not card.pictures.conditional_pixel_frames or card.sampling.condition not in ("augment", "state"):
        return "never"
    return f"from sigma {level:g} down" + (", never reached" if card.sampling.sigma_min > level else "")


def _text(card: Card) -> str:
    padding = "padded with zero vectors" if card.text.kind == "t5" else "padded with encoded end marks"
    return f"{card.text.kind}, {card.text.num_tokens} tokens, {padding}, all attended to"


def _compression(card: Card) -> tuple[int, int, int]:
    return card.tokenizer.temporal_factor, card.tokenizer.spatial_factor, card.tokenizer.spatial_factor


def _values(card: Card) -> str:
    return "level / 128 - 1" if card.pictures.resize == "bicubic" else "level / 127.5 - 1"


def _alpha(card: Card) -> str:
    return {"white": "laid on white", "drop": "shown as if opaque"}[card.pictures.alpha]


def _upright(card: Card) -> str:
    # Turned in every convention: a photograph that stands upright everywhere else should not lie on its side here.
    as_here = card.generation == "nano" or card.conventions == "diffusers"
    return "turned as EXIF says" + ("" if as_here else ", officially not")


def _input_size(card: Card) -> str:
    if not card.pictures.conditional_pixel_frames:
        return "-"
    height, width = (patch * card.tokenizer.spatial_factor for patch in card.dit.patch[1:])
    fixed = ", officially 1280x704 alone" if card.sampling.condition == "state" else ""
    return f"multiples of {width}x{height}{fixed}"


def _decoded(card: Card) -> str:
    guess = "from 0 to 1 if none is below -0.5, else "
    return (guess if card.pictures.decoded == "guessed" else "") + "from -1 to 1"


def _timestep(card: Card) -> str:
    s = card.sampling
    if s.parametrization == "flow":
        return "1000 sigma cut to an integer, · 0.001" if s.truncate_timesteps else "sigma"
    return "ln(sigma) / 4" if s.parametrization == "edm" else "sigma / (1 + sigma)"


def _edit(card: Card) -> str:
    at_one = "noise alone" if card.sampling.full_edit == "noise" else "noise on the input"
    picture = ", pictures from 0 to 1" if card.pictures.edited == "unit" else ""
    return f"from step int(N (1 - strength)); at strength 1 {at_one}{picture}"


def _hand_over(card: Card) -> str:
    return {"pixels": "pixel frames", "files": "a JPEG, or H.264"}[card.pictures.hand_over]


def _statistics(card: Card) -> str:
    shared = isinstance(card.tokenizer, WanVAEConfig) or card.tokenizer.num_statistics == 1
    scale = f", times {card.sampling.sigma_data:g}" if card.sampling.sigma_data != 1 else ""
    return f"one per channel{'' if shared else ' and latent frame'}{scale}"


CONVENTIONS = tuple(Convention(name=name, of=of, test=f"tests/{test}") for name, of, test in (
    ("noise levels", _levels, "test_card_facts.py::test_noise_levels"),
    ("solver", _solver, "diffusion/test_solvers.py::test_ab2_equals_predict2_bit_for_bit"),
    ("steps", lambda c: c.sampling.num_steps,
     "parity/test_conventions.py::test_steps_count_evaluations_of_the_network"),
    ("initial noise", _noise, "test_card_facts.py::test_noise"),
    ("initial state", _initial, "parity/test_official_loops.py::test_predict1"),
    ("network predicts", lambda c: c.sampling.parametrization,
     "diffusion/test_parametrization.py::test_rectified_flow_equals_the_official_scaling_exactly"),
    ("precision in bfloat16", _precision, "parity/test_official_loops.py::test_rounding_elsewhere_is_seen"),
    ("timestep", _timestep, "diffusion/test_parametrization.py::test_flow_truncates_before_sigma_is_rounded"),
    ("guidance", _guidance, "parity/test_museum.py::test_museum_6_guidance_in_the_other_form"),
    ("branches of guidance", _branches, "diffusion/test_denoiser.py::test_one_batched_call_equals_two"),
    ("guidance threshold", _threshold,
     "parity/test_conventions.py::test_guidance_has_diffusers_threshold_and_officially_none"),
    ("default negative prompt", _negative, "parity/test_conventions.py::test_defaults_are_diffusers_own"),
    ("empty negative prompt", _unconditional,
     "parity/test_conventions.py::test_an_empty_negative_prompt_means_what_it_does_officially"),
    ("text encoder", _text, "parity/test_conventions.py::test_text_is_512_tokens_and_padding_is_attended_to"),
    ("conditional frames", _conditions,
     "parity/test_museum.py::test_museum_1_first_instead_of_last_pixel_frames_condition"),
    ("level of conditional frames", _conditional_level,
     "parity/test_museum.py::test_museum_3_given_and_noisy_latent_frames_have_one_sigma"),
    ("release of conditional frames", _release,
     "diffusion/test_solvers.py::test_predict1s_first_release_scales_the_given_latent_frames"),
    ("latents of conditional frames", lambda c: f"posterior {c.pictures.posterior}",
     "parity/test_pipelines.py::test_a_wrong_convention_is_seen"),
    ("rotary time", _time, "parity/test_museum.py::test_museum_5_time_is_in_seconds_although_trained_without"),
    ("rotary tables", lambda c: c.dit.rope_dtype, "test_card_facts.py::test_positions_and_noise_levels"),
    ("rotary ratio (t, h, w)", lambda c: tuple(round(r, 4) for r in c.dit.rope_ratio),
     "test_card_facts.py::test_network"),
    ("timestep and modulation dtype", lambda c: c.dit.timestep_dtype,
     "test_card_facts.py::test_positions_and_noise_levels"),
    ("learned positions", lambda c: "every block" if c.dit.learned_positions else "none",
     "nn/test_dit_golden.py::test_mutant_learned_positions_left_out"),
    ("latent statistics", _statistics, "nn/test_wavelet_vae.py::test_statistics_and_chunks_equal_the_official_wrapper"),
    ("compression (t, h, w)", _compression, "parity/test_conventions.py::test_tokenizers_compress_as_the_page_says"),
    ("resize of given pictures", lambda c: c.pictures.resize, "test_card_facts.py::test_pictures"),
    ("values of given pictures", _values, "test_video.py::test_network_values_of_every_level_are_official"),
    ("transparent pictures", _alpha, "test_card_facts.py::test_pictures"),
    ("pictures held upright", _upright, "test_video.py::test_exif_turns_the_picture"),
    ("size of a continued clip", _input_size,
     "parity/test_conventions.py::test_predict1_continues_at_every_size_that_it_can_make"),
    ("range of decoded pixels", _decoded, "test_video.py::test_predict2s_saver_guesses_the_range"),
    ("pixels to 8 bits", lambda c: c.pictures.rounding, "test_card_facts.py::test_pictures"),
    ("edit (SDEdit)", _edit, "pipelines/test_edit.py::test_official_cards_start_from_the_official_state"),
    ("between chunks of a long video", _hand_over,
     "pipelines/test_long.py::test_officially_files_stand_between_chunks"),
    ("default fps", lambda c: f"{c.fps:g}", "test_catalog.py::test_defaults_are_the_generations_own"),
    ("default seed", lambda c: c.sampling.seed, "test_catalog.py::test_defaults_are_the_generations_own"),
))  # fmt: skip

DIFFUSERS = (
    "cosmos1-7b-video2world",
    "predict2-2b-text2image",
    "predict2-2b-video2world-720p-16fps",
    "predict2.5-2b-post-trained",
)
HISTORICAL = ("predict1-7b-video2world", "predict2-2b-video2world-720p-16fps")
SYSTEMS = (*DIFFUSERS, "predict2.5-2b-pre-trained", "predict1-7b-video2world", "nano")


def table(*about: str, systems: Sequence[str] | None = None) -> Table:
    """The page: a row for each convention, a column for each system, official and diffusers', and its test.

    `about` names the rows that are wanted, `systems` the cards as the catalog has them; all by default. Raises
    ValueError, listing the names there are, for a convention that the page has not.
    """
    known = [convention.name for convention in CONVENTIONS]
    if unknown := set(about) - set(known):
        raise ValueError(f"no convention {', '.join(sorted(unknown))}; there are: {', '.join(known)}")
    cards = [catalog.card(name) for name in systems or SYSTEMS]
    if systems is None:
        cards += [with_conventions(catalog.card(name), "diffusers") for name in DIFFUSERS]
        cards += [with_conventions(catalog.card(name), "historical") for name in HISTORICAL]
    ways = {"official": "", "diffusers": " in diffusers", "historical": ", historical"}
    names = [card.name + ways[card.conventions] for card in cards]
    wanted = [convention for convention in CONVENTIONS if not about or convention.name in about]
    rows = tuple((c.name, *(str(c.of(card)) for card in cards), c.test) for c in wanted)
    return Table(("convention", *names, "fails when wrong"), rows)
