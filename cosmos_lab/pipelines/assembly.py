"""From a card to the mathematics: which schedule, solver, parametrization, condition and noise its fields name."""

from collections.abc import Callable, Iterator, Sequence
from math import sqrt

import torch
from torch import Tensor

from cosmos_lab import diffusion
from cosmos_lab.config import Sampling
from cosmos_lab.diffusion.churn import Churn
from cosmos_lab.diffusion.conditioning import Condition
from cosmos_lab.diffusion.denoiser import Denoiser
from cosmos_lab.diffusion.difference import Difference
from cosmos_lab.diffusion.guidance import Guidance
from cosmos_lab.diffusion.parametrization import Parametrization
from cosmos_lab.diffusion.solvers import Step
from cosmos_lab.noise import Keyed, Noise, Official

SOLVERS = {"euler": diffusion.euler, "heun": diffusion.heun, "midpoint": diffusion.midpoint, "ab2": diffusion.ab2}


def parametrization(sampling: Sampling) -> Parametrization:
    """What the network's output means."""
    if sampling.parametrization == "edm":
        return diffusion.EDM(sampling.sigma_data)
    if sampling.parametrization == "rectified_flow":
        return diffusion.RectifiedFlow()
    return diffusion.Flow(truncate=sampling.truncate_timesteps)


def sigmas(sampling: Sampling, num_steps: int) -> Tensor:
    """The noise levels of `num_steps` steps, float64, from high to low."""
    if sampling.schedule == "flow_shifted":
        return diffusion.flow_shifted(num_steps)
    # diffusers counts evaluations of the network, of which the official grid makes one more than it has steps.
    num_steps -= sampling.schedule == "diffusers_flow_karras"
    grid = {
        "karras": diffusion.karras, "predict1_karras": diffusion.predict1_karras, "flow_karras": diffusion.flow_karras,
        "diffusers_karras": diffusion.diffusers_karras, "diffusers_flow_karras": diffusion.flow_karras,
    }[sampling.schedule]  # fmt: skip
    return grid(num_steps, sigma_min=sampling.sigma_min, sigma_max=sampling.sigma_max, rho=sampling.rho)


def noise_source(sampling: Sampling, seed: int, sample: int = 0) -> Noise:
    """Keyed noise, or the generation's official draws, of which Predict1 has none for the initial noise.

    Raises ValueError for another `sample` than the first of official draws, which have no more.
    """
    if sampling.noise == "keyed":
        return Keyed(seed, sample)
    if sample:
        raise ValueError(f"official noise has one sample for each seed, no sample {sample}; take another seed")
    return Official(seed, purposes=("augment",)) if sampling.condition == "state" else Official(seed)


def initial_state(sampling: Sampling, noise: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """Pure noise at the first level: times sigma_max; Predict1 counts the data's unit variance in.

    The solver keeps the state's dtype: float32 officially, float64 in Cosmos-1.0, the network's in Predict1.
    """
    if sampling.parametrization == "flow":
        return noise
    counts_data = sampling.schedule == "predict1_karras"
    scaled = noise * (sqrt(sampling.sigma_max**2 + 1) if counts_data else sampling.sigma_max)
    return scaled.to({"float32": torch.float32, "mixed": dtype, "network": torch.float64}[sampling.precision])


def edit_state(
    sampling: Sampling, latents: Tensor, noise: Tensor, *, sigma: Tensor, first: bool, dtype: torch.dtype
) -> Tensor:
    """Where an edit begins: latents + sigma noise (a flow: (1 - sigma) latents + sigma noise), as float32.

    At the `first` level of the grid, where the card says so, it is generation from noise: `initial_state`.
    """
    if first and sampling.full_edit == "noise":
        return initial_state(sampling, noise, dtype)
    sigma = sigma.to(latents.device)
    kept = 1 - sigma if sampling.parametrization == "flow" else 1
    return (kept * latents + sigma * noise).to(initial_state(sampling, noise[:0], dtype).dtype)


def guidance(sampling: Sampling, scale: float, form: str) -> Guidance:
    """Guidance of a scale, off at or below the system's threshold, and below its least noise level."""
    scale = 0.0 if form == "cond" and scale <= sampling.guidance_threshold else scale
    return Guidance(scale, form=form, least_sigma=sampling.guidance_least_sigma)


def condition(
    sampling: Sampling,
    latents: Tensor,
    num_latent_frames: int,
    *,
    noise: Noise,
    initial: Tensor,
    grid: Tensor | None = None,
    dtype: torch.dtype = torch.float32,
) -> Condition | None:
    """Given latents `(1, C, T, H, W)`, of which the first `num_latent_frames` count; None where none are given.

    `initial` is the unit-variance noise, `grid` the noise levels, which noise drawn for each evaluation needs, `dtype`
    the network's.
    """
    mask = diffusion.frame_mask(latents, num_latent_frames)
    level = sampling.sigma_conditional
    if sampling.condition == "velocity":
        return diffusion.VelocityReplacement(latents=latents, mask=mask, initial_noise=initial, timestep=level)
    if num_latent_frames == 0:
        return None
    if sampling.condition == "replace":
        return diffusion.FrameReplacement(latents=latents, mask=mask, sigma_conditional=level)
    if sampling.augment_noise == "each":
        draw = _each(noise, latents, grid, "augment")
    else:
        draw = noise(latents.shape, purpose="augment").to(latents.device)
    common = {"latents": latents, "mask": mask, "noise": draw, "sigma_data": sampling.sigma_data}
    if sampling.condition == "state":
        return diffusion.Predict1Frames(**common, sigma_augment=level, legacy=sampling.legacy_replacement)
    augment_dtype = dtype if sampling.precision == "network" else torch.float32
    return diffusion.AugmentedFrames(**common, sigma_augment=level, augment_dtype=augment_dtype)


def _each(noise: Noise, latents: Tensor, grid: Tensor | None, purpose: str) -> Callable[[float, int], Tensor]:
    """Noise of its own for each evaluation, by noise level and branch."""
    if grid is None:
        raise ValueError("noise for each evaluation is drawn by its noise level: pass grid")

    def draw(sigma: float, branch: int) -> Tensor:
        step = int((grid - sigma).abs().argmin())
        return noise(latents.shape, purpose=purpose, step=step, branch=branch).to(latents.device)

    return draw


def difference(
    sampling: Sampling, target: Denoiser, source: Denoiser, latents: Tensor, *, noise: Noise, grid: Tensor, draws: int
) -> Difference:
    """What changes about `latents` from `source` to `target`, under `draws` noises of its own at each level of the
    grid."""
    draw = _each(noise, latents, grid, "edit")

    def noised(sigma: Tensor, number: int) -> Tensor:
        drawn = draw(float(sigma), number)
        return edit_state(sampling, latents, drawn, sigma=sigma, first=False, dtype=target.dtype)

    return Difference(target=target, source=source, latents=latents, noised=noised, draws=draws)


def churn(sampling: Sampling, shape: Sequence[int], sources: Sequence[Noise]) -> Churn | None:
    """The noise that the card puts back, of clip n of a batch by source n; `shape` (1, C, T, H, W) is one clip's."""
    if not sampling.churn:
        return None

    def draw(step: int) -> Tensor:
        return torch.cat([source(shape, purpose="churn", step=step) for source in sources])

    low, high = sampling.churn_range
    return Churn(amount=sampling.churn, low=low, high=high, noise=draw)


def walk(
    sampling: Sampling, denoise: Denoiser | Difference, x: Tensor, grid: Tensor, *, start: int = 0,
    churn: Churn | None = None,
) -> Iterator[Step]:  # fmt: skip
    """The steps of the card's solver, from noise level `start` of the grid on; `churn` is what the function of that
    name gave, and counts where all begins with noise.

    They are Euler's for a `Difference`: its noise is another one at each level, so what a solver of higher order
    remembers of the level before does not hold.
    """
    if isinstance(denoise, Difference):
        return diffusion.euler(denoise, x, grid, start=start, final_step="none" if grid[-1] == 0 else "denoise")
    if sampling.solver == "unipc":
        return diffusion.unipc(denoise, x, grid, start=start)
    if sampling.precision == "mixed":
        given = denoise.condition
        replace = given.state if isinstance(given, diffusion.Predict1Frames) else None
        return diffusion.euler(denoise, x, grid, start=start, arithmetic=torch.float32, replace=replace)
    # An edit that begins in the middle is to keep what its noise left of the input.
    noisy = {"churn": churn} if churn and start == 0 else {}
    return SOLVERS[sampling.solver](denoise, x, grid, start=start, final_step=sampling.final_step, **noisy)
