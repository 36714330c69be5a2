"""Exercises of notebook 03: a grid of noise levels, and a second-order step."""

import torch
from torch import Tensor

from cosmos_lab.diffusion.schedules import karras
from cosmos_lab.diffusion.solvers import Denoise, heun, sample
from cosmos_lab.notebook.exercise import Exercise, Mistake


def _levels(num_steps: int, sigma_min: float, sigma_max: float, rho: float) -> Tensor:
    return karras(num_steps, sigma_min=sigma_min, sigma_max=sigma_max, rho=rho)


def _level_cases() -> dict[str, dict[str, object]]:
    return {
        "5 steps from 80 to 0.002": {"num_steps": 5, "sigma_min": 0.002, "sigma_max": 80.0, "rho": 7.0},
        "8 steps from 10 to 0.1, rho 3": {"num_steps": 8, "sigma_min": 0.1, "sigma_max": 10.0, "rho": 3.0},
        "1 step": {"num_steps": 1, "sigma_min": 0.5, "sigma_max": 2.0, "rho": 7.0},
    }


def _even(num_steps: int, sigma_min: float, sigma_max: float, rho: float) -> Tensor:
    return torch.linspace(sigma_max, sigma_min, num_steps + 1, dtype=torch.float64)


def _upwards(num_steps: int, sigma_min: float, sigma_max: float, rho: float) -> Tensor:
    return _levels(num_steps, sigma_min, sigma_max, rho).flip(0)


def _never_raised_back(num_steps: int, sigma_min: float, sigma_max: float, rho: float) -> Tensor:
    return _levels(num_steps, sigma_min, sigma_max, rho) ** (1 / rho)


def _inverse_rho(num_steps: int, sigma_min: float, sigma_max: float, rho: float) -> Tensor:
    return _levels(num_steps, sigma_min, sigma_max, 1 / rho)


karras_levels = Exercise(
    task="Noise levels that are evenly spaced in σ^(1/ρ)",
    solution=_levels,
    cases=_level_cases,
    mistakes=(
        Mistake(answer=_even, hint="these levels are evenly spaced in σ itself: where does rho come in?"),
        Mistake(answer=_upwards, hint="the right levels, but sampling walks from the highest noise to the lowest"),
        Mistake(answer=_never_raised_back, hint="you spaced σ^(1/ρ) evenly; now go back from σ^(1/ρ) to σ"),
        Mistake(answer=_inverse_rho, hint="rho and 1/rho are exchanged: first the root, at the end the power"),
    ),
    tolerance=1e-8,
    xlabel="step",
    ylabel="noise level σ",
)


def _world(x: Tensor, sigma: Tensor | float) -> Tensor:
    """The ideal denoiser of two points, -1 and +1: curved, so that first and second order differ."""
    return torch.tanh(x / float(sigma) ** 2)


def _step_cases() -> dict[str, dict[str, object]]:
    x = torch.linspace(-2, 2, 9, dtype=torch.float64)
    return {
        "from σ = 1.5 to 0.8": {"denoise": _world, "x": x, "sigma": 1.5, "sigma_next": 0.8},
        "from σ = 4 to 3": {"denoise": _world, "x": 2 * x, "sigma": 4.0, "sigma_next": 3.0},
        "the last step, to σ = 0": {"denoise": _world, "x": x, "sigma": 0.7, "sigma_next": 0.0},
    }


def _heun(denoise: Denoise, x: Tensor, sigma: float, sigma_next: float) -> Tensor:
    return sample(heun(denoise, x, torch.tensor([sigma, sigma_next], dtype=torch.float64)))


def _first_order(denoise: Denoise, x: Tensor, sigma: float, sigma_next: float) -> Tensor:
    return x + (sigma_next - sigma) * (x - denoise(x, sigma)) / sigma


def _second(denoise: Denoise, x: Tensor, *, at: Tensor, sigma: float, sigma_next: float, level: float) -> Tensor:
    """A second-order step whose second slope looks at `at` and `level`; only a step above 0 has one."""
    if sigma_next == 0:
        return _first_order(denoise, x, sigma, sigma_next)
    slopes = (x - denoise(x, sigma)) / sigma + (at - denoise(at, level)) / level
    return x + (sigma_next - sigma) * slopes / 2


def _stale_state(denoise: Denoise, x: Tensor, sigma: float, sigma_next: float) -> Tensor:
    return _second(denoise, x, at=x, sigma=sigma, sigma_next=sigma_next, level=sigma_next or sigma)


def _stale_sigma(denoise: Denoise, x: Tensor, sigma: float, sigma_next: float) -> Tensor:
    trial = _first_order(denoise, x, sigma, sigma_next)
    return _second(denoise, x, at=trial, sigma=sigma, sigma_next=sigma_next, level=sigma)


def _only_second_slope(denoise: Denoise, x: Tensor, sigma: float, sigma_next: float) -> Tensor:
    trial = _first_order(denoise, x, sigma, sigma_next)
    if sigma_next == 0:
        return trial
    return x + (sigma_next - sigma) * (trial - denoise(trial, sigma_next)) / sigma_next


def _sum_of_slopes(denoise: Denoise, x: Tensor, sigma: float, sigma_next: float) -> Tensor:
    right = _heun(denoise, x, sigma, sigma_next)
    return right if sigma_next == 0 else 2 * right - x


heun_step = Exercise(
    task="One step of Heun's method",
    solution=_heun,
    cases=_step_cases,
    mistakes=(
        Mistake(answer=_first_order, hint="this is Euler's step. Look again from where it lands, and use both slopes"),
        Mistake(answer=_stale_state, hint="the second slope belongs to the trial state, not to the x you began with"),
        Mistake(answer=_stale_sigma, hint="at the trial state the noise level is sigma_next, in D and in the division"),
        Mistake(answer=_only_second_slope, hint="you follow the second slope alone; Heun takes the mean of both"),
        Mistake(answer=_sum_of_slopes, hint="the step is twice too long: the mean of two slopes, not their sum"),
    ),
    tolerance=1e-8,
    xlabel="element of x",
    ylabel="state at sigma_next",
)
