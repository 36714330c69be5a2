"""FlowEdit: what another prompt changes about a clip that is already there (Kulikov et al. 2024, arXiv:2412.08629).

Noise a clip and denoise it under two prompts, one that says what it shows and one that says what it should show: what
both networks get wrong alike cancels, and the difference is the edit. Where the prompts agree, nothing changes at all.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from torch import Tensor

from cosmos_lab.diffusion.solvers import Denoise


@dataclass(frozen=True, kw_only=True, eq=False)
class Difference:
    """x -> x0 of the edited clip: latents + target(y + x - latents, sigma) - source(y, sigma), y = noised(sigma, n),
    the mean over n from 0 to `draws` - 1.

    `latents` (B, C, T, H, W) are the clip's, and the first state x; `noised(sigma, n)` is the clip under the n-th noise
    of that level. x stays as clean as the clip, so that dx/dsigma = (x - x0) / sigma is the difference of both
    velocities: what FlowEdit integrates, with `draws` as its n_avg.
    """

    target: Denoise
    source: Denoise
    latents: Tensor = field(repr=False)
    noised: Callable[[Tensor, int], Tensor] = field(repr=False)
    draws: int = 1

    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
        first, *others = (self._change(x, self.noised(sigma, number), sigma) for number in range(self.draws))
        return self.latents + sum(others, first) / self.draws

    def _change(self, x: Tensor, seen: Tensor, sigma: Tensor) -> Tensor:
        changed = (seen + (x - self.latents)).to(seen.dtype)
        return self.target(changed, sigma) - self.source(seen, sigma)
