"""Trains nano's critic: which clips show what a caption says, and which show a mistake?

Right is a clip with its own caption; wrong is the clip with its mistake (`worlds/mistakes.py`), where its caption names
what is wrong or names every object, now and then a clip under the caption of another one, and the clip under a caption
in which one thing is wrong (`worlds/wrong_words.py`). Generated latents look otherwise than encoded ones, so a share of
the clips is seen as the world model draws them again from some noise, without a prompt (`train/redrawn.py`), and some
pairs are of clips that it has made from right and wrong captions (`train/imagined.py`). The critic never sees withheld
combinations, nor what the ruler reads.
"""

from dataclasses import dataclass, fields

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cosmos_lab.selection.critic import Critic, CriticConfig
from cosmos_lab.train.capture import Captured, StepFunction
from cosmos_lab.train.clips import CAPTION_COUNTS
from cosmos_lab.train.imagined import Imagined
from cosmos_lab.train.loop import LossFunction
from cosmos_lab.train.meanings import BODIES, BODY_KINDS, NOBODY
from cosmos_lab.train.mistakes import shows_mistake
from cosmos_lab.train.states import SIZES, drawn_map, state_error
from cosmos_lab.train.world_model import Drawn, LatentBank
from cosmos_lab.worlds.scene import COLORS


@dataclass(frozen=True, kw_only=True)
class CriticRecipe:
    """What the critic learns from.

    `wrong` of the clips that have a mistake show it, `foreign` of the others have another clip's caption, and
    `wrong_words` of those that are left, but for pictures, a caption with one thing wrong. `redrawn` of all are seen as
    the world model draws them from sigma, log-uniform in `sigmas`, below the noise under which it would mend what is
    wrong about them; to all is added up to `noise` of white noise.
    `imagined` of the pairs of a step, but for steps of pictures, are of clips that the world model has made of `scenes`
    on each GPU; where a critic is trained further, of those to which it gave odds of `trusted` or more.
    With weight `state_weight` the clip's tokens after `state_depth` layers also say what stands where
    (`train/states.py`), with `body_weight` the verdict's token after `body_depth` layers says what has each color, in
    the words and in the clip: a verdict is a comparison, and is not learned before there is something to compare.
    Every `short_every`-th step is of pictures.
    """

    wrong: float = 0.55
    foreign: float = 0.12
    wrong_words: float = 0.25
    redrawn: float = 0.5
    sigmas: tuple[float, float] = (0.2, 1.2)
    noise: float = 0.3
    imagined: float = 0.15
    scenes: int = 3000
    trusted: float = 0.9
    state_weight: float = 0.3
    state_depth: int = 2
    body_weight: float = 0.5
    body_depth: int = 4
    short_every: int = 6


@dataclass(frozen=True, kw_only=True)
class Pairs:
    """B clips and captions for a verdict: latents and tokens, `right` 1 where they belong together. `clean` is 1 where
    no mistake is shown: there `states` (B, T, 14, h, w) holds. `told`, `shown` (B, colors): what has each color in the
    words and in the clip, where `told_known`, `shown_known` (B,) are 1."""

    latents: Tensor
    tokens: Tensor
    right: Tensor
    clean: Tensor
    states: Tensor
    told: Tensor
    told_known: Tensor
    shown: Tensor
    shown_known: Tensor


def critic_heads(config: CriticConfig, device: torch.device, seed: int = 0) -> dict[str, nn.Module]:
    """The linear maps that only training asks: what stands where, and what has each color in words and clip."""
    sizes = {"states": sum(SIZES), "told": len(COLORS) * BODY_KINDS, "shown": len(COLORS) * BODY_KINDS}
    generator = torch.Generator().manual_seed(seed)
    return {name: drawn_map(config.width, size, generator).to(device) for name, size in sizes.items()}


def critic_loss(
    modules: nn.ModuleDict, bank: LatentBank, text: nn.Module, batch: int, recipe: CriticRecipe = CriticRecipe(),
    imagined: Imagined | None = None,
) -> LossFunction:  # fmt: skip
    """The loss over a bank of clips with mistakes, and over `imagined` ones; `modules` holds "critic" and its
    `critic_heads`.

    Binary cross-entropy of the verdict, and cross-entropy of what the heads are asked.
    """
    captured = Captured(_measured(modules, recipe), modules)
    some = round(recipe.imagined * batch) if imagined is not None and len(imagined.latents) else 0

    def loss(step: int, generator: torch.Generator) -> tuple[Tensor, dict]:
        length = 1 if step % recipe.short_every == 0 else None
        # Wrong words may be of what a picture does not show.
        added = some if length is None else 0
        pairs = draw_pairs(bank.draw(batch - added, generator, beginnings=True), length, recipe, generator)
        if added:
            pairs = with_imagined(pairs, *imagined.draw(added, generator))
        with torch.no_grad(), torch.autocast(pairs.latents.device.type, dtype=torch.bfloat16):
            vectors = text(pairs.tokens, pairs.tokens != 0)
        latents = noised(pairs.latents, recipe.noise, generator)
        states = pairs.states.index_select(1, modules["critic"].looked_at(latents.shape[2], latents.device))
        asked = (pairs.told, pairs.told_known, pairs.shown, pairs.shown_known)
        return captured(latents, vectors, pairs.right, pairs.clean, states, *asked)

    return loss


def _measured(modules: nn.ModuleDict, recipe: CriticRecipe) -> StepFunction:
    """Loss and figures of pairs; all that a CUDA graph records."""

    def measure(
        latents: Tensor, vectors: Tensor, right: Tensor, clean: Tensor, states: Tensor, told: Tensor,
        told_known: Tensor, shown: Tensor, shown_known: Tensor,
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
        heard, looked = _body_error(heard.float(), told), _body_error(looked.float(), shown)
        bodies = (heard * told_known + looked * shown_known).mean()
        parts = {"verdict": verdict.detach(), "state": state.detach(), "bodies": bodies.detach()}
        return verdict + recipe.state_weight * state + recipe.body_weight * bodies, parts

    return measure


def draw_pairs(drawn: Drawn, length: int | None, recipe: CriticRecipe, generator: torch.Generator) -> Pairs:
    """Which of drawn clips show their mistake, or have another one's caption or a wrong one; all cut to `length` latent
    frames."""
    latents, wrong = drawn.latents[:, :, :length], drawn.mistaken[:, :, :length].float()
    odds = torch.rand(3, len(latents), generator=generator, device=latents.device)
    names_all = drawn.which >= CAPTION_COUNTS["short"]
    mistaken = (odds[0] < recipe.wrong) & contradicts(drawn, names_all) & shows_mistake(latents, wrong)
    foreign = (odds[1] < recipe.foreign) & ~mistaken
    wrong_words = wrong_words_of(drawn, length)
    misworded = (odds[2] < recipe.wrong_words) & ~mistaken & ~foreign & wrong_words.any(dim=1)
    tokens = torch.where(foreign[:, None], drawn.tokens.roll(1, dims=0), drawn.tokens)
    own, changed = drawn.bodies.long().unbind(dim=1)
    return Pairs(
        latents=torch.where(mistaken[:, None, None, None, None], wrong, latents),
        tokens=torch.where(misworded[:, None], wrong_words, tokens),
        right=(~mistaken & ~foreign & ~misworded).float(), clean=(~mistaken).float(),
        states=drawn.states[:, : latents.shape[2]].float(),
        told=torch.where(foreign[:, None], own.roll(1, dims=0), own),
        told_known=(torch.where(foreign, names_all.roll(1, dims=0), names_all) & ~misworded).float(),
        shown=torch.where(mistaken[:, None], changed, own), shown_known=torch.ones_like(odds[0]),
    )  # fmt: skip


def with_imagined(pairs: Pairs, latents: Tensor, tokens: Tensor, right: Tensor) -> Pairs:
    """Pairs and, after them, those of imagined clips, of which nothing is known but whether they belong together."""
    given = {"latents": latents, "tokens": tokens, "right": right}
    held = {part.name: getattr(pairs, part.name) for part in fields(Pairs)}
    return Pairs(**{
        name: torch.cat([part, given.get(name, part.new_zeros(len(right), *part.shape[1:]))])
        for name, part in held.items()
    })  # fmt: skip


def wrong_words_of(drawn: Drawn, length: int | None) -> Tensor:
    """The wrong caption of each clip of `length` latent frames, (B, tokens), all 0 where there is none."""
    # A picture does not show what the camera does, which is what may be told wrongly.
    if drawn.wrong_tokens is None or length == 1:
        return torch.zeros_like(drawn.tokens)
    return drawn.wrong_tokens


def noised(latents: Tensor, most: float, generator: torch.Generator) -> Tensor:
    """Clips with white noise of a standard deviation between 0 and `most`, each of its own."""
    share = torch.rand(len(latents), 1, 1, 1, 1, generator=generator, device=latents.device)
    return latents + most * share * torch.randn(latents.shape, generator=generator, device=latents.device)


def contradicts(drawn: Drawn, names_all: Tensor) -> Tensor:
    """Whether a clip's mistake is one by its caption, (B,): captions that do not name all pass over much that a mistake
    may change."""
    changed = drawn.bodies[:, 0] != drawn.bodies[:, 1]
    named = drawn.meanings[:, BODIES] != NOBODY
    return (changed & (named | names_all[:, None])).any(dim=1)


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
