"""Noise levels from high to low, as float64 tensors. A grid of N steps has N + 1 points unless its name says else."""

import numpy as np
import torch
from torch import Tensor


def karras(num_steps: int, sigma_min: float = 0.002, sigma_max: float = 80.0, rho: float = 7.0) -> Tensor:
    """N + 1 noise levels, evenly spaced in sigma^(1/rho) (Karras et al. 2022, eq. 5), without a zero at the end.

    float64 throughout: the second-order solver divides by ln(sigma_i / sigma_i+1), where float32 digits would show.
    """
    _check(num_steps=num_steps, sigma_min=sigma_min, sigma_max=sigma_max)
    ramp = torch.arange(num_steps + 1, dtype=torch.float64) / num_steps
    first, last = sigma_max ** (1 / rho), sigma_min ** (1 / rho)
    return (first + ramp * (last - first)) ** rho


def predict1_karras(
    num_steps: int,
    sigma_min: float = 0.0002,
    sigma_max: float = 80.0,
    rho: float = 7.0,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """Predict1's grid: N noise levels down to sigma_min, then 0. Computed in float32, hence 79.99998 at its head.

    `dtype` float64 gives the grid of newer diffusers, at most 2.3e-5 away.
    """
    _check(num_steps=num_steps, sigma_min=sigma_min, sigma_max=sigma_max)
    ramp = torch.linspace(0, 1, num_steps, dtype=dtype)
    first, last = sigma_max ** (1 / rho), sigma_min ** (1 / rho)
    sigmas = ((first + ramp * (last - first)) ** rho).to(torch.float32)
    return torch.cat([sigmas, sigmas.new_zeros(1)]).to(torch.float64)


def diffusers_karras(num_steps: int, sigma_min: float = 0.002, sigma_max: float = 80.0, rho: float = 7.0) -> Tensor:
    """diffusers' grid for Cosmos-1.0 and Predict2: N float32 levels, the last one twice, so the last update is void."""
    _check(num_steps=num_steps, sigma_min=sigma_min, sigma_max=sigma_max)
    ramp = torch.linspace(0, 1, num_steps, dtype=torch.float64)
    first, last = sigma_max ** (1 / rho), sigma_min ** (1 / rho)
    sigmas = ((first + ramp * (last - first)) ** rho).to(torch.float32)
    return torch.cat([sigmas, sigmas[-1:]]).to(torch.float64)


def flow_karras(num_steps: int, sigma_min: float = 0.01, sigma_max: float = 200.0, rho: float = 7.0) -> Tensor:
    """Predict2.5 post-trained: a Karras grid moved to the flow's axis, s / (1 + s), then 0.

    N + 2 points: `num_steps` = 35 makes 36 network steps, as officially.
    """
    s = karras(num_steps, sigma_min=sigma_min, sigma_max=sigma_max, rho=rho)
    return torch.cat([s / (1 + s), s.new_zeros(1)])


def flow_shifted(num_steps: int, shift: float = 5.0) -> Tensor:
    """Predict2.5 pre-trained: N levels even in b from 0.999, shifted by b -> shift b / (1 + (shift - 1) b), then 0."""
    if num_steps < 1:
        raise ValueError(f"num_steps must be at least 1, not {num_steps}")
    if not shift > 0:
        raise ValueError(f"shift must be positive (1 leaves the grid even), not {shift}")
    # The official grid begins at a float32 0.999, so at 1 - float32(0.001) and not at the float64 number.
    first = float(np.float32(1.0) - np.float32(0.001))
    base = np.linspace(first, 0.0, num_steps + 1)[:-1]
    shifted = shift * base / (1 + (shift - 1) * base)
    return torch.from_numpy(np.append(shifted, 0.0))


def distilled(num_steps: int) -> Tensor:
    """Predict2's timestep-distilled text2image: 80, then up to three levels, then 0; `num_steps` from 1 to 4."""
    if num_steps not in (1, 2, 3, 4):
        raise ValueError(f"the distilled network knows 1 to 4 steps, not {num_steps}")
    return torch.tensor([80.0, *[3.6, 1.5574, 0.684][: num_steps - 1], 0.0], dtype=torch.float64)


def sdedit_start(num_steps: int, strength: float) -> int:
    """The step at which an edit of `strength` in [0, 1] begins: int(N (1 - strength)), as the official code truncates.

    0.8 of 35 steps is step 6, not 7, because 1 - 0.8 is a little below 0.2. Strength 1 is generation from noise;
    strength 0 is `num_steps`, past the last update.
    """
    if not 0 <= strength <= 1:
        raise ValueError(f"strength lies between 0 (leave the video) and 1 (generate anew), not {strength}")
    return int(num_steps * (1 - strength))


def _check(*, num_steps: int, sigma_min: float, sigma_max: float) -> None:
    if num_steps < 1:
        raise ValueError(f"num_steps must be at least 1, not {num_steps}")
    if not 0 < sigma_min < sigma_max:
        raise ValueError(f"need 0 < sigma_min < sigma_max, not sigma_min={sigma_min}, sigma_max={sigma_max}")
