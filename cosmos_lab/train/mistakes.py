"""Learning to mend: the network sees a clip that carries a trace of a mistake, and is asked for the clip without it.

Training usually shows right clips under noise. While sampling, the state comes from the network's own answers, and what
went wrong in one step, such as an object that began to form in two places, looks true in the next. Ning et al. 2023
(arXiv 2301.11706) perturb the input with noise for that reason; here the perturbation is what goes wrong: the same
clip with an object too many, too few, or of another kind (`worlds/mistakes.py`).
"""

import torch
from torch import Tensor

# The largest share of a mistake that is shown: all of it, and nothing would tell which of two alike is the right one.
MOST = 0.9
# From this difference in a normalised latent on, a mistake can be seen.
VISIBLE = 0.5


def traced(latents: Tensor, mistaken: Tensor, t: Tensor, generator: torch.Generator) -> Tensor:
    """x0 + a (mistaken - x0) for clips x0 = `latents` (B, C, T, h, w) that will be seen at times t (B,).

    a = 0 for half of the clips, and uniform up to MOST min(1, sigma) for the others, sigma = t / (1 - t): a mistake
    that is being mended fades with the noise. The velocity asked for, (x_t - x0) / t, then differs from eps - x0 by at
    most MOST |mistaken - x0|.
    """
    drawn = torch.rand(t.shape, generator=generator, device=t.device)
    share = MOST * (2 * drawn - 1).clamp(min=0) * (t / (1 - t)).clamp(max=1)
    return latents + share[:, None, None, None, None] * (mistaken - latents)


def shows_mistake(latents: Tensor, mistaken: Tensor) -> Tensor:
    """Whether a clip's mistake can be seen in it, (B,), for clips (B, C, T, h, w) without and with it."""
    return differs(latents, mistaken).any(dim=1)


def differs(latents: Tensor, mistaken: Tensor) -> Tensor:
    """In which latent frames a mistake can be seen, (B, T)."""
    return (latents.float() - mistaken.float()).abs().amax(dim=(1, 3, 4)) > VISIBLE
