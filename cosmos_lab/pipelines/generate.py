"""Text, image or clip in, world out. Data flows one way:

prompt -> text embedding;  given pixel frames -> given latents;  noise -> solver steps -> latents -> pixel frames.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

import numpy as np
import torch
from torch import Tensor

from cosmos_lab.conventions import apply
from cosmos_lab.diffusion.denoiser import make_denoiser
from cosmos_lab.diffusion.solvers import Step
from cosmos_lab.pipelines import assembly, encoding
from cosmos_lab.pipelines.call import Call, Start
from cosmos_lab.pipelines.generation import Generation, Timing
from cosmos_lab.pipelines.memory import enough_memory
from cosmos_lab.pipelines.painter import Painter, painted
from cosmos_lab.pipelines.provenance import describe, loading_to_json, place
from cosmos_lab.pipelines.settings import Options, by_hand, once, resolve
from cosmos_lab.pipelines.source import Source
from cosmos_lab.runtime.checkpoints import Model
from cosmos_lab.runtime.decoding import decode_frames
from cosmos_lab.runtime.graphs import quick
from cosmos_lab.runtime.loading import load_any
from cosmos_lab.runtime.matching import check_device
from cosmos_lab.runtime.official import Lora
from cosmos_lab.selection.critic import Critic
from cosmos_lab.selection.tries import best_of_tries

if TYPE_CHECKING:
    from cosmos_lab.pipelines.long import LongCall


class Pipeline:
    """A loaded world model. It keeps nothing of a call: an interrupted one leaves it as it was.

    The keyword arguments that all tasks share are those of `Options`. Every task raises ValueError, naming the fix,
    for what the model cannot do, and FileNotFoundError for an input that is not there.
    """

    def __init__(
        self, model: Model, name: str | None = None, *, open_first_frame: "Callable[[], Pipeline] | None" = None,
        loaded: Mapping[str, object] | None = None,
    ):  # fmt: skip
        """`name` is what `load` finds the model by; its card's name where there is none.

        `open_first_frame` loads the model that paints the first pixel frame of text2world, where the card names one: a
        `painter.Painter`, as a rule. `loaded` are the options with which `load` found the weights, as JSON values.
        """
        self.loaded = dict(loaded or {})
        self.open_first_frame = open_first_frame
        self.model, self.card, self.name = model, model.card, name or model.card.name
        self.device, self.dtype = next(model.dit.parameters()).device, model.dit.dtype
        self.network = quick(model.dit)

    @property
    def tokenizer_dtype(self) -> torch.dtype:
        """What the tokenizer computes in: officially the transformer's dtype, in nano always float32."""
        return next(self.model.vae.parameters()).dtype

    def __repr__(self) -> str:
        return f"Pipeline({self.name}: {', '.join(self.card.tasks)}; {self.device}, {self.dtype})"

    def text2image(self, prompt: str, **options: Unpack[Options]) -> Generation:
        """One picture of what the prompt says, as `text2world`."""
        return self._make("text2image", prompt, **options)

    def text2world(self, prompt: str, **options: Unpack[Options]) -> Generation:
        """A clip of what the prompt says. Where the card names a painter of the first pixel frame, that one begins.

        Where the model has a critic and it finds fault, the clip is made again, up to `tries` times; the best is kept.
        """
        return self._make("text2world", prompt, **options)

    def image2world(
        self, image: object, prompt: str, *, num_conditional_frames: int = 1, **options: Unpack[Options]
    ) -> Generation:
        """A clip that begins with an image: a path, a PIL image, uint8 `(H, W, 3)`, or a clip, whose end counts."""
        return self._make("image2world", prompt, given=image, num_conditional_frames=num_conditional_frames, **options)

    def video2world(
        self, clip: object, prompt: str, *, num_conditional_frames: int | None = None, **options: Unpack[Options]
    ) -> Generation:
        """A clip that begins with the LAST pixel frames of another: a path, uint8 `(T, H, W, 3)` or a Generation.

        No number of conditional pixel frames means the most that the model knows (5 in Predict2 and nano).
        """
        most = max(self.card.pictures.conditional_pixel_frames, default=0)
        count = most if num_conditional_frames is None else num_conditional_frames
        return self._make("video2world", prompt, given=clip, num_conditional_frames=count, **options)

    def denoise(
        self, prompt: str, *, given: object = None, num_conditional_frames: int = 0, **options: Unpack[Options]
    ) -> Iterator[Step]:
        """The trajectory, step by step: `step.sigma`, the state `step.x` and the clean latents `step.x0` seen in it.

        With `given` and a number of conditional pixel frames it continues them, as image2world and video2world do.
        The x0 of the last step is the sample; `decode` makes pixel frames of any x0. It is that of a single try, as
        with `tries=1`: of a clip that was made again it is not the trajectory.
        """
        options = once(options, "a trajectory is that of a single try")
        task = "text2world" if num_conditional_frames == 0 else "video2world"
        call = self.call(task, prompt, given=given, num_conditional_frames=num_conditional_frames, **options)
        return self.under(call.conventions)._trajectory(call)

    def under(self, conventions: str | None) -> "Pipeline":
        """This pipeline with other conventions and the same weights; itself where they are its own, or None."""
        if conventions in (None, self.card.conventions):
            return self
        model = apply(self.model, conventions)
        return Pipeline(model, self.name, open_first_frame=self.open_first_frame, loaded=self.loaded)

    def call(
        self, task: str, prompt: str, *, given: object = None, num_conditional_frames: int | None = None,
        **options: Unpack[Options],
    ) -> Call:  # fmt: skip
        """Check everything and read the input, but generate nothing yet.

        No number of conditional pixel frames means none, or the one that text2world has painted first.
        """
        card = self.under(options.get("conventions")).card
        if num_conditional_frames is None:
            num_conditional_frames = int(task == "text2world" and card.first_frame is not None)
        settings = resolve(card, task, prompt, num_conditional_frames=num_conditional_frames, options=options)
        if settings.tries > 1:
            self.critic()
        source = None
        if task in ("image2world", "video2world"):
            if num_conditional_frames == 0:
                raise ValueError(f"{task} continues at least 1 pixel frame; for none, use text2world")
            source = Source.of(given, num_conditional_frames=num_conditional_frames, alpha=card.pictures.alpha)
        return Call(
            settings=settings, conventions=card.conventions, source=source, replacing=by_hand(options),
            output=options.get("output", "pixels"),
        )  # fmt: skip

    def generate(self, call: Call, *, progress: bool = True) -> Generation:
        """Run a call from beginning to end. Raises OutOfMemory, a MemoryError, where the GPU is too small for it."""
        with enough_memory(call.size):
            return self.under(call.conventions)._run(call, progress)

    def _make(self, task: str, prompt: str, **arguments: object) -> Generation:
        return self.generate(self.call(task, prompt, **arguments), progress=arguments.get("progress", True))

    @torch.no_grad()
    def _run(self, call: Call, progress: bool) -> Generation:
        timing = Timing()
        call = painted(self, call, progress=progress)
        start = self.start(call, timing)

        def make(sample: int, _: object) -> Tensor:
            begin = self.start(call, timing, sample=sample) if sample else start
            name = f"{call.settings.task}, try {sample + 1}" if sample else call.settings.task
            with timing.stage("denoise"):
                return self._walked(begin, name, progress)

        def judge(latents: Tensor, _: object) -> Tensor:
            with timing.stage("judge"):
                # On the CPU, so that the GPU's work is counted here.
                return self.odds(latents, [call.settings.prompt]).cpu()

        (best,) = best_of_tries(make, judge, tries=call.settings.tries, accept=self.card.sampling.accept)
        frames = None
        if call.output == "pixels":
            with timing.stage("decode"):
                unchanged = start.first_step is None
                frames = call.edit.pixels(self.card, call.settings) if unchanged else self.decode(best.latents)
        return Generation(
            frames=frames, latents=best.latents.float().cpu(), fps=call.settings.fps, timing=timing,
            provenance=self.provenance(call), call=call, odds=best.odds,
        )  # fmt: skip

    def _walked(self, start: Start, name: str, progress: bool) -> Tensor:
        """The sample: the x0 of the last step, or the state itself where there is none."""
        from tqdm.auto import tqdm

        latents, total = start.x, len(start.sigmas) - (start.first_step or 0)
        for step in tqdm(self._steps(start), total=total, desc=name, disable=not progress, leave=False):
            latents = step.x0
        return latents

    @torch.no_grad()
    def odds(self, latents: Tensor, prompts: Sequence[str]) -> Tensor:
        """The critic's odds (B,), 0 to 1, that latents `(B, C, T', h, w)` show their prompts. Raises ValueError where
        the model has no critic."""
        critic, text = self.critic(), self.model.text.encode(list(prompts))
        return critic(latents.to(self.device).float() / self.card.sampling.sigma_data, text.to(self.device)).sigmoid()

    def critic(self) -> Critic:
        """The model's critic. Raises ValueError where it has none."""
        if self.model.critic is None:
            raise ValueError(f"{self.name} has no critic; generate with tries=1, or load a model that has one")
        return self.model.critic

    @torch.no_grad()
    def decode(self, latents: Tensor) -> np.ndarray:
        """Latents `(1, C, T', h, w)` to pixel frames, uint8 `(T, H, W, 3)`."""
        # Predict1's state, and so its sample, has the network's dtype; the others decode float32.
        dtype = self.dtype if self.card.sampling.precision == "mixed" else torch.float32
        latents, rules = latents.to(self.device, dtype) / self.card.sampling.sigma_data, self.card.pictures
        return decode_frames(self.model.vae, latents, rounding=rules.rounding, decoded=rules.decoded)

    @torch.no_grad()
    def start(self, call: Call, timing: Timing, *, sample: int = 0) -> Start:
        """Everything before the first step: text, given latents, noise, of which a seed has as many as samples."""
        settings, sampling = call.settings, self.card.sampling
        with timing.stage("text"):
            prompt = call.replacing.get("prompt_embeds", settings.prompt)
            text, negative = encoding.embeddings(self, call, prompt)
        with timing.stage("encode"):
            given, num_given = encoding.given_latents(self, call)
        noise = call.replacing.get("noise", assembly.noise_source(sampling, settings.seed, sample))
        initial = noise if isinstance(noise, Tensor) else noise(given.shape, purpose="initial")
        source = encoding.noise_source(self, call, sample)
        if initial.shape != given.shape:
            raise ValueError(f"noise for this clip is {tuple(given.shape)}, not {tuple(initial.shape)}")
        initial = initial.to(self.device, torch.float32)
        grid = assembly.sigmas(sampling, settings.num_steps)
        denoiser = make_denoiser(
            self.network, assembly.parametrization(sampling), text=text, negative=negative,
            guidance=assembly.guidance(sampling, settings.guidance, settings.guidance_form),
            condition=assembly.condition(
                sampling, given, num_given, noise=source, initial=initial, grid=grid, dtype=self.dtype
            ),
            fps=torch.tensor([settings.fps]) if self.card.dit.fps_modulation else None,
            batch_guidance=sampling.batch_guidance, guided=sampling.guided, precision=sampling.precision,
            dtype=self.dtype,
        )  # fmt: skip
        start = Start(
            denoiser=denoiser, x=assembly.initial_state(sampling, initial, self.dtype), sigmas=grid,
            churn=assembly.churn(sampling, initial.shape, [source]),
        )  # fmt: skip
        if call.edit is None:
            return start
        with timing.stage("encode"):
            return call.edit.begin(self, call, start, initial=initial, noise=source)

    def _trajectory(self, call: Call) -> Iterator[Step]:
        with enough_memory(call.size):
            yield from self._steps(self.start(call, Timing()))

    def _steps(self, start: Start) -> Iterator[Step]:
        """The solver's steps. Gradients are off around each step only, not around the code between them."""
        if start.first_step is None:
            return
        steps = assembly.walk(
            self.card.sampling, start.denoiser, start.x, start.sigmas, start=start.first_step, churn=start.churn
        )  # fmt: skip
        while True:
            with torch.no_grad():
                step = next(steps, None)
            if step is None:
                return
            yield step

    def provenance(self, call: "Call | LongCall") -> dict[str, object]:
        """What makes the clip, as JSON values, before or after it is made."""
        return describe(self, call)


def load(
    name: str | Path = "nano",
    *,
    checkpoints: str | Path | None = None,
    device: str | torch.device | None = None,
    dtype: str | torch.dtype | None = None,
    text_dtype: torch.dtype | None = None,
    conventions: str = "official",
    dit_path: str | Path | None = None,
    ema: bool = False,
    lora: Lora | None = None,
    text_encoder: bool = True,
    like: str | None = None,
    attention: str = "auto",
) -> Pipeline:
    """Load a model by its card's name, from a folder of `runtime.checkpoints.save_model` or in diffusers' layout.

    checkpoints: the root of the official files, "checkpoints" by default. conventions: see `cosmos_lab.conventions`.
    dit_path, ema, lora, text_encoder, text_dtype: see `runtime.official.load_official`; like, for a diffusers folder:
    the card as which it samples, such as "predict2.5-2b-pre-trained". attention: see `nn.attention.ATTENTIONS`.
    Without a device, the GPU if there is one. Without a dtype, bfloat16 on a GPU and float32 on a CPU.
    Raises ValueError for an unknown name, device, dtype or an option that would not be used, WeightsError (an OSError)
    for missing or damaged weights, and OutOfMemory (a MemoryError) where the GPU is too small for them.
    """
    device, dtype = _device_and_dtype(device, dtype)
    options = {
        "checkpoints": checkpoints, "device": device, "dtype": dtype, "text_dtype": text_dtype,
        "conventions": conventions, "text_encoder": text_encoder, "attention": attention,
    }  # fmt: skip
    with enough_memory(f"{name} in {str(dtype).removeprefix('torch.')}"):
        model = load_any(name, dit_path=dit_path, ema=ema, lora=lora, like=like, **options)
    first = model.card.first_frame
    painter = Painter(name=first, options=options) if first else None
    loaded = {
        "checkpoints": place(checkpoints), "dit_path": place(dit_path), "text_dtype": text_dtype, "ema": ema,
        "lora": lora, "attention": None if attention == "auto" else attention,
    }  # fmt: skip
    return Pipeline(model, str(name), open_first_frame=painter, loaded=loading_to_json(loaded))


def _device_and_dtype(
    device: str | torch.device | None, dtype: str | torch.dtype | None
) -> tuple[torch.device, torch.dtype]:
    try:
        device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    except RuntimeError as error:
        raise ValueError(f"there is no kind of device {device!r}; it is cpu or cuda") from error
    dtype = dtype or (torch.float32 if device.type == "cpu" else torch.bfloat16)
    if isinstance(dtype, str):
        known = {"float32": torch.float32, "bfloat16": torch.bfloat16}
        if dtype not in known:
            raise ValueError(f"dtype is float32 or bfloat16, not {dtype!r}")
        dtype = known[dtype]
    check_device(device, dtype)
    return device, dtype
