"""Noise put back while a solver walks, so that late steps can mend what early ones got wrong."""

from collections.abc import Callable
from dataclasses import dataclass
from math import sqrt

from torch import Tensor


def check_churn(amount: float, low: float, high: float) -> None:
    """Raises ValueError unless 0 < amount <= 1 and 0 < low < high."""
    if not (0 < amount <= 1 and 0 < low < high):
        raise ValueError(
            f"churn raises the noise by more than nothing and at most to twice its level, where 0 < low < high; "
            f"not by {amount:g} between {low:g} and {high:g}"
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class Churn:
    """Before a step from a noise level sigma between `low` and `high`, noise raises the state to (1 + amount) sigma.

    Karras et al. 2022, algorithm 2, with gamma = `amount` and S_noise = 1: x + sqrt(raised^2 - sigma^2) eps is
    distributed as the data under the raised level, so a perfect denoiser samples the same with it as without.
    `noise(i)` is the unit-variance noise of step i, in the shape of the state.
    """

    amount: float
    low: float
    high: float
    noise: Callable[[int], Tensor]

    def __post_init__(self) -> None:
        check_churn(self.amount, self.low, self.high)

    def raised(self, x: Tensor, sigma: Tensor, index: int) -> tuple[Tensor, Tensor]:
        """State and noise level of step `index`, raised where the level lies in the range; float64 inside."""
        if not self.low <= sigma <= self.high:
            return x, sigma
        level = sigma * (1 + self.amount)
        spread = sqrt(float(level) ** 2 - float(sigma) ** 2)
        return (x.double() + spread * self.noise(index).to(x.device).double()).to(x.dtype), level
