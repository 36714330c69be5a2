"""Denoisers and networks with a known answer."""

import torch
from torch import Tensor


class GaussianWorld:
    """Data from N(mean, spread^2): the ideal denoiser and the exact path of the probability flow, over sigma."""

    def __init__(self, mean: Tensor, spread: float = 0.7):
        self.mean, self.spread = mean, spread

    def __call__(self, x: Tensor, sigma: Tensor | float) -> Tensor:
        s2 = float(sigma) ** 2
        return (x * self.spread**2 + self.mean * s2) / (self.spread**2 + s2)

    def exact(self, x: Tensor, sigma_from: float, sigma_to: float) -> Tensor:
        ratio = (self.spread**2 + sigma_to**2) / (self.spread**2 + sigma_from**2)
        return self.mean + (x - self.mean) * ratio**0.5


class GaussianFlow(GaussianWorld):
    """The same data on the flow axis, x = (1 - s) x0 + s eps, through its equivalent sigma = s / (1 - s)."""

    def __call__(self, x: Tensor, sigma: Tensor | float) -> Tensor:
        return super().__call__(x / (1 - sigma), float(sigma) / (1 - float(sigma)))

    def exact(self, x: Tensor, sigma_from: float, sigma_to: float) -> Tensor:
        moved = super().exact(x / (1 - sigma_from), sigma_from / (1 - sigma_from), sigma_to / (1 - sigma_to))
        return (1 - sigma_to) * moved


class RecordingNetwork(torch.nn.Module):
    """A small pointwise network that mixes all its inputs and remembers the arguments of each call."""

    def __init__(self, dtype: torch.dtype = torch.float32):
        super().__init__()
        self.gain = torch.nn.Parameter(torch.tensor(0.5, dtype=dtype), requires_grad=False)
        self.calls: list[dict[str, Tensor | None]] = []

    def forward(self, x, timesteps, text, *, condition_mask=None, padding_mask=None, fps=None):
        self.calls.append(
            dict(x=x, timesteps=timesteps, text=text, condition_mask=condition_mask, padding_mask=padding_mask, fps=fps)
        )
        t = timesteps if timesteps.ndim == 2 else timesteps[:, None]
        mask = 0 if condition_mask is None else 0.25 * condition_mask
        inner = (
            self.gain * x + t[:, None, :, None, None].to(x.dtype) + text.mean((1, 2))[:, None, None, None, None] + mask
        )
        return torch.tanh(inner) + 0.1 * x
