"""What a card of full size costs on this machine, by stage, before its weights are here: networks of random weights.

The loop is the one that a generation runs, from noise to pixel frames in host memory; only the text encoder is left
away (random embeddings of the right shape). Speed and memory do not depend on what the weights are.
"""

import gc
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from statistics import median
from time import perf_counter

import numpy as np
import torch

from cosmos_lab import __version__, catalog
from cosmos_lab.config import Card
from cosmos_lab.diffusion.solvers import Step
from cosmos_lab.nn.attention import chosen_kernel
from cosmos_lab.pipelines import assembly
from cosmos_lab.pipelines.benchmark import machine
from cosmos_lab.pipelines.call import Call, Start
from cosmos_lab.pipelines.generate import Pipeline
from cosmos_lab.pipelines.generation import Timing
from cosmos_lab.runtime.random_weights import random_model

# Cheap ones first, so that a budget of time that ends early has most of them.
FULL_SIZE = (
    "predict2-2b-video2world-480p-16fps", "predict2-2b-video2world-720p-16fps", "predict2.5-2b-post-trained",
    "predict2-14b-video2world-480p-16fps", "predict1-7b-video2world", "predict2-14b-video2world-720p-16fps",
)  # fmt: skip
FEW_STEPS = 4
SHORT = "decode of the first third"
# Of the time that is left, the part that may be planned for the loop: the rest is for decoding and for surprises.
PLANNED = 0.85


@dataclass(frozen=True, kw_only=True)
class Workload:
    """What is generated. None takes the card's value; `extrapolate_to` is the number of steps that is asked about."""

    num_steps: int | None = None
    extrapolate_to: int | None = None
    num_pixel_frames: int | None = None
    num_conditional_frames: int | None = None
    resolution: str | tuple[int, int] | None = None


@dataclass(frozen=True, kw_only=True)
class StageCost:
    """Seconds, and the peak of GPU memory with the weights and over them, in GB of 10^9 bytes (None on a CPU)."""

    seconds: float
    peak_gb: float | None
    over_weights_gb: float | None


@dataclass(frozen=True, kw_only=True)
class FullSizeCost:
    """One measured clip. `stages` are build, encode, denoise and decode.

    short_decode          of the first third of the latent frames (29 of 93 pixel frames): its peak should be the same
    evaluations           of the denoiser, each a network call for each branch of guidance
    evaluation_seconds    of each one in turn, after one that does not count
    extrapolated          None, or what `num_steps` steps would take by the median evaluation: said to be no measurement
    sound                 all latents finite, and as many pixel frames of the size that was asked for
    """

    model: str
    machine: str
    versions: dict[str, str]
    dtype: str
    attention: str
    parameters: dict[str, int]
    weights_gb: float | None
    height: int
    width: int
    num_pixel_frames: int
    num_conditional_frames: int
    num_tokens: int
    guidance: float
    num_steps: int
    evaluations: int
    evaluation_seconds: list[float]
    stages: dict[str, StageCost]
    short_decode: StageCost
    extrapolated: dict[str, float | int | str] | None = None
    sound: bool = True
    command: str = field(default="", repr=False)

    @property
    def clip_seconds(self) -> float:
        """From noise to pixel frames, as measured or, where the loop was cut short, as extrapolated."""
        measured = sum(cost.seconds for name, cost in self.stages.items() if name != "build")
        return self.extrapolated["clip_seconds"] if self.extrapolated else measured

    def to_json(self) -> dict[str, object]:
        return asdict(self) | {"clip_seconds": self.clip_seconds}


class Meter:
    """Seconds and peak memory of stages on one device."""

    def __init__(self, device: torch.device):
        self.device, self.weights, self.stages = device, 0, {}
        self.gpu = device.type == "cuda"

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        self.now()
        if self.gpu:
            torch.cuda.reset_peak_memory_stats(self.device)
        begin = perf_counter()
        yield
        seconds = self.now() - begin
        if name == "build" and self.gpu:
            self.weights = torch.cuda.memory_allocated(self.device)
        peak = torch.cuda.max_memory_allocated(self.device) if self.gpu else None
        self.stages[name] = StageCost(
            seconds=seconds, peak_gb=peak / 1e9 if self.gpu else None,
            over_weights_gb=(peak - self.weights) / 1e9 if self.gpu else None,
        )  # fmt: skip

    def now(self) -> float:
        """The clock, once the device has done what it was given."""
        if self.gpu:
            torch.cuda.synchronize(self.device)
        return perf_counter()


def measure(
    card: Card,
    workload: Workload | None = None,
    *,
    device: str | torch.device = "cuda",
    dtype: torch.dtype = torch.bfloat16,
    seconds: float = float("inf"),
    command: str = "",
) -> FullSizeCost:
    """Build the card with random weights, generate one clip and decode it.

    Where the whole loop does not fit into `seconds`, it has four steps, and the whole is extrapolated. Raises
    ValueError for what the card cannot do, and RuntimeError where memory is too small.
    """
    workload, begin, meter = workload or Workload(), perf_counter(), Meter(torch.device(device))
    with meter.stage("build"):
        pipe = Pipeline(random_model(replace(card, any_length=True), device=device, dtype=dtype))
    call = _call(pipe, workload, workload.num_steps)
    asked = workload.extrapolate_to or call.settings.num_steps
    left = PLANNED * (seconds - (perf_counter() - begin))
    if not _fits(pipe, call, meter, left) and call.settings.num_steps > FEW_STEPS:
        call = _call(pipe, workload, FEW_STEPS)
    evaluations, sound = _generate(pipe, call, meter)
    settings, networks = call.settings, {"dit": pipe.model.dit, "vae": pipe.model.vae}
    tokens = card.num_tokens(settings.num_pixel_frames, settings.height, settings.width)
    return FullSizeCost(
        model=card.name, machine=machine(meter.device), versions=_versions(meter.device),
        dtype=str(dtype).removeprefix("torch."), attention=_kernel(pipe, tokens),
        parameters={name: sum(p.numel() for p in net.parameters()) for name, net in networks.items()},
        weights_gb=meter.weights / 1e9 if meter.gpu else None, height=settings.height, width=settings.width,
        num_pixel_frames=settings.num_pixel_frames, num_conditional_frames=settings.num_conditional_frames,
        num_tokens=tokens, guidance=settings.guidance, num_steps=settings.num_steps, evaluations=len(evaluations),
        evaluation_seconds=evaluations, short_decode=meter.stages.pop(SHORT), stages=meter.stages, sound=sound,
        command=command,
        extrapolated=_extrapolated(card, evaluations, meter.stages, asked) if asked > settings.num_steps else None,
    )  # fmt: skip


def measure_all(
    names: Iterable[str] = FULL_SIZE,
    workload: Workload | None = None,
    *,
    budget_seconds: float = float("inf"),
    done: Callable[[str, dict[str, object]], None],
    measure_one: Callable[..., FullSizeCost] = measure,
    **options: object,
) -> dict[str, str]:
    """Measure one card after another; what fails is told and the next one begins. Returns the failures by name.

    Every card has an equal share of the seconds that are left. `done` is called with each name and its JSON values.
    """
    names, begin, failures = list(names), perf_counter(), {}
    for position, name in enumerate(names):
        left = budget_seconds - (perf_counter() - begin)
        try:
            if left <= 0:
                raise RuntimeError(f"not begun: the {budget_seconds:g} seconds were over")
            share = left / (len(names) - position)
            found = measure_one(catalog.card(name), workload, seconds=share, **options).to_json()
        except (RuntimeError, ValueError, OSError, MemoryError) as error:
            failures[name] = next(iter(str(error).splitlines()), type(error).__name__)
            found = {"model": name, "error": failures[name]}
        done(name, found)
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
    return failures


def _call(pipe: Pipeline, workload: Workload, num_steps: int | None) -> Call:
    """One clip: random embeddings, and random pixel frames where the card continues some."""
    card, given = pipe.card, workload.num_conditional_frames
    given = min(card.pictures.conditional_pixel_frames, default=0) if given is None else given
    height, width = card.size_of(workload.resolution)
    pixels = np.random.default_rng(0).integers(0, 256, (max(given, 1), height, width, 3), dtype=np.uint8)
    generator = torch.Generator(pipe.device).manual_seed(0)
    shape = (2, 1, card.text.num_tokens, card.dit.text_projection or card.dit.text_width)
    text, negative = torch.randn(shape, generator=generator, device=pipe.device, dtype=pipe.dtype)
    return pipe.call(
        "video2world" if given else card.tasks[0], "", given=pixels if given else None, num_conditional_frames=given,
        num_steps=num_steps, num_pixel_frames=workload.num_pixel_frames, resolution=(height, width),
        prompt_embeds=text, negative_prompt_embeds=negative,
    )  # fmt: skip


def _walk(pipe: Pipeline, start: Start) -> Iterator[Step]:
    return assembly.walk(pipe.card.sampling, start.denoiser, start.x, start.sigmas)


@torch.no_grad()
def _fits(pipe: Pipeline, call: Call, meter: Meter, seconds: float) -> bool:
    """Whether the loop takes less than `seconds`, by its first evaluation or, as that one loads libraries, its next."""
    steps, count = _walk(pipe, pipe.start(call, Timing())), num_evaluations(pipe.card, call.settings.num_steps)
    for _ in range(min(2, count)):
        before = meter.now()
        next(steps)
        if (meter.now() - before) * count <= seconds:
            return True
    return False


@torch.no_grad()
def _generate(pipe: Pipeline, call: Call, meter: Meter) -> tuple[list[float], bool]:
    """Seconds of each evaluation, and whether latents and pixel frames are as they should be."""
    with meter.stage("encode"):
        start = pipe.start(call, Timing())
    evaluations, settings = [], call.settings
    with meter.stage("denoise"):
        before = meter.now()
        for step in _walk(pipe, start):
            latents = step.x0
            evaluations.append(meter.now() - before)
            before += evaluations[-1]
    with meter.stage(SHORT):
        pipe.decode(latents[:, :, : -(-latents.shape[2] // 3)])
    with meter.stage("decode"):
        frames = pipe.decode(latents)
    whole = frames.shape == (settings.num_pixel_frames, settings.height, settings.width, 3)
    return evaluations[: num_evaluations(pipe.card, settings.num_steps)], whole and bool(latents.isfinite().all())


def num_evaluations(card: Card, num_steps: int) -> int:
    """How often `num_steps` steps of the card's solver evaluate the denoiser."""
    clean = card.sampling.solver != "unipc" and card.sampling.final_step == "denoise"
    return len(assembly.sigmas(card.sampling, num_steps)) - 1 + clean


def _extrapolated(
    card: Card, evaluations: list[float], stages: dict[str, StageCost], num_steps: int
) -> dict[str, float | int | str]:
    count, one = num_evaluations(card, num_steps), median(evaluations)
    others = sum(cost.seconds for name, cost in stages.items() if name not in ("build", "denoise"))
    return {
        "num_steps": num_steps, "evaluations": count, "denoise_seconds": count * one,
        "clip_seconds": count * one + others,
        "note": f"extrapolated, not measured: {count} evaluations at the median of the {len(evaluations)} measured",
    }  # fmt: skip


def _kernel(pipe: Pipeline, num_tokens: int) -> str:
    """The attention kernel of the transformer's self-attention; one head tells as much as all."""
    one = torch.empty(1, num_tokens, 1, pipe.card.dit.head_dim, device=pipe.device, dtype=pipe.dtype)
    return chosen_kernel(one, one, one)


def _versions(device: torch.device) -> dict[str, str]:
    found = {"cosmos_lab": __version__, "torch": torch.__version__}
    if device.type == "cuda":
        found |= {"cuda": str(torch.version.cuda), "cudnn": str(torch.backends.cudnn.version())}
    return found
