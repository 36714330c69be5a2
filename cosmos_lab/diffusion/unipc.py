"""UniPC, Predict2.5's solver on the flow axis x = (1 - sigma) x0 + sigma eps, sigma from below 1 down to 0.

Zhao et al. 2023, second order, B2(h) = e^h - 1, predicting x0. After each evaluation the state that led to it is
corrected with what was just learned, then the next one is predicted: two orders for one evaluation a step.
"""

from collections.abc import Iterator
from math import expm1, inf, log

import torch
from torch import Tensor

from cosmos_lab.diffusion.solvers import Denoise, Step


def unipc(denoise: Denoise, x: Tensor, sigmas: Tensor, *, start: int = 0) -> Iterator[Step]:
    """Solves from `sigmas[start]` to 0 (`schedules.flow_karras`, `schedules.flow_shifted`).

    Yields the uncorrected states, which are those that the denoiser sees; the last step, at sigma 0, carries the
    sample. The denoiser gets the grid's float64 values (from which Predict2.5 cuts its integer timesteps), the update
    uses them rounded to float32, and the state keeps the dtype of x. Raises ValueError for a grid that leaves [0, 1).
    """
    levels = _float32_levels(sigmas, start=start)
    last, previous, before = x, None, None  # the corrected state and the two latest x0, of the previous steps
    for i in range(start, len(levels) - 1):
        x0 = denoise(x, sigmas[i])
        yield Step(index=i, sigma=float(sigmas[i]), x=x, x0=x0)
        if previous is not None:
            around = None if before is None else (before, levels[i - 2])
            x = _correct(last, previous, x0, before=around, s=levels[i - 1], u=levels[i])
        second_order = previous is not None and i < len(levels) - 2
        memory = (previous, levels[i - 1]) if second_order else None
        last, before, previous = x, previous, x0
        x = _predict(x, x0, before=memory, s=levels[i], u=levels[i + 1])
    yield Step(index=len(levels) - 1, sigma=0.0, x=x, x0=x)


def _predict(x: Tensor, x0: Tensor, *, before: tuple[Tensor, float] | None, s: float, u: float) -> Tensor:
    """x at u from x at s; with an earlier (x0, sigma), half the slope of x0 over the step is added."""
    h = _lambda(u) - _lambda(s)
    phi = expm1(-h)
    predicted = u / s * x.double() - (1 - u) * phi * x0.double()
    if before is not None:
        r = (_lambda(before[1]) - _lambda(s)) / h
        predicted = predicted - (1 - u) * phi * 0.5 * (before[0].double() - x0.double()) / r
    return predicted.to(x.dtype)


def _correct(
    last: Tensor, x0: Tensor, x0_new: Tensor, *, before: tuple[Tensor, float] | None, s: float, u: float
) -> Tensor:
    """x at u anew, from the corrected x at s (`last`), its x0, and the x0 now known at u."""
    h = _lambda(u) - _lambda(s)
    phi = expm1(-h)
    corrected = u / s * last.double() - (1 - u) * phi * x0.double()
    change = x0_new.double() - x0.double()
    if before is None:
        return (corrected - (1 - u) * phi * 0.5 * change).to(last.dtype)
    # The weights solve [[1, 1], [r, 1]] rho = b, which makes the rule exact for x0 quadratic in lambda.
    r = (_lambda(before[1]) - _lambda(s)) / h
    g1 = phi / -h - 1
    b1, b2 = g1 / phi, 2 * (g1 / -h - 0.5) / phi
    rho1 = (b1 - b2) / (1 - r)
    slope = (before[0].double() - x0.double()) / r
    return (corrected - (1 - u) * phi * (rho1 * slope + (b1 - rho1) * change)).to(last.dtype)


def _lambda(sigma: float) -> float:
    """Half the log signal-to-noise ratio, ln((1 - sigma) / sigma); infinite for clean data."""
    return log(1 - sigma) - log(sigma) if sigma > 0 else inf


def _float32_levels(sigmas: Tensor, *, start: int) -> list[float]:
    falling = sigmas.ndim == 1 and len(sigmas) >= 2 and bool((sigmas[:-1] > sigmas[1:]).all())
    if not falling or sigmas[0] >= 1 or sigmas[-1] != 0:
        raise ValueError("UniPC needs noise levels that fall from below 1 to exactly 0, as schedules.flow_karras gives")
    if not 0 <= start < len(sigmas):
        raise ValueError(f"start must lie in 0..{len(sigmas) - 1}, not {start}")
    return sigmas.to(torch.float32).tolist()
