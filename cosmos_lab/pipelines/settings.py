"""What a generation was asked for: checked once, at the door, and kept in its provenance."""

from dataclasses import asdict, dataclass
from math import inf
from sys import float_info
from typing import Literal, TypedDict

from torch import Tensor

from cosmos_lab.config import Card
from cosmos_lab.noise import Noise

MOST_STEPS, MOST_FPS, MOST_DRAWS, MOST_TRIES = 10_000, 1_000, 1_000, 1_000
EXAMPLE = "a red ball rolls across a wooden floor"


class Options(TypedDict, total=False):
    """The keyword arguments that all tasks share. What is None or absent takes the card's value.

    guidance          how far to push away from the negative prompt, in the card's form; 0 is none
    num_pixel_frames  length of the clip, the given pixel frames included
    resolution        a label of the card, "height,width" or (height, width), in pixels
    fps               pixel frames a second of the clip
    tries             how often a clip may be made until the critic finds that it shows the prompt; 1 leaves the critic
                      out
    guardrail, refine False switches the check and the rewriting of the prompt off, and provenance says so
    conventions       "official" or "diffusers": whose way of sampling (`cosmos_lab.conventions`); None as loaded
    noise             a source (`cosmos_lab.noise`), or unit-variance noise `(1, C, T, h, w)`, instead of the seed's;
                      with it there is a single try
    prompt_embeds     `(1, N, D)` instead of the prompt's, for a single try; likewise `negative_prompt_embeds`
    output            "latents" leaves the pixels away
    progress          show a bar
    """

    negative_prompt: str | None
    guidance: float | None
    num_steps: int | None
    seed: int | None
    num_pixel_frames: int | None
    resolution: str | tuple[int, int] | None
    aspect_ratio: str | None
    fps: float | None
    tries: int | None
    guardrail: bool
    refine: bool
    conventions: Literal["official", "diffusers"] | None
    noise: Noise | Tensor | None
    prompt_embeds: Tensor | None
    negative_prompt_embeds: Tensor | None
    output: Literal["pixels", "latents"]
    progress: bool


@dataclass(frozen=True, kw_only=True)
class Settings:
    """All that decides a clip beside the weights, the input and the machine. Every value is resolved: no defaults left.

    `guardrail` and `refiner` say what became of the checks of prompt and clip and of the rewriting of the prompt:
    NOT_CHECKED and NOT_REFINED where there is no such part, DISABLED where the user switched it off.
    The strengths, `source_prompt` and `num_draws` belong to edits. In a long video a chunk is generated with
    `num_pixel_frames`, of which `chunk_size` count and `chunk_overlap` come from the chunk before; `num_output_frames`
    are shown in all, and `num_conditional_frames` is the first chunk's. Elsewhere these are None.
    `tries` above 1 is how often a clip may be made, for a critic to choose from; 1: it is made once and not judged.
    """

    task: str
    prompt: str
    negative_prompt: str
    guidance: float
    guidance_form: str
    num_steps: int
    seed: int
    num_pixel_frames: int
    num_conditional_frames: int
    height: int
    width: int
    fps: float
    guardrail: str = "NOT_CHECKED"
    refiner: str = "NOT_REFINED"
    tries: int = 1
    strength: float | None = None
    image_strength: float | None = None
    source_prompt: str | None = None
    num_draws: int | None = None
    num_chunks: int | None = None
    chunk_size: int | None = None
    chunk_overlap: int | None = None
    num_output_frames: int | None = None


def described(settings: Settings) -> dict[str, object]:
    """Settings as provenance keeps them: without those that do not apply."""
    values = {name: value for name, value in asdict(settings).items() if value is not None}
    if settings.tries == 1:
        del values["tries"]
    return values


def by_hand(options: Options) -> dict[str, Noise | Tensor]:
    """Noise and embeddings among the options."""
    names = ("noise", "prompt_embeds", "negative_prompt_embeds")
    return {name: options[name] for name in names if options.get(name) is not None}


def resolve(card: Card, task: str, prompt: str, *, num_conditional_frames: int, options: Options) -> Settings:
    """Fill what is None or absent from the card and check all of it. Raises ValueError naming the fix."""
    _check_names(card, task, options)

    def value(name: str, default: object) -> object:
        return default if options.get(name) is None else options[name]

    height, width = card.size_of(options.get("resolution"), options.get("aspect_ratio"))
    given = card.check_conditional(num_conditional_frames)
    if task == "text2image" and options.get("num_pixel_frames") not in (None, 1):
        raise ValueError(f"a picture is 1 pixel frame, not {options['num_pixel_frames']}; text2world makes a clip")
    length = card.check_pixel_frames(1 if task == "text2image" else options.get("num_pixel_frames"))
    if given >= length:
        raise ValueError(f"{given} given pixel frames leave nothing to generate of {length}; ask for more pixel frames")
    return Settings(
        task=task,
        prompt=_prompt(prompt, has_embeddings=options.get("prompt_embeds") is not None),
        negative_prompt=_text("the negative prompt", value("negative_prompt", card.negative_prompt)),
        guidance=_number("guidance", value("guidance", card.sampling.guidance), least=0),
        guidance_form=card.sampling.guidance_form,
        num_steps=whole_number("num_steps", value("num_steps", card.sampling.num_steps), least=1, most=MOST_STEPS),
        seed=whole_number("seed", value("seed", card.sampling.seed), least=0),
        num_pixel_frames=length, num_conditional_frames=given, height=height, width=width,
        fps=_number("fps", value("fps", card.fps), least=1, most=MOST_FPS),
        guardrail="NOT_CHECKED" if options.get("guardrail", True) else "DISABLED",
        refiner="NOT_REFINED" if options.get("refine", True) else "DISABLED",
        tries=_tries(card, task, given, options),
    )  # fmt: skip


def once(options: Options, why: str) -> Options:
    """The options of what is made once. Raises ValueError, saying `why` that is, where more tries are asked for."""
    _check_once(options, why)
    return {**options, "tries": 1}


def _check_once(options: Options, why: str) -> None:
    asked = options.get("tries")
    if asked is not None and whole_number("tries", asked, least=1, most=MOST_TRIES) > 1:
        raise ValueError(f"{why}: leave tries away")


def _tries(card: Card, task: str, given: int, options: Options) -> int:
    """How often a clip of a task that continues `given` pixel frames may be made."""
    why = ""
    if card.critic is None:
        why = f"{card.name} has no critic to choose among several tries"
    elif task not in ("text2image", "text2world") or given:
        why = "what continues given pixel frames is made once"
    elif options.get("noise") is not None or options.get("prompt_embeds") is not None:
        why = "with noise or prompt_embeds given by hand there is nothing to try again or to compare with"
    elif card.sampling.noise != "keyed":
        why = f"the {card.sampling.noise} noise of a seed is a single one"
    if why:
        _check_once(options, why)
        return 1
    asked = options.get("tries")
    return whole_number("tries", card.sampling.tries if asked is None else asked, least=1, most=MOST_TRIES)


def _check_names(card: Card, task: str, options: Options) -> None:
    if task not in card.tasks:
        raise ValueError(f"{card.name} does not do {task}; it does {', '.join(card.tasks)}")
    unknown = sorted(set(options) - set(Options.__annotations__))
    if unknown:
        raise TypeError(f"unknown keyword arguments {', '.join(unknown)}; known: {', '.join(Options.__annotations__)}")
    if options.get("output", "pixels") not in ("pixels", "latents"):
        raise ValueError(f"output is 'pixels' or 'latents', not {options['output']!r}")


def _prompt(prompt: str, has_embeddings: bool) -> str:
    if not _text("the prompt", prompt).strip() and not has_embeddings:
        raise ValueError(f"the prompt is empty; say what should happen, for example: {EXAMPLE}")
    return prompt


def _text(name: str, value: str) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{name} is a text, not {type(value).__name__}")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"{name} holds half a character, {value[error.start]!r}; write the whole one") from error
    return value


def _number(name: str, value: float, *, least: float, most: float = float_info.max) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
        raise ValueError(f"{name} is a number from {least} on{_end(most)}, not {value!r}")
    return float(value)


def whole_number(name: str, value: object, *, least: int, most: float = inf) -> int:
    """The value itself. Raises ValueError, naming it, where it is no whole number from `least` to `most`."""
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise ValueError(f"{name} is a whole number from {least} on{_end(most)}, not {value!r}")
    return value


def _end(most: float) -> str:
    return "" if most >= float_info.max else f" and at most {most}"
