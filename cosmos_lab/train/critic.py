"""Trains nano's critic: which clips show what a caption says, and which show a mistake?

Right is a clip with its own caption; wrong is the clip with its mistake (`worlds/mistakes.py`), where its caption names
what is wrong or names every object, and now and then a clip under the caption of another one. Generated latents are
smoother than encoded ones, so a share of the clips is seen as the world model draws them again from some noise, without
a prompt. It never sees withheld combinations, nor what the ruler reads.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cosmos_lab.selection.critic import Critic, CriticConfig
from cosmos_lab.train.capture import Captured, StepFunction
from cosmos_lab.train.clips import CAPTION_COUNTS
from cosmos_lab.train.loop import LossFunction
from cosmos_lab.train.meanings import BODIES, BODY_KINDS, NOBODY
from cosmos_lab.train.states import SIZES, drawn_map, state_error
from cosmos_lab.train.world_model import Drawn, LatentBank
from cosmos_lab.worlds.scene import COLORS

# From this difference in a normalised latent on, a mistake can be seen.
VISIBLE = 0.5


@dataclass(frozen=True, kw_only=True)
class CriticRecipe:
    """What the critic learns from.

    `wrong` of the clips that have a mistake show it, `foreign` of all have another clip's caption. `redrawn` are seen
    as the world model draws them from sigma, log-uniform in `sigmas`; to all is added up to `noise` of white noise.
    With weight `state_weight` the clip's tokens after `state_depth` layers also say what stands where
    (`train/states.py`), with `body_weight` the verdict's token after `body_depth` layers says what has each color, in
    the words and in the clip: a verdict is a comparison, and is not learned before there is something to compare.
    Every `short_every`-th step is of pictures.
    """

    wrong: float = 0.65
    foreign: float = 0.12
    redrawn: float = 0.3
    sigmas: tuple[float, float] = (0.1, 1.0)
    noise: float = 0.3
    state_weight: float = 0.3
    state_depth: int = 2
    body_weight: float = 0.5
    body_depth: int = 4
    short_every: int = 6


@dataclass(frozen=True, kw_only=True)
class Pairs:
    """B clips and captions for a verdict: latents and tokens, `right` 1 where they belong together. `clean` is 1 where
    no mistake is shown: there `states` (B, T, 14, h, w) holds. `told`, `shown` (B, colors): what has each color in the
    words, if these name all (`names_all`), and in the clip."""

    latents: Tensor
    tokens: Tensor
    right: Tensor
    clean: Tensor
    states: Tensor
    told: Tensor
    names_all: Tensor
    shown: Tensor


def critic_heads(config: CriticConfig, device: torch.device, seed: int = 0) -> dict[str, nn.Module]:
    """The linear maps that only training asks: what stands where, and what has each color in words and clip."""
    sizes = {"states": sum(SIZES), "told": len(COLORS) * BODY_KINDS, "shown": len(COLORS) * BODY_KINDS}
    generator = torch.Generator().manual_seed(seed)
    return {name: drawn_map(config.width, size, generator).to(device) for name, size in sizes.items()}


def critic_loss(
    modules: nn.ModuleDict, bank: LatentBank, dit: nn.Module, text: nn.Module, batch: int,
    recipe: CriticRecipe = CriticRecipe(),
) -> LossFunction:  # fmt: skip
    """The loss over a bank of clips with mistakes; `modules` holds "critic" and its `critic_heads`.

    Binary cross-entropy of the verdict, and cross-entropy of what the heads are asked.
    """
    captured = Captured(_measured(modules, recipe), modules)

    def loss(step: int, generator: torch.Generator) -> tuple[Tensor, dict]:
        length = 1 if step % recipe.short_every == 0 else None
        drawn = bank.draw(batch, generator, beginnings=True)
        pairs = draw_pairs(drawn, length, recipe, generator)
        with torch.no_grad(), torch.autocast(pairs.latents.device.type, dtype=torch.bfloat16):
            vectors = text(pairs.tokens, pairs.tokens != 0)
            latents = seen_again(dit, pairs.latents, recipe, generator).float()
        states = pairs.states.index_select(1, modules["critic"].looked_at(latents.shape[2], latents.device))
        return captured(latents, vectors, pairs.right, pairs.clean, states, pairs.told, pairs.names_all, pairs.shown)

    return loss


def _measured(modules: nn.ModuleDict, recipe: CriticRecipe) -> StepFunction:
    """Loss and figures of pairs; all that a CUDA graph records."""

    def measure(
        latents: Tensor, vectors: Tensor, right: Tensor, clean: Tensor, states: Tensor, told: Tensor,
        names_all: Tensor, shown: Tensor,
    ) -> tuple[Tensor, dict[str, Tensor]]:  # fmt: skip
        critic = modules["critic"]
        with torch.autocast(latents.device.type, dtype=torch.bfloat16):
            tokens, seen = critic.tokens(latents, vectors, recipe.state_depth)
            placed = modules["states"](seen)
            tokens = critic.further(tokens, recipe.state_depth, recipe.body_depth)
            summary = critic.norm(tokens[:, 0])
            heard, looked = modules["told"](summary), modules["shown"](summary)
            logits = critic.verdict_of(critic.further(tokens, recipe.body_depth))
        verdict = F.binary_cross_entropy_with_logits(logits.float(), right)
        state = (state_error(placed.float().movedim(-1, 2), states) * clean).mean()
        bodies = (_body_error(heard.float(), told) * names_all).mean() + _body_error(looked.float(), shown).mean()
        parts = {"verdict": verdict.detach(), "state": state.detach(), "bodies": bodies.detach()}
        return verdict + recipe.state_weight * state + recipe.body_weight * bodies, parts

    return measure


def draw_pairs(drawn: Drawn, length: int | None, recipe: CriticRecipe, generator: torch.Generator) -> Pairs:
    """Which of drawn clips show their mistake, or have another one's caption; all cut to `length` latent frames."""
    latents, wrong = drawn.latents[:, :, :length], drawn.mistaken[:, :, :length].float()
    odds = torch.rand(2, len(latents), generator=generator, device=latents.device)
    names_all = drawn.which >= CAPTION_COUNTS["short"]
    mistaken = (odds[0] < recipe.wrong) & contradicts(drawn, names_all) & shows_mistake(latents, wrong)
    foreign = (odds[1] < recipe.foreign) & ~mistaken
    own, changed = drawn.bodies.long().unbind(dim=1)
    return Pairs(
        latents=torch.where(mistaken[:, None, None, None, None], wrong, latents),
        tokens=torch.where(foreign[:, None], drawn.tokens.roll(1, dims=0), drawn.tokens),
        right=(~mistaken & ~foreign).float(), clean=(~mistaken).float(),
        states=drawn.states[:, : latents.shape[2]].float(),
        told=torch.where(foreign[:, None], own.roll(1, dims=0), own),
        names_all=torch.where(foreign, names_all.roll(1, dims=0), names_all).float(),
        shown=torch.where(mistaken[:, None], changed, own),
    )  # fmt: skip


def contradicts(drawn: Drawn, names_all: Tensor) -> Tensor:
    """Whether a clip's mistake is one by its caption, (B,): captions that do not name all pass over much that a mistake
    may change."""
    changed = drawn.bodies[:, 0] != drawn.bodies[:, 1]
    named = drawn.meanings[:, BODIES] != NOBODY
    return (changed & (named | names_all[:, None])).any(dim=1)


def shows_mistake(latents: Tensor, wrong: Tensor) -> Tensor:
    """Whether a clip's mistake can be seen in it, (B,)."""
    return (latents - wrong).abs().flatten(1).amax(dim=1) > VISIBLE


def seen_again(dit: nn.Module, latents: Tensor, recipe: CriticRecipe, generator: torch.Generator) -> Tensor:
    """Some clips as the model draws them from a little noise without a prompt, all of them with a trace of noise."""
    count, device = len(latents), latents.device
    some = int(recipe.redrawn * count)
    draws = torch.rand(2, count, 1, 1, 1, 1, generator=generator, device=device)
    noise = torch.randn(2, *latents.shape, generator=generator, device=device)
    low, high = recipe.sigmas
    sigma = low * (high / low) ** draws[0, :some]
    t = sigma / (1 + sigma)
    seen = (1 - t) * latents[:some] + t * noise[0, :some]
    silence = torch.zeros(some, 1, dit.config.text_width, device=device)
    redrawn = seen - t * dit(seen, t.flatten(), silence).float()
    return torch.cat([redrawn, latents[some:]]) + recipe.noise * draws[1] * noise[1]


@torch.no_grad()
def critic_figures(critic: Critic, bank: LatentBank, text: nn.Module, batch: int = 256) -> dict[str, float]:
    """How well it tells clips of a bank from their mistakes, by their first caption that names every object: the share
    of pairs of a right and a wrong clip that it ranks rightly, and of the wrong ones that it refuses where it refuses
    one right clip in twenty."""
    odds = {True: [], False: []}
    for start in range(0, len(bank.latents), batch):
        part = slice(start, start + batch)
        tokens = bank.tokens[part, CAPTION_COUNTS["short"]].long()
        vectors = text(tokens, tokens != 0)
        latents, wrong = bank.latents[part].float(), bank.mistaken[part].float()
        odds[True].append(critic(latents, vectors))
        odds[False].append(critic(wrong, vectors)[shows_mistake(latents, wrong)])
    right, wrong = (torch.cat(odds[key]).float() for key in (True, False))
    ranked = (right[:, None] > wrong[None]).float().mean()
    refused = (wrong < right.quantile(0.05)).float().mean()
    return {"ranked_rightly": ranked.item(), "mistakes_refused": refused.item()}


def _body_error(told: Tensor, bodies: Tensor) -> Tensor:
    """Cross-entropy of each clip, (B,), of logits (B, colors * BODY_KINDS) against what has each color (B, colors)."""
    logits = told.unflatten(1, (-1, BODY_KINDS)).movedim(2, 1)
    return F.cross_entropy(logits, bodies, reduction="none").mean(dim=1)
