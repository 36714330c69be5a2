"""What the network predicts: the four coefficients that turn a network F into a denoiser D.

    D(x, sigma) = c_skip * x + c_out * F(c_in * x, c_noise)

`EDM` is Cosmos-1.0's and Predict1's, `RectifiedFlow` is Predict2's and nano's: both speak of sigma, the noise added
to clean data, x = x0 + sigma * eps. `Flow` is Predict2.5's: sigma in [0, 1] mixes, x = (1 - sigma) * x0 + sigma * eps.
"""

from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor


class Coefficients(NamedTuple):
    """c_skip, c_out, c_in, c_noise, each with the shape of the sigma that they belong to."""

    c_skip: Tensor
    c_out: Tensor
    c_in: Tensor
    c_noise: Tensor


class Parametrization(Protocol):
    """Anything with `coefficients`; `timestep_dtype` None means that c_noise reaches the network in its own dtype."""

    timestep_dtype: torch.dtype | None

    def coefficients(self, sigma: Tensor, dtype: torch.dtype | None = None) -> Coefficients:
        """The coefficients at `sigma` (any shape), computed in `dtype`; None keeps sigma's."""
        ...


@dataclass(frozen=True)
class EDM:
    """Elucidated diffusion (Karras et al. 2022, table 1): unit variance into and out of the network at every sigma."""

    sigma_data: float = 0.5
    timestep_dtype: torch.dtype | None = None

    def __post_init__(self) -> None:
        if not self.sigma_data > 0:
            raise ValueError(
                f"sigma_data is the standard deviation of the data and must be positive: {self.sigma_data}"
            )

    def coefficients(self, sigma: Tensor, dtype: torch.dtype | None = None) -> Coefficients:
        """c_skip = sd^2/(sigma^2+sd^2), c_out = sigma sd/sqrt(..), c_in = 1/sqrt(..), c_noise = ln(sigma)/4."""
        sigma = sigma if dtype is None else sigma.to(dtype)
        variance = sigma**2 + self.sigma_data**2
        return Coefficients(
            c_skip=self.sigma_data**2 / variance,
            c_out=sigma * self.sigma_data / variance.sqrt(),
            c_in=1 / variance.sqrt(),
            c_noise=0.25 * sigma.log(),
        )


@dataclass(frozen=True)
class RectifiedFlow:
    """Rectified flow written over sigma, for data of unit variance; F is the velocity eps - x0.

    With t = sigma / (1 + sigma), x / (1 + sigma) = (1 - t) x0 + t eps is the straight line that a flow model sees.
    """

    timestep_dtype: torch.dtype | None = None

    def coefficients(self, sigma: Tensor, dtype: torch.dtype | None = None) -> Coefficients:
        """c_skip = c_in = 1 - t, c_out = -t, c_noise = t, without the usual factor of 1000."""
        sigma = sigma if dtype is None else sigma.to(dtype)
        t = sigma / (sigma + 1)
        return Coefficients(c_skip=1 - t, c_out=-t, c_in=1 - t, c_noise=t)


@dataclass(frozen=True)
class Flow:
    """A plain velocity network on the flow's own axis: sigma in [0, 1], x0 = x - sigma * v.

    c_noise counts from 0 to `num_train_timesteps`, and `truncate` cuts it to an integer as Predict2.5 does (995 for
    0.995025); False hands over sigma itself, as diffusers does. It stays float32: bfloat16 would make 996 of 995.
    """

    truncate: bool = True
    num_train_timesteps: int = 1000
    timestep_dtype: torch.dtype | None = torch.float32

    def coefficients(self, sigma: Tensor, dtype: torch.dtype | None = None) -> Coefficients:
        """c_skip = c_in = 1, c_out = -sigma; c_noise is cut before sigma loses its float64 digits."""
        c_noise = sigma * self.num_train_timesteps
        sigma = sigma if dtype is None else sigma.to(dtype)
        c_noise = c_noise.trunc() if self.truncate else c_noise
        one = torch.ones_like(sigma)
        return Coefficients(c_skip=one, c_out=-sigma, c_in=one, c_noise=c_noise.to(torch.float32))
