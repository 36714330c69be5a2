"""Text, image or clip in, world out. Data flows one way:

prompt -> text embedding;  given pixel frames -> given latents;  noise -> solver steps -> latents -> pixel frames.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from cosmos_lab import catalog, video
from cosmos_lab.conventions import apply
from cosmos_lab.diffusion.denoiser import make_denoiser
from cosmos_lab.diffusion.solvers import Step
from cosmos_lab.noise import Noise
from cosmos_lab.pipelines import assembly
from cosmos_lab.pipelines.call import Call, Start
from cosmos_lab.pipelines.generation import PROVENANCE_VERSION, Generation, Timing, versions
from cosmos_lab.pipelines.loaded import to_json
from cosmos_lab.pipelines.memory import enough_memory
from cosmos_lab.pipelines.painter import Painter, painted
from cosmos_lab.pipelines.settings import Options, by_hand, described, resolve
from cosmos_lab.pipelines.source import Source
from cosmos_lab.runtime.checkpoints import Model
from cosmos_lab.runtime.decoding import decode_frames
from cosmos_lab.runtime.loading import load_any
from cosmos_lab.runtime.matching import check_device
from cosmos_lab.runtime.official import Lora

if TYPE_CHECKING:
    from cosmos_lab.pipelines.long import LongCall


class Pipeline:
    """A loaded world model. It keeps nothing between calls: an interrupted call leaves it as it was.

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

    def __repr__(self) -> str:
        return f"Pipeline({self.name}: {', '.join(self.card.tasks)}; {self.device}, {self.dtype})"

    def text2image(self, prompt: str, **options: Unpack[Options]) -> Generation:
        """One picture of what the prompt says."""
        return self.generate(self.call("text2image", prompt, **options), progress=options.get("progress", True))

    def text2world(self, prompt: str, **options: Unpack[Options]) -> Generation:
        """A clip of what the prompt says. Where the card names a painter of the first pixel frame, that one begins."""
        return self.generate(self.call("text2world", prompt, **options), progress=options.get("progress", True))

    def image2world(
        self, image: object, prompt: str, *, num_conditional_frames: int = 1, **options: Unpack[Options]
    ) -> Generation:
        """A clip that begins with an image: a path, a PIL image, uint8 `(H, W, 3)`, or a clip, whose end counts."""
        call = self.call("image2world", prompt, given=image, num_conditional_frames=num_conditional_frames, **options)
        return self.generate(call, progress=options.get("progress", True))

    def video2world(
        self, clip: object, prompt: str, *, num_conditional_frames: int | None = None, **options: Unpack[Options]
    ) -> Generation:
        """A clip that begins with the LAST pixel frames of another: a path, uint8 `(T, H, W, 3)` or a Generation.

        No number of conditional pixel frames means the most that the model knows (5 in Predict2 and nano).
        """
        most = max(self.card.pictures.conditional_pixel_frames, default=0)
        count = most if num_conditional_frames is None else num_conditional_frames
        call = self.call("video2world", prompt, given=clip, num_conditional_frames=count, **options)
        return self.generate(call, progress=options.get("progress", True))

    def denoise(
        self, prompt: str, *, given: object = None, num_conditional_frames: int = 0, **options: Unpack[Options]
    ) -> Iterator[Step]:
        """The trajectory, step by step: `step.sigma`, the state `step.x` and the clean latents `step.x0` seen in it.

        With `given` and a number of conditional pixel frames it continues them, as image2world and video2world do.
        The x0 of the last step is the sample; `decode` makes pixel frames of any x0.
        """
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
        self,
        task: str,
        prompt: str,
        *,
        given: object = None,
        num_conditional_frames: int | None = None,
        **options: Unpack[Options],
    ) -> Call:
        """Check everything and read the input, but generate nothing yet.

        No number of conditional pixel frames means none, or the one that text2world has painted first.
        """
        card = self.under(options.get("conventions")).card
        if num_conditional_frames is None:
            num_conditional_frames = int(task == "text2world" and card.first_frame is not None)
        settings = resolve(card, task, prompt, num_conditional_frames=num_conditional_frames, options=options)
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

    @torch.no_grad()
    def _run(self, call: Call, progress: bool) -> Generation:
        from tqdm.auto import tqdm

        timing = Timing()
        call = painted(self, call, progress=progress)
        start = self.start(call, timing)
        latents, first = start.x, start.first_step
        with timing.stage("denoise"):
            steps, total = self._steps(start), len(start.sigmas) - (first or 0)
            for step in tqdm(steps, total=total, desc=call.settings.task, disable=not progress, leave=False):
                latents = step.x0
        frames = None
        if call.output == "pixels":
            with timing.stage("decode"):
                frames = call.edit.pixels(self.card, call.settings) if first is None else self.decode(latents)
        return Generation(
            frames=frames, latents=latents.float().cpu(), fps=call.settings.fps, timing=timing,
            provenance=self.provenance(call), call=call,
        )  # fmt: skip

    @torch.no_grad()
    def decode(self, latents: Tensor) -> np.ndarray:
        """Latents `(1, C, T', h, w)` to pixel frames, uint8 `(T, H, W, 3)`."""
        # Predict1's state, and so its sample, has the network's dtype; the others decode float32.
        dtype = self.dtype if self.card.sampling.precision == "mixed" else torch.float32
        latents = latents.to(self.device, dtype) / self.card.sampling.sigma_data
        return decode_frames(self.model.vae, latents, rounding=self.card.pictures.rounding)

    @torch.no_grad()
    def start(self, call: Call, timing: Timing) -> Start:
        """Everything before the first step: text, given latents, noise."""
        settings, sampling = call.settings, self.card.sampling
        with timing.stage("text"):
            text, negative = self._text(call)
        with timing.stage("encode"):
            given, num_given = self._given_latents(call)
        noise = call.replacing.get("noise", assembly.noise_source(sampling, settings.seed))
        initial = noise if isinstance(noise, Tensor) else noise(given.shape, purpose="initial")
        source = self._source(call)
        if initial.shape != given.shape:
            raise ValueError(f"noise for this clip is {tuple(given.shape)}, not {tuple(initial.shape)}")
        initial = initial.to(self.device, torch.float32)
        grid = assembly.sigmas(sampling, settings.num_steps)
        denoiser = make_denoiser(
            self.model.dit, assembly.parametrization(sampling), text=text, negative=negative,
            guidance=assembly.guidance(sampling, settings.guidance, settings.guidance_form),
            condition=assembly.condition(
                sampling, given, num_given, noise=source, initial=initial, grid=grid, dtype=self.dtype
            ),
            fps=torch.tensor([settings.fps]) if self.card.dit.fps_modulation else None,
            batch_guidance=sampling.batch_guidance, guided=sampling.guided, precision=sampling.precision,
        )  # fmt: skip
        start = Start(denoiser=denoiser, x=assembly.initial_state(sampling, initial, self.dtype), sigmas=grid)
        if call.edit is None:
            return start
        with timing.stage("encode"):
            return call.edit.begin(self, settings, start, initial=initial, noise=source)

    def _trajectory(self, call: Call) -> Iterator[Step]:
        with enough_memory(call.size):
            yield from self._steps(self.start(call, Timing()))

    def _steps(self, start: Start) -> Iterator[Step]:
        """The solver's steps. Gradients are off around each step only, not around the code between them."""
        if start.first_step is None:
            return
        steps = assembly.walk(self.card.sampling, start.denoiser, start.x, start.sigmas, start=start.first_step)
        while True:
            with torch.no_grad():
                step = next(steps, None)
            if step is None:
                return
            yield step

    def _text(self, call: Call) -> tuple[Tensor, Tensor | None]:
        """Embeddings `(1, N, D)` of the prompt and the negative prompt (None: zeros)."""
        settings, encoder = call.settings, self.model.text
        text = call.replacing.get("prompt_embeds")
        text = encoder.encode([settings.prompt]) if text is None else text
        negative = call.replacing.get("negative_prompt_embeds")
        unconditional = self.card.sampling.unconditional
        if negative is None and (settings.negative_prompt.strip() or unconditional == "text"):
            negative = encoder.encode([settings.negative_prompt])
        elif negative is None and unconditional == "prompt":
            negative = text
        return text, negative

    def _given_latents(self, call: Call) -> tuple[Tensor, int]:
        """Latents `(1, C, T', h, w)` with the given ones first and zeros after, and how many are given.

        Only the given pixel frames are encoded: the tokenizer is causal, what follows could not reach them.
        """
        settings, vae = call.settings, self.model.vae
        length, factor = vae.num_latent_frames(settings.num_pixel_frames), vae.spatial_factor
        size = (length, settings.height // factor, settings.width // factor)
        if call.source is None:
            return torch.zeros(1, self.card.dit.latent_channels, *size, device=self.device), 0
        # Officially pixels are rounded to the network's dtype at every step on their way in; in diffusers at the end.
        dtype = torch.float32 if self.card.conventions == "diffusers" else self.dtype
        pixels = video.fit_to_network(
            call.source.pixels, settings.height, settings.width, resize=self.card.pictures.resize, dtype=dtype
        )
        given = self._encode(call, pixels.to(self.device), length).float() * self.card.sampling.sigma_data
        return F.pad(given, (0, 0, 0, 0, 0, length - given.shape[2])), given.shape[2]

    def _encode(self, call: Call, pixels: Tensor, num_latent_frames: int) -> Tensor:
        """Latents of the given pixel frames: the posterior's mean or, where the card says so, a draw from it."""
        vae = self.model.vae
        if self.card.pictures.posterior == "mean":
            return vae.encode(pixels)
        height, width = (size // vae.spatial_factor for size in pixels.shape[-2:])
        # Drawn for the whole clip, as diffusers does; what follows the given latent frames is not used.
        shape = (1, self.card.dit.latent_channels, num_latent_frames, height, width)
        noise = self._source(call)(shape, purpose="posterior")
        return vae.encode_sample(pixels, noise[:, :, : vae.num_latent_frames(pixels.shape[2])])

    def _source(self, call: Call) -> Noise:
        """Where noise beside the initial one comes from, which may be given as a tensor."""
        noise = call.replacing.get("noise")
        seeded = noise is None or isinstance(noise, Tensor)
        return assembly.noise_source(self.card.sampling, call.settings.seed) if seeded else noise

    def provenance(self, call: "Call | LongCall") -> dict[str, object]:
        """What makes the clip, as JSON values, before or after it is made.

        Its input is what was given; a first pixel frame that a model painted is known by that one's name and weights.
        """
        first = call.first
        read = self.model.text.tokenize([call.settings.prompt, call.settings.source_prompt or ""])
        painter = None if first.source is None else first.source.painter
        given = first.source if painter is None else None
        source = given if first.edit is None else first.edit.source
        return {
            "provenance": PROVENANCE_VERSION,
            "model": _place(self.name),
            "weights": self.model.digest,
            "loaded": self.loaded,
            "conventions": first.conventions,
            "like": self.card.like,
            "settings": described(call.settings),
            "tokens": {"kept": int(read.mask[0].sum()), "dropped": read.dropped[0], "source_dropped": read.dropped[1]},
            "input": None if source is None else source.described(),
            "painter": painter,
            "given_by_hand": {name: _fingerprint(value) for name, value in first.replacing.items()},
            "output": first.output,
            "device": self.device.type,
            "dtype": str(self.dtype).removeprefix("torch."),
            "versions": versions(),
        }


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
) -> Pipeline:
    """Load a model by its card's name, from a folder of `runtime.checkpoints.save_model` or in diffusers' layout.

    checkpoints: the root of the official files, "checkpoints" by default. conventions: see `cosmos_lab.conventions`.
    dit_path, ema, lora, text_encoder, text_dtype: see `runtime.official.load_official`; like, for a diffusers folder:
    the card as which it samples, such as "predict2.5-2b-pre-trained".
    Without a device, the GPU if there is one. Without a dtype, bfloat16 on a GPU and float32 on a CPU.
    Raises ValueError for an unknown name, device, dtype or an option that would not be used, WeightsError (an OSError)
    for missing or damaged weights, and OutOfMemory (a MemoryError) where the GPU is too small for them.
    """
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
    options = {
        "checkpoints": checkpoints, "device": device, "dtype": dtype, "text_dtype": text_dtype,
        "conventions": conventions, "text_encoder": text_encoder,
    }  # fmt: skip
    with enough_memory(f"{name} in {str(dtype).removeprefix('torch.')}"):
        model = load_any(name, dit_path=dit_path, ema=ema, lora=lora, like=like, **options)
    first = model.card.first_frame
    painter = Painter(name=first, options=options) if first else None
    loaded = {"checkpoints": _place(checkpoints), "dit_path": _place(dit_path), "text_dtype": text_dtype}
    loaded |= {"ema": ema, "lora": lora}
    return Pipeline(model, str(name), open_first_frame=painter, loaded=to_json(loaded))


def _place(name: str | Path | None) -> str | Path | None:
    """What finds a model from any folder: its card's name, or the whole path."""
    is_path = name is not None and str(name) not in catalog.cards() and Path(name).exists()
    return str(Path(name).resolve()) if is_path else name


def _fingerprint(value: Noise | Tensor) -> str:
    if isinstance(value, Tensor):
        return hashlib.sha256(value.detach().float().cpu().contiguous().numpy().tobytes()).hexdigest()
    return repr(value)
