"""Learning from trials (`train/trials.py`): DiffusionNFT, with both verdicts on pairs of clips.

Zheng et al. 2025 (arXiv 2509.16117): with v the velocity that leads to a clip, and v_old that of the network before, a
clip that obeys pulls the network towards v, one that fails pushes it to the other side of v_old by as much. Where noise
still hides which of the two a clip will be, what a pair has in common cancels, and what tells its clips apart is left.
"""

import torch
from torch import Tensor, nn

from cosmos_lab.train.capture import Captured
from cosmos_lab.train.loop import LossFunction
from cosmos_lab.train.trials import Trials
from cosmos_lab.train.world_model import WorldRecipe, draw_time, velocity


def wanted_velocity(old: Tensor, flow: Tensor, verdict: Tensor, beta: float) -> Tensor:
    """v_old ± (v - v_old) / beta, all (B, C, T, h, w): where the least of DiffusionNFT's loss lies, + where `verdict`
    (B,) is 1 and - where it is -1."""
    return old + verdict[:, None, None, None, None] / beta * (flow - old)


def trial_loss(modules: nn.ModuleDict, reference: nn.ModuleDict, trials: Trials, recipe: WorldRecipe) -> LossFunction:
    """The loss over trials of `reference`, the network before; both dictionaries hold "dit" and "text"."""

    def measure(
        latents: Tensor, text: Tensor, t: Tensor, mask: Tensor, noise: Tensor, wanted: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        error = (velocity(modules["dit"], latents, text, t, mask, noise) - wanted).square().mean()
        if "states" in modules:
            # Nobody asks what stands where in these clips: the tokens, and the graph behind them, must not be kept.
            modules["states"].tokens = None
        return error, {"trial": error.detach()}

    captured = Captured(measure, nn.ModuleList([modules["dit"]]))

    def loss(step: int, generator: torch.Generator) -> tuple[Tensor, dict]:
        latents, tokens, verdict = trials.draw(recipe.batch, generator)
        noise = torch.randn(latents.shape, generator=generator, device=latents.device)
        t, mask = draw_time(recipe, len(latents), generator), latents.new_zeros(len(latents), 1, latents.shape[2], 1, 1)
        heard = tokens != 0
        with torch.autocast(latents.device.type, dtype=torch.bfloat16):
            text = modules["text"](tokens, heard)
            with torch.no_grad():
                before = reference["text"](tokens, heard)
        with torch.no_grad():
            old = velocity(reference["dit"], latents, before, t, mask, noise)
        wanted = wanted_velocity(old, noise - latents, verdict, recipe.trial_beta)
        return captured(latents, text, t, mask, noise, wanted)

    return loss


def by_turns(usual: LossFunction, other: LossFunction, every: int) -> LossFunction:
    """The usual loss, but for the last of every `every` steps; figures are the last ones of both, since a log that
    looks at every so many steps might see one of them alone."""
    figures: dict[str, float | Tensor] = {}

    def loss(step: int, generator: torch.Generator) -> tuple[Tensor, dict]:
        is_other = step % every == every - 1
        value, found = (other if is_other else usual)(step, generator)
        figures.update(found if is_other else {"flow": value.detach()} | found)
        return value, dict(figures)

    return loss
