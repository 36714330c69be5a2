"""Walking from noise to data: solvers of dx/dsigma = (x - D(x, sigma)) / sigma.

A solver is a generator function over a denoiser D(x, sigma) -> x0, a state and a grid of noise levels. It yields a
`Step` whenever the denoiser has looked at a state, and a last one that carries the sample in `x0`. Updates are
computed in float64 and rounded to the dtype of the state that was passed in: float32 gives Predict2's rule, float64
Cosmos-1.0's. `start` begins in the middle of the grid, for SDEdit; the multistep solver then starts without history.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from math import exp, expm1, log, sqrt
from typing import Literal

import torch
from torch import Tensor

from cosmos_lab.diffusion.churn import Churn

Denoise = Callable[[Tensor, Tensor], Tensor]
FinalStep = Literal["denoise", "none"]


@dataclass(frozen=True, eq=False)
class Step:
    """The state `x` at noise level `sigma`, number `index` of the grid, and the clean latents `x0` seen in it."""

    index: int
    sigma: float
    x: Tensor
    x0: Tensor


def sample(steps: Iterable[Step]) -> Tensor:
    """Runs a solver to its end and returns the sample, the last step's x0."""
    return deque(steps, maxlen=1).pop().x0


def euler(
    denoise: Denoise,
    x: Tensor,
    sigmas: Tensor,
    *,
    start: int = 0,
    final_step: FinalStep = "none",
    arithmetic: torch.dtype = torch.float64,
    replace: Callable[[Tensor, Tensor], Tensor] | None = None,
) -> Iterator[Step]:
    """First order: x' = x + (u - s) (x - x0) / s for a step from sigma s to u. One evaluation a step.

    Predict1 runs it with `arithmetic` float32 on a state of the network's dtype, and with `replace`, which rewrites
    conditional latent frames of the state before each step (`conditioning.Predict1Frames.state`).
    """
    _check_grid(sigmas, start=start)
    for i in range(start, len(sigmas) - 1):
        s, u = sigmas[i], sigmas[i + 1]
        x = x if replace is None else replace(x, s)
        x0 = denoise(x, s)
        yield Step(index=i, sigma=float(s), x=x, x0=x0)
        x_wide = x.to(arithmetic)
        slope = (x_wide - x0.to(arithmetic)) / s.to(arithmetic)
        x = (x_wide + slope * (u.to(arithmetic) - s.to(arithmetic))).to(x.dtype)
    yield _last(denoise, x=x, sigmas=sigmas, final_step=final_step)


def heun(
    denoise: Denoise, x: Tensor, sigmas: Tensor, *, start: int = 0, final_step: FinalStep = "none",
    churn: Churn | None = None,
) -> Iterator[Step]:  # fmt: skip
    """Second order (Karras et al. 2022, algorithm 1; with `churn` 2): an Euler step, then the mean of both slopes.

    Two evaluations a step; a step to sigma 0 stays Euler's, where the second slope would divide by zero.
    """
    _check_grid(sigmas, start=start)
    for i in range(start, len(sigmas) - 1):
        x, level = churn.raised(x, sigmas[i], i) if churn else (x, sigmas[i])
        s, u = float(level), float(sigmas[i + 1])
        x0 = denoise(x, level)
        yield Step(index=i, sigma=s, x=x, x0=x0)
        slope = (x.double() - x0.double()) / s
        trial = x.double() + (u - s) * slope
        if u > 0:
            x0 = denoise(trial.to(x.dtype), sigmas[i + 1])
            trial = x.double() + (u - s) * (slope + (trial - x0.double()) / u) / 2
        x = trial.to(x.dtype)
    yield _last(denoise, x=x, sigmas=sigmas, final_step=final_step)


def midpoint(
    denoise: Denoise, x: Tensor, sigmas: Tensor, *, start: int = 0, final_step: FinalStep = "denoise"
) -> Iterator[Step]:
    """Second-order exponential Runge-Kutta with its inner point at half a step in -ln(sigma): Cosmos-1.0's "2mid"."""
    _check_grid(sigmas, start=start, positive=True)
    for i in range(start, len(sigmas) - 1):
        s, u = float(sigmas[i]), float(sigmas[i + 1])
        middle = torch.tensor(sqrt(s * u), dtype=torch.float64)
        x0 = denoise(x, sigmas[i])
        yield Step(index=i, sigma=s, x=x, x0=x0)
        inner = exponential_step(x, x0, s=s, u=float(middle))
        x0_middle = denoise(inner, middle)
        x = exponential_step(x, x0, s=s, u=u, other=x0_middle, sigma_other=float(middle))
    yield _last(denoise, x=x, sigmas=sigmas, final_step=final_step)


def ab2(
    denoise: Denoise, x: Tensor, sigmas: Tensor, *, start: int = 0, final_step: FinalStep = "denoise",
    churn: Churn | None = None,
) -> Iterator[Step]:  # fmt: skip
    """Second-order exponential Adams-Bashforth, the solver of Cosmos-1.0 ("2ab") and Predict2.

    One evaluation a step: x0 is continued linearly in -ln(sigma) through this and the previous x0; the first step,
    which has no previous one, is Euler's, and so is each step before which `churn` put noise back: it begins anew. The
    grid ends above zero, and `final_step` "denoise" spends one more evaluation there, whose x0 is the sample.
    """
    _check_grid(sigmas, start=start, positive=True)
    previous: tuple[Tensor, float] | None = None
    for i in range(start, len(sigmas) - 1):
        x, level = churn.raised(x, sigmas[i], i) if churn else (x, sigmas[i])
        s, u = float(level), float(sigmas[i + 1])
        x0 = denoise(x, level)
        yield Step(index=i, sigma=s, x=x, x0=x0)
        if previous is None or level != sigmas[i]:
            x = exponential_step(x, x0, s=s, u=u)
        else:
            x = exponential_step(x, x0, s=s, u=u, other=previous[0], sigma_other=previous[1])
        previous = (x0, s)
    yield _last(denoise, x=x, sigmas=sigmas, final_step=final_step)


def consistency(
    denoise: Denoise, x: Tensor, sigmas: Tensor, *, noise: Callable[[int], Tensor], start: int = 0
) -> Iterator[Step]:
    """For distilled networks: jump to x0, add fresh noise of the next level, x' = x0 + u eps, until the level is 0.

    `noise(i)` is the unit-variance noise of step i, in the shape of x.
    """
    _check_grid(sigmas, start=start)
    for i in range(start, len(sigmas) - 1):
        x0 = denoise(x, sigmas[i])
        yield Step(index=i, sigma=float(sigmas[i]), x=x, x0=x0)
        u = float(sigmas[i + 1])
        x = (x0.double() + u * noise(i).to(x0.device).double()).to(x.dtype) if u > 0 else x0.to(x.dtype)
    yield _last(denoise, x=x, sigmas=sigmas, final_step="none")


def exponential_step(
    x: Tensor, x0: Tensor, *, s: float, u: float, other: Tensor | None = None, sigma_other: float | None = None
) -> Tensor:
    """From sigma s to u with x0 constant, or linear in lambda = -ln(sigma) through a second x0 at `sigma_other`.

    With h = ln(s/u), c = (lambda_other - lambda_s) / h, phi1 = (1 - e^-h) / h, phi2 = (1 - phi1) / h:
    x' = e^-h x + h ((phi1 - phi2/c) x0 + (phi2/c) other). Float64 inside, the dtype of x outside.
    """
    if other is None or sigma_other is None:
        return ((s - u) / s * x0.double() + u / s * x.double()).to(x.dtype)
    h = log(s / u)
    c = log(s / sigma_other) / h
    phi1 = expm1(-h) / -h
    phi2 = (phi1 - 1) / -h
    b1, b2 = phi1 - phi2 / c, phi2 / c
    return (exp(-h) * x.double() + h * (b1 * x0.double() + b2 * other.double())).to(x.dtype)


def _last(denoise: Denoise, *, x: Tensor, sigmas: Tensor, final_step: FinalStep) -> Step:
    if final_step not in ("denoise", "none"):
        raise ValueError(f'final_step is "denoise" (one more evaluation) or "none", not {final_step!r}')
    # At sigma 0 the state is the clean sample, and c_noise = ln(0) / 4 must not reach a network.
    clean = denoise(x, sigmas[-1]) if final_step == "denoise" and sigmas[-1] > 0 else x
    return Step(index=len(sigmas) - 1, sigma=float(sigmas[-1]), x=x, x0=clean)


def _check_grid(sigmas: Tensor, *, start: int, positive: bool = False) -> None:
    if sigmas.ndim != 1 or len(sigmas) < 2 or not bool((sigmas[:-1] >= sigmas[1:]).all()):
        raise ValueError("sigmas must be at least two noise levels that fall from high to low")
    if not 0 <= start < len(sigmas):
        raise ValueError(f"start must lie in 0..{len(sigmas) - 1}, not {start}")
    if positive and not sigmas[-1] > 0:
        raise ValueError(
            "this solver works in ln(sigma) and needs a grid that ends above zero, as schedules.karras does"
        )
