"""Clips as the world model draws them again: what they show is mostly theirs, how it looks is the model's.

From a state with some noise in it the model goes to clean latents, without a prompt (Meng et al. 2021, SDEdit,
arXiv 2108.01073). So a critic learns from clips in the model's hand of which it is known what is wrong about them, and
the ruler from such of which it is known what they show.
"""

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor, nn

from cosmos_lab.train.mistakes import differs
from cosmos_lab.train.world_model import LatentBank

# Latents (B, C, T', h, w) and a generator -> latents that show the same.
Redraw = Callable[[Tensor, torch.Generator], Tensor]

STEPS = 4  # of Euler's method; from about as much noise as there is picture, few are enough


@torch.no_grad()
def redrawn(
    bank: LatentBank, dit: nn.Module, share: float, sigmas: tuple[float, float], generator: torch.Generator,
    batch: int = 128,
) -> LatentBank:  # fmt: skip
    """A bank in which a share of the clips, and their mistakes, are drawn again from sigma, log-uniform in `sigmas`."""
    count, device = len(bank.latents), bank.latents.device
    rows = torch.randperm(count, generator=generator, device=device)[: round(share * count)]
    latents, mistaken = bank.latents.clone(), bank.mistaken.clone()
    for part in rows.split(batch):
        right, wrong = bank.latents[part].float(), bank.mistaken[part].float()
        sigma = _log_uniform(len(part), sigmas, generator)
        noise = torch.randn(right.shape, generator=generator, device=device)
        again, amiss = (drawn_again(dit, clip, sigma / (1 + sigma), noise) for clip in (right, wrong))
        # Attention carries a mistake to latent frames that did not show it.
        amiss = torch.where(differs(right, wrong)[:, None, :, None, None], amiss, again)
        latents[part], mistaken[part] = again.to(latents), amiss.to(latents)
    return replace(bank, latents=latents, mistaken=mistaken)


def redrawing(dit: nn.Module, sigmas: tuple[float, float]) -> Redraw:
    """A function that draws latents (B, C, T', h, w) again, each from a sigma of its own, log-uniform in `sigmas`."""

    def redraw(latents: Tensor, generator: torch.Generator) -> Tensor:
        sigma = _log_uniform(len(latents), sigmas, generator)
        noise = torch.randn(latents.shape, generator=generator, device=latents.device)
        return drawn_again(dit, latents, sigma / (1 + sigma), noise)

    return redraw


def _log_uniform(count: int, bounds: tuple[float, float], generator: torch.Generator) -> Tensor:
    low, high = bounds
    return low * (high / low) ** torch.rand(count, generator=generator, device=generator.device)


def drawn_again(dit: nn.Module, latents: Tensor, t: Tensor, noise: Tensor) -> Tensor:
    """Euler's steps along the model's velocity from x_t = (1 - t) x0 + t eps, t (B,), to x_0, without a prompt."""
    at = t[:, None, None, None, None]
    x = (1 - at) * latents + at * noise
    silence = torch.zeros(len(x), 1, dit.config.text_width, device=x.device)
    for step in range(STEPS):
        with torch.autocast(x.device.type, dtype=torch.bfloat16):
            velocity = dit(x, t * (1 - step / STEPS), silence).float()
        x = x - at / STEPS * velocity
    return x
