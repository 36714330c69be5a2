"""SDEdit: a clip becomes another one that keeps its layout and motion.

The input's latents are noised to a level in the middle of the grid and denoised from there under a new prompt: the
more noise, the less remains of the input. Predict2 first edits the first pixel frame with its text2image model, and
the clip is then denoised with that picture as its given beginning (`painter.painted`).

Told also what the input shows, an edit follows the difference between both prompts instead (FlowEdit,
`diffusion.Difference`): it changes what they disagree on and leaves the rest in place.
"""

from dataclasses import dataclass, field, replace
from typing import Unpack

import numpy as np
from torch import Tensor

from cosmos_lab.config import Card
from cosmos_lab.diffusion.denoiser import Denoiser
from cosmos_lab.diffusion.schedules import sdedit_start
from cosmos_lab.noise import Noise
from cosmos_lab.pipelines import assembly, encoding
from cosmos_lab.pipelines.call import Call, Start, generating
from cosmos_lab.pipelines.generate import Pipeline
from cosmos_lab.pipelines.settings import MOST_DRAWS, Options, Settings, by_hand, once, resolve, whole_number
from cosmos_lab.pipelines.source import Source
from cosmos_lab.video import fit, fit_to_network, fit_unit, to_uint8

IMAGE_STRENGTH = 0.4


@dataclass(frozen=True, kw_only=True, eq=False)
class Edit:
    """The clip that an edit begins from: the first pixel frames of the input, in its own size."""

    source: Source = field(repr=False)

    def of_first_frame(self, painter: Pipeline, settings: Settings, options: Options) -> Call:
        """The edit of the first pixel frame as a picture, in as many steps as the clip's."""
        first = replace(self.source, pixels=self.source.pixels[:1])
        options = {**options, "num_steps": settings.num_steps, "num_pixel_frames": 1}
        return edit.plan(painter, first, settings.prompt, strength=settings.image_strength, **options)

    def begin(self, pipe: Pipeline, call: Call, start: Start, *, initial: Tensor, noise: Noise) -> Start:
        """Where the edit begins, made of where generation from the `initial` noise would; strength 0 ends there."""
        settings, sampling, grid = call.settings, pipe.card.sampling, start.sigmas
        latents = pipe.model.vae.encode(self._to_network(pipe, settings)).float() * sampling.sigma_data
        first = sdedit_start(settings.num_steps, settings.strength)
        if first == settings.num_steps:
            return replace(start, x=latents, first_step=None)
        anew = first == 0 and sampling.full_edit == "noise"
        if settings.source_prompt is None or anew:
            x = assembly.edit_state(sampling, latents, initial, sigma=grid[first], first=first == 0, dtype=pipe.dtype)
            return replace(start, x=x, first_step=first)
        shown, draws = self._source(pipe, call, start.denoiser), settings.num_draws or 1
        changes = assembly.difference(sampling, start.denoiser, shown, latents, noise=noise, grid=grid, draws=draws)
        return replace(start, denoiser=changes, x=latents, first_step=first)

    def _source(self, pipe: Pipeline, call: Call, target: Denoiser) -> Denoiser:
        """The target's denoiser under the prompt that says what the input shows."""
        branches = encoding.embeddings(pipe, call, call.settings.source_prompt)
        # Where guidance is off, the target has a branch for its prompt alone.
        return replace(target, text=branches[: len(target.text)])

    def pixels(self, card: Card, settings: Settings) -> np.ndarray:
        """The input in the size of the output, uint8 `(T, H, W, 3)`: the edit of strength 0."""
        resize = card.pictures.resize
        if resize == "bicubic":
            fitted = fit_to_network(self.source.pixels, settings.height, settings.width, resize=resize)
            return to_uint8(fitted[0], rounding=card.pictures.rounding)
        return fit(self.source.pixels, settings.height, settings.width, resize=resize)

    def _to_network(self, pipe: Pipeline, settings: Settings) -> Tensor:
        height, width, pictures = settings.height, settings.width, pipe.card.pictures
        if pictures.edited == "unit":
            return fit_unit(self.source.pixels, height, width).to(pipe.device, pipe.tokenizer_dtype)
        pixels = fit_to_network(self.source.pixels, height, width, resize=pictures.resize, dtype=pipe.tokenizer_dtype)
        return pixels.to(pipe.device)


@generating
def edit(
    pipe: Pipeline,
    video: object,
    prompt: str,
    *,
    strength: float = 0.8,
    image_strength: float | None = None,
    source_prompt: str | None = None,
    num_draws: int | None = None,
    **options: Unpack[Options],
) -> Call:
    """Edit a clip (SDEdit): noise its latents to the level of step `int(N (1 - strength))`, then denoise.

    video: a path, uint8 `(T, H, W, 3)` or a Generation, of which the first pixel frames count, its last one repeated
    where it is too short. strength: from 0, which returns the input in the output's size, to 1, generation from noise
    (officially from the input under the most noise). image_strength: that of the first pixel frame, which is edited
    as a picture first and then given; None is 0.4 where the card lets another model paint it, and no such phase
    elsewhere. source_prompt: what the input shows, as `prompt` says what it should show; then only what they differ in
    is changed (FlowEdit), and no picture is edited first. num_draws: how many noises each step of that averages; None
    is 1, more leave less to chance and take as many times longer. Raises ValueError, naming the fix, for a strength
    outside 0 to 1 and for what the model cannot do.
    """
    options = once(options, "an edit is made once")
    card = pipe.under(options.get("conventions")).card
    _check_source_prompt(source_prompt, image_strength, options)
    if num_draws is not None and source_prompt is None:
        raise ValueError("num_draws needs source_prompt: an edit that is not told what the input shows has one noise")
    if image_strength is None and source_prompt is None and pipe.open_first_frame is not None:
        image_strength = IMAGE_STRENGTH
    for given in (strength, image_strength):
        if given is not None:
            sdedit_start(1, given)
    if image_strength is not None and pipe.open_first_frame is None and "text2image" not in card.tasks:
        raise ValueError(f"{pipe.name} cannot edit the first pixel frame as a picture; leave image_strength away")
    clips = [task for task in ("text2world", "video2world") if task in card.tasks]
    settings = resolve(
        card, clips[0] if clips else "text2image", prompt, num_conditional_frames=int(image_strength is not None),
        options=options,
    )  # fmt: skip
    settings = replace(
        settings, task="video2video" if clips else "text2image", strength=float(strength),
        image_strength=None if image_strength is None else float(image_strength), source_prompt=source_prompt,
        num_draws=None if num_draws is None else whole_number("num_draws", num_draws, least=1, most=MOST_DRAWS),
    )  # fmt: skip
    source = Source.first(video, num_pixel_frames=settings.num_pixel_frames, alpha=card.pictures.alpha)
    return Call(
        settings=settings, conventions=card.conventions, replacing=by_hand(options),
        output=options.get("output", "pixels"), edit=Edit(source=source),
    )  # fmt: skip


def _check_source_prompt(source_prompt: str | None, image_strength: float | None, options: Options) -> None:
    if source_prompt is None:
        return
    if not isinstance(source_prompt, str) or not source_prompt.strip():
        raise ValueError("source_prompt is a text that says what the input shows; leave it away if nobody knows")
    if image_strength is not None:
        raise ValueError("source_prompt edits the clip in one go; leave image_strength away")
    if isinstance(options.get("noise"), Tensor):
        raise ValueError("source_prompt takes noise of its own for every step; give a source of noise, not a tensor")
