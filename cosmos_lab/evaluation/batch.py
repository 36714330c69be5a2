"""Many clips at once: the pipeline's own parts, with a batch of prompts where a call of the pipeline has one."""

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from cosmos_lab import diffusion, video
from cosmos_lab.diffusion.denoiser import make_denoiser
from cosmos_lab.pipelines import assembly, encoding
from cosmos_lab.pipelines.generate import Pipeline
from cosmos_lab.pipelines.settings import Settings, resolve
from cosmos_lab.selection.tries import best_of_tries

# The noise from which the model draws clips again: from more it would show other things.
REDRAWN_FROM = 1.0

Progress = Callable[[Iterable[Sequence[int]]], Iterable[Sequence[int]]]


@torch.no_grad()
def generate_batch(
    pipe: Pipeline,
    prompts: Sequence[str],
    *,
    seeds: Sequence[int],
    given: np.ndarray | None = None,
    num_steps: int | None = None,
    guidance: float | None = None,
    num_pixel_frames: int | None = None,
    tries: int | None = None,
    batch: int = 64,
    progress: Progress = iter,
) -> np.ndarray:
    """Clips (N, T, H, W, 3) uint8, clip n from `prompts[n]` and `seeds[n]`: what one call for each would give.

    `given` (N, K, H, W, 3) uint8 are K conditional pixel frames of each clip, at the model's size; None for none.
    `tries` counts where nothing is given: what the critic does not accept is made again, all such clips together.
    Equal to single calls up to rounding: noise is keyed by its seed, so the batch changes no clip's draw. Where the
    critic's odds stand within rounding of each other, or of what it accepts, another try may be kept.
    Raises ValueError for lengths that differ.
    """
    if len(seeds) != len(prompts) or (given is not None and len(given) != len(prompts)):
        raise ValueError(f"give one seed and one start for each of the {len(prompts)} prompts")
    options = {"num_steps": num_steps, "guidance": guidance, "num_pixel_frames": num_pixel_frames}
    num_given = 0 if given is None else given.shape[1]
    task = "text2world" if num_given == 0 else "video2world"
    options["tries"] = tries if num_given == 0 else None
    settings = resolve(pipe.card, task, prompts[0], num_conditional_frames=num_given, options=options)
    if settings.tries > 1:
        pipe.critic()

    def make(sample: int, rows: Sequence[int]) -> Tensor:
        made = [
            _denoise(
                pipe, settings, [prompts[row] for row in part], seeds=[seeds[row] for row in part], sample=sample,
                given=None if given is None else given[list(part)],
            )
            for part in progress(_parts(rows, batch))
        ]  # fmt: skip
        return torch.cat(made)

    def judge(latents: Tensor, rows: Sequence[int]) -> Tensor:
        texts = [prompts[row] for row in rows]
        parts = zip(latents.split(batch), _parts(texts, batch))
        return torch.cat([pipe.odds(part, prompts) for part, prompts in parts])

    accept = pipe.card.sampling.accept
    best = best_of_tries(make, judge, tries=settings.tries, accept=accept, count=len(prompts))
    clips = []
    for part in _parts(best, batch):
        clips += _decode(pipe, torch.cat([clip.latents for clip in part]))
    return np.stack(clips)


def _parts(items: Sequence, size: int) -> list[Sequence]:
    return [items[start : start + size] for start in range(0, len(items), size)]


def _denoise(
    pipe: Pipeline, settings: Settings, prompts: Sequence[str], *, seeds: Sequence[int], sample: int,
    given: np.ndarray | None,
) -> Tensor:  # fmt: skip
    """The last x0 (B, C, T', h, w) of a batch, from the noise of this number of each seed."""
    sampling = pipe.card.sampling
    text = pipe.model.text.encode(list(prompts))
    negative = encoding.negative_embeddings(pipe, settings.negative_prompt, text).expand_as(text)
    latents, num_given = _given_latents(pipe, settings, len(prompts), given)
    sources = [assembly.noise_source(sampling, seed, sample) for seed in seeds]
    draws = [source(latents[:1].shape, purpose="initial") for source in sources]
    initial = torch.cat(draws).to(pipe.device, torch.float32)
    # A card whose conditional latent frames are noised would need that noise for each seed; nano's are clean.
    denoiser = make_denoiser(
        pipe.model.dit, assembly.parametrization(sampling), text=text, negative=negative,
        guidance=assembly.guidance(sampling, settings.guidance, settings.guidance_form),
        condition=assembly.condition(sampling, latents, num_given, noise=sources[0], initial=initial),
        fps=_fps(pipe, settings.fps),
        batch_guidance=sampling.batch_guidance, guided=sampling.guided, precision=sampling.precision,
    )  # fmt: skip
    grid = assembly.sigmas(sampling, settings.num_steps)
    churn = assembly.churn(sampling, latents[:1].shape, sources)
    begun = assembly.initial_state(sampling, initial)
    return diffusion.sample(assembly.walk(sampling, denoiser, begun, grid, churn=churn))


def _given_latents(
    pipe: Pipeline, settings: Settings, number: int, given: np.ndarray | None
) -> tuple[Tensor, int]:
    """Latents (B, C, T', h, w) that begin with the given ones, and how many latent frames are given."""
    vae, card = pipe.model.vae, pipe.card
    length, factor = vae.num_latent_frames(settings.num_pixel_frames), vae.spatial_factor
    size = (length, settings.height // factor, settings.width // factor)
    if given is None:
        return torch.zeros(number, card.dit.latent_channels, *size, device=pipe.device), 0
    resize = card.pictures.resize
    fitted = [video.fit_to_network(clip, settings.height, settings.width, resize=resize) for clip in given]
    latents = vae.encode(torch.cat(fitted).to(pipe.device)).float() * card.sampling.sigma_data
    return F.pad(latents, (0, 0, 0, 0, 0, length - latents.shape[2])), latents.shape[2]


def _decode(pipe: Pipeline, latents: Tensor, batch: int = 16) -> list[np.ndarray]:
    clips = []
    for part in latents.split(batch):
        pixels = pipe.model.vae.decode(part.to(pipe.device) / pipe.card.sampling.sigma_data)
        rules = pipe.card.pictures
        clips += [video.to_uint8(clip, rounding=rules.rounding, decoded=rules.decoded) for clip in pixels]
    return clips


@torch.no_grad()
def reconstruct_batch(pipe: Pipeline, clips: np.ndarray | Tensor, batch: int = 16) -> Tensor:
    """The tokenizer's reconstructions of clips (N, T, H, W, 3) uint8, on the CPU."""
    parts = torch.as_tensor(clips).split(batch)
    return torch.from_numpy(np.stack([clip for part in parts for clip in _decode(pipe, _encode(pipe, part))]))


@torch.no_grad()
def redraw_batch(
    pipe: Pipeline, clips: np.ndarray | Tensor, *, seeds: Sequence[int], sigma: float = REDRAWN_FROM,
    num_steps: int | None = None, batch: int = 64, progress: Progress = iter,
) -> np.ndarray:  # fmt: skip
    """Clips (N, T, H, W, 3) uint8 as the model draws them again without a prompt: what they show, in its hand (SDEdit,
    Meng et al. 2021, arXiv 2108.01073).

    Clip n gets the noise of `seeds[n]`, of the highest of the model's noise levels up to `sigma`, or of the lowest
    where all are higher.
    """
    sampling = pipe.card.sampling
    grid = assembly.sigmas(sampling, num_steps or sampling.num_steps)
    start = min(int((grid > sigma).sum()), len(grid) - 2)
    # Zeros are what a network was trained with that is told nothing.
    silence, drawn = torch.zeros(1, 1, pipe.card.dit.text_width, device=pipe.device), []
    denoiser = make_denoiser(
        pipe.model.dit, assembly.parametrization(sampling), text=silence, fps=_fps(pipe, pipe.card.fps),
        precision=sampling.precision,
    )  # fmt: skip
    for rows in progress(_parts(range(len(clips)), batch)):
        latents = torch.cat([_encode(pipe, part) for part in torch.as_tensor(clips)[list(rows)].split(16)])
        noise = [assembly.noise_source(sampling, seeds[row])(latents[:1].shape, purpose="initial") for row in rows]
        x = assembly.edit_state(
            sampling, latents, torch.cat(noise).to(latents), sigma=grid[start], first=start == 0, dtype=pipe.dtype
        )
        drawn += _decode(pipe, diffusion.sample(assembly.walk(sampling, denoiser, x, grid, start=start)))
    return np.stack(drawn)


def _encode(pipe: Pipeline, clips: Tensor) -> Tensor:
    """Latents (B, C, T', h, w), in the transformer's scale, of clips (B, T, H, W, 3) uint8."""
    pixels = torch.cat([video.to_network(clip.numpy(force=True)) for clip in clips]).to(pipe.device)
    return pipe.model.vae.encode(pixels).float() * pipe.card.sampling.sigma_data


def _fps(pipe: Pipeline, fps: float) -> Tensor | None:
    return torch.tensor([fps]) if pipe.card.dit.fps_modulation else None
