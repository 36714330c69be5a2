"""Conditional latent frames: how the beginning of a clip is given to the network, in every generation's way.

All agree on a mask channel, on in both branches of guidance. They differ in what stands in those latent frames:

    FrameReplacement     Predict2, nano   clean latents, with a timestep of their own; x0 there is the given latents
    AugmentedFrames      Cosmos-1.0       latents with a little noise, scaled as if at sigma; x0 replaced
    Predict1Frames       Predict1         the same, but written into the solver's state; network output replaced
    VelocityReplacement  Predict2.5       clean latents, own timestep; the velocity there leads from noise to latents

A condition is a handful of hooks that `denoiser.Denoiser` calls; the base class leaves everything as it is.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from einops import rearrange, repeat
from torch import Tensor

from cosmos_lab.diffusion.parametrization import EDM, Coefficients


@dataclass(frozen=True, kw_only=True, eq=False)
class Condition:
    """Given latents (B, C, T, H, W), of which the mask (1 or B, 1, T, 1 or H, 1 or W) marks the valid latent frames."""

    latents: Tensor = field(repr=False)
    mask: Tensor = field(repr=False)

    def __post_init__(self) -> None:
        if self.latents.ndim != 5 or self.mask.ndim != 5 or self.mask.shape[2] != self.latents.shape[2]:
            raise ValueError(
                "conditional latents are (B, C, T, H, W) and their mask (B, 1, T, H, W) with the same T, not "
                f"{tuple(self.latents.shape)} and {tuple(self.mask.shape)}"
            )

    def noisy_input(self, x: Tensor, sigma: Tensor, branch: int) -> Tensor:
        """The state that enters the preconditioning; `branch` is 0 (conditional) or 1 (unconditional)."""
        return x

    def network_input(self, scaled: Tensor) -> Tensor:
        """The network's input, from c_in * x."""
        return scaled

    def timesteps(self, c_noise: Tensor) -> Tensor:
        """(B,) timesteps to (B,) or, with one for each latent frame, (B, T)."""
        return c_noise

    def output(self, predicted: Tensor, x: Tensor, sigma: Tensor, coefficients: Coefficients) -> Tensor:
        """The network's output F."""
        return predicted

    def x0(self, x0: Tensor, sigma: Tensor) -> Tensor:
        """The guided clean latents."""
        return x0

    def _fill(self, values: Tensor, x: Tensor) -> Tensor:
        """`values` where the mask is on, x elsewhere, in x's dtype and place."""
        mask = self.mask.to(device=x.device, dtype=x.dtype)
        return mask * values.to(x) + (1 - mask) * x

    def _frame_timesteps(self, c_noise: Tensor, given: float) -> Tensor:
        """(B,) to (B, T): the timestep `given` on conditional latent frames."""
        frames = self.mask[:, 0, :, 0, 0].to(c_noise)
        return frames * given + (1 - frames) * rearrange(c_noise, "b -> b 1")


@dataclass(frozen=True, kw_only=True, eq=False)
class FrameReplacement(Condition):
    """Predict2's and nano's: clean latents, not scaled by c_in, at the nearly clean level `sigma_conditional`.

    The solver's state is free to wander on those latent frames; its x0, and so the sample, are the given latents.
    """

    sigma_conditional: float = 1e-4

    def network_input(self, scaled: Tensor) -> Tensor:
        return self._fill(self.latents, scaled)

    def timesteps(self, c_noise: Tensor) -> Tensor:
        return self._frame_timesteps(c_noise, given=self.sigma_conditional / (1 + self.sigma_conditional))

    def x0(self, x0: Tensor, sigma: Tensor) -> Tensor:
        return self._fill(self.latents, x0)


@dataclass(frozen=True, kw_only=True, eq=False)
class AugmentedFrames(Condition):
    """Cosmos-1.0's: latents noised to `sigma_augment`, times c_in(sigma_augment) / c_in(sigma) to undo the scaling.

    `noise` is one draw for all evaluations (official) or a function of (sigma, branch) for a fresh one each time
    (diffusers). Below `sigma_augment` the latent frames are released and denoised with the rest; the official grid
    never gets there. `augment_dtype` is the precision of sigma_augment and its c_in: the network's, officially.
    """

    noise: Tensor | Callable[[float, int], Tensor] = field(repr=False)
    sigma_augment: float = 0.001
    sigma_data: float = 0.5
    augment_dtype: torch.dtype = torch.float32

    def noisy_input(self, x: Tensor, sigma: Tensor, branch: int) -> Tensor:
        if self._released(sigma):
            return x
        noise = self.noise if isinstance(self.noise, Tensor) else self.noise(float(sigma), branch)
        level = torch.tensor(self.sigma_augment, dtype=self.augment_dtype).to(torch.float32)
        scaling = EDM(self.sigma_data)
        c_in_augment = scaling.coefficients(level, dtype=self.augment_dtype).c_in.to(torch.float32)
        c_in = scaling.coefficients(sigma, dtype=torch.float32).c_in
        augmented = (self.latents.to(device=x.device, dtype=torch.float32) + noise.to(x.device) * level) * c_in_augment
        return self._fill(augmented * (1 / c_in), x.to(torch.float32))

    def x0(self, x0: Tensor, sigma: Tensor) -> Tensor:
        return x0 if self._released(sigma) else self._fill(self.latents, x0)

    def _released(self, sigma: Tensor) -> bool:
        return self.sigma_augment >= float(sigma)


@dataclass(frozen=True, kw_only=True, eq=False)
class Predict1Frames(Condition):
    """Predict1's: augmented latents are written into the solver's state (`state`, for `solvers.euler(replace=)`).

    The guided network output is replaced so that x0 is the given latents, F = (latents - c_skip x) / c_out. The first
    release computed latents / c_out - c_skip x, which `legacy` brings back: conditional latent frames then freeze at
    1.5886 times the latents. They are released once sigma <= `sigma_augment`, in the last 2 of 35 steps.
    """

    noise: Tensor = field(repr=False)
    sigma_augment: float = 0.001
    sigma_data: float = 0.5
    legacy: bool = False

    def state(self, x: Tensor, sigma: Tensor) -> Tensor:
        """The state from which the step is taken, in the dtype of x."""
        sigma = sigma.to(x.dtype)
        if self._released(sigma):
            return x
        c_in_augment = 1 / (self.sigma_augment**2 + self.sigma_data**2) ** 0.5
        c_in = EDM(self.sigma_data).coefficients(sigma).c_in
        latents = self.latents.to(x)
        augmented = (latents + self.noise.to(x.device) * self.sigma_augment) * c_in_augment / c_in
        mask = self.mask.to(device=x.device, dtype=x.dtype)
        return (mask * augmented + (1 - mask) * x).to(x.dtype)

    def output(self, predicted: Tensor, x: Tensor, sigma: Tensor, coefficients: Coefficients) -> Tensor:
        sigma = sigma.to(predicted.dtype)
        if self._released(sigma):
            return predicted
        c = EDM(self.sigma_data).coefficients(sigma)
        latents, x = self.latents.to(predicted), x.to(predicted.dtype)
        replaced = latents / c.c_out - c.c_skip * x if self.legacy else (latents - c.c_skip * x) / c.c_out
        return self._fill(replaced, predicted)

    def _released(self, sigma: Tensor) -> bool:
        return self.sigma_augment >= float(sigma)


@dataclass(frozen=True, kw_only=True, eq=False)
class VelocityReplacement(Condition):
    """Predict2.5's: clean latents as input, and the velocity `initial_noise` - latents in their place as output.

    So these latent frames travel the straight line and end near, not at, the latents: nothing is pasted at the end.
    `timestep` is theirs, in the units of `Flow` (0 to 1000): 0.1 in the post-trained model, None (the common one)
    in the pre-trained ones.
    """

    initial_noise: Tensor = field(repr=False)
    timestep: float | None = 0.1

    def network_input(self, scaled: Tensor) -> Tensor:
        return self._fill(self.latents, scaled)

    def timesteps(self, c_noise: Tensor) -> Tensor:
        return c_noise if self.timestep is None else self._frame_timesteps(c_noise, given=self.timestep)

    def output(self, predicted: Tensor, x: Tensor, sigma: Tensor, coefficients: Coefficients) -> Tensor:
        return self._fill(self.initial_noise.to(predicted) - self.latents.to(predicted), predicted)


def frame_mask(latents: Tensor, num_conditional_latent_frames: int) -> Tensor:
    """(1, 1, T, H, W): ones on the first `num_conditional_latent_frames` of latents (B, C, T, H, W), zeros after."""
    num_latent_frames, height, width = latents.shape[2:]
    if not 0 <= num_conditional_latent_frames <= num_latent_frames:
        raise ValueError(
            f"of {num_latent_frames} latent frames, 0 to {num_latent_frames} can be given, not "
            f"{num_conditional_latent_frames} (one latent frame holds several pixel frames)"
        )
    given = (torch.arange(num_latent_frames, device=latents.device) < num_conditional_latent_frames).to(latents.dtype)
    return repeat(given, "t -> 1 1 t h w", h=height, w=width)


def conditioning_clip(
    pixels: Tensor, *, num_conditional_pixel_frames: int, num_pixel_frames: int, fill: float | None = None
) -> Tensor:
    """The clip (B, 3, num_pixel_frames, H, W) that the tokenizer encodes: the LAST given pixel frames, first.

    A video is continued, so its end is what counts. What follows is `fill`, or with None the last pixel frame
    repeated; the tokenizer is causal, so neither reaches the conditional latent frames. Raises ValueError when
    `pixels` has fewer pixel frames than asked for, or the clip has no room for them.
    """
    available = pixels.shape[2]
    if not 0 < num_conditional_pixel_frames <= min(available, num_pixel_frames):
        raise ValueError(
            f"{num_conditional_pixel_frames} conditional pixel frames were asked for, from {available} that are given "
            f"and for a clip of {num_pixel_frames}"
        )
    given = pixels[:, :, available - num_conditional_pixel_frames :]
    missing = num_pixel_frames - num_conditional_pixel_frames
    rest = repeat(given[:, :, -1], "b c h w -> b c t h w", t=missing)
    return torch.cat([given, rest if fill is None else torch.full_like(rest, fill)], dim=2)
