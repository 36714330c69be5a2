"""Trains nano's diffusion transformer and text encoder together, on latents of rendered clips.

Rectified flow: with t = sigma / (1 + sigma), the network sees (1 - t) x0 + t eps and predicts eps - x0
(Predict2's formulation with uniform velocity weighting). A random number of first latent frames is given clean.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cached_property

import torch
from einops import repeat
from torch import Tensor, nn

from cosmos_lab.train.capture import Captured
from cosmos_lab.train.loop import LossFunction
from cosmos_lab.train.mistakes import traced

# Latent rows and columns of a token.
TOKEN_PATCH = 2
# Predict2's noise level of conditional latent frames, as t.
CONDITIONAL_TIME = 1e-4 / (1 + 1e-4)


@dataclass(frozen=True, kw_only=True)
class WorldRecipe:
    """What the world model is asked while it learns.

    ln sigma is normal with `sigma_mean`, `sigma_std`; a share `high_noise` of clips gets log-uniform sigma in
    `high_range` instead, since sampling begins there. `text_dropout` of the prompts become the zero embedding.
    `conditional` gives the odds of 0, 1, 2 clean latent frames. Every `short_every`-th step trains on beginnings of
    clips, by turn those of `short`: (latent frames, how many times as many clips); 1 latent frame is a picture. With
    `state_weight` above 0, the tokens after block `state_block` also have to say what stands where
    (`train/states.py`), at that weight in the loss; with `meaning_weight` the text encoder has to say what its caption
    means (`train/meanings.py`). The flow's error counts up to 1 + `object_weight` times on tokens that objects touch
    (`place_weight`): they are few, and what a prompt is about. Clips from the middle of a motion always have 2 clean
    latent frames. Clips that come with a mistake are seen with a trace of it (`train/mistakes.py`).
    """

    batch: int = 128
    sigma_mean: float = 0.75
    sigma_std: float = 1.6
    high_noise: float = 0.1
    high_range: tuple[float, float] = (8.0, 160.0)
    text_dropout: float = 0.12
    conditional: tuple[float, float, float] = (0.76, 0.12, 0.12)
    short_every: int = 4
    short: tuple[tuple[int, int], ...] = ((1, 8), (3, 3), (1, 8), (5, 2))
    state_weight: float = 0.0
    state_block: int = 4
    meaning_weight: float = 0.0
    object_weight: float = 0.0

    def __post_init__(self):
        if abs(sum(self.conditional) - 1) > 1e-6:
            raise ValueError(f"the odds of 0, 1, 2 conditional latent frames must add up to 1, not {self.conditional}")
        if not (abs(self.sigma_mean) < float("inf") and 0 <= self.sigma_std < float("inf")):
            raise ValueError(f"ln sigma has a mean and a standard deviation from 0 on, not {self.sigma_mean:g} and "
                             f"{self.sigma_std:g}")
        if not 0 <= self.object_weight < float("inf"):
            raise ValueError(f"object_weight is 0 or more, not {self.object_weight}")
        if any(length == 2 or length < 1 or times < 1 for length, times in self.short):
            raise ValueError(f"short clips have 1 latent frame, or 3 and more (2 may be given): not {self.short}")

    def clips(self, step: int) -> tuple[int | None, int]:
        """Latent frames of a step's clips, None for all, and the number of clips."""
        if self.short_every < 1 or step % self.short_every:
            return None, self.batch
        length, times = self.short[step // self.short_every % len(self.short)]
        return length, times * self.batch


@dataclass(frozen=True, kw_only=True)
class LatentBank:
    """Encoded clips: normalised `latents` (N, C, T, h, w) and `tokens` (N, captions, length), 0 past a text's end.

    `meanings` (N, captions, questions): what each caption says (`train/meanings.py`). `states`
    (N, T, 14, h / 2, w / 2), where there are any: which share of a token each color and shape covers. `objects`
    (N, T, h / 2, w / 2) bool: which tokens objects touch, with a mistake or without. `later` (N,) bool: which clips
    begin in mid-motion. `mistaken`, as `latents`: each clip with a mistake, or as it is where it has none
    (`train/mistakes.py`). `bodies` (N, 2, colors) int8: what has each color in the clip and in its mistake
    (`train/critic.py`). `wrong_tokens` (N, wrong captions, length): captions with one thing wrong, all 0 where a clip
    has none.
    """

    latents: Tensor
    tokens: Tensor
    meanings: Tensor | None = None
    states: Tensor | None = None
    objects: Tensor | None = None
    later: Tensor | None = None
    mistaken: Tensor | None = None
    bodies: Tensor | None = None
    wrong_tokens: Tensor | None = None

    def part(self, rows: Tensor) -> "LatentBank":
        """The clips of these numbers."""
        held = {part.name: getattr(self, part.name) for part in fields(self)}
        rows = rows.to(self.latents.device)
        return LatentBank(**{name: None if part is None else part[rows] for name, part in held.items()})

    @classmethod
    def joined(cls, banks: Sequence["LatentBank"]) -> "LatentBank":
        """The clips of all banks, which hold the same things."""
        parts = {part.name: [getattr(bank, part.name) for bank in banks] for part in fields(cls)}
        return cls(**{name: None if held[0] is None else torch.cat(held) for name, held in parts.items()})

    def draw(self, count: int, generator: torch.Generator, beginnings: bool = False) -> "Drawn":
        """Random clips, each with one of its captions; with `beginnings` none from the middle of a motion."""
        device, among = self.latents.device, self._beginning if beginnings else None
        number = len(self.latents) if among is None else len(among)
        chosen = torch.randint(number, (count,), generator=generator, device=device)
        chosen = chosen if among is None else among[chosen]
        which = torch.randint(self.tokens.shape[1], (count,), generator=generator, device=device)
        parts = {name: getattr(self, name) for name in ("states", "objects", "later", "mistaken", "bodies")}
        parts = {name: None if part is None else part[chosen] for name, part in parts.items()}
        return Drawn(
            latents=self.latents[chosen].float(), tokens=self.tokens[chosen, which].long(), which=which,
            meanings=None if self.meanings is None else self.meanings[chosen, which],
            wrong_tokens=self._wrong_words(chosen, generator), **parts,
        )  # fmt: skip

    def _wrong_words(self, chosen: Tensor, generator: torch.Generator) -> Tensor | None:
        """One wrong caption of each of these clips."""
        if self.wrong_tokens is None:
            return None
        which = torch.randint(self.wrong_tokens.shape[1], chosen.shape, generator=generator, device=chosen.device)
        return self.wrong_tokens[chosen, which].long()

    @cached_property
    def _beginning(self) -> Tensor | None:
        """The clips that begin as their scenes do; None where all do. Asked for once: the GPU has to be waited for."""
        if self.later is None or not self.later.any():
            return None
        if self.later.all():
            raise ValueError("all clips begin in the middle of a motion: pictures are taken from the others; add some")
        return (~self.later).nonzero()[:, 0]


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """What a step trains on: B clips of a bank, one caption of each, the one numbered `which` (B,); `later` (B,) bool;
    `mistaken` and `bodies` as in a bank, and one of its `wrong_tokens` (B, length)."""

    latents: Tensor
    tokens: Tensor
    which: Tensor
    meanings: Tensor | None
    states: Tensor | None
    objects: Tensor | None
    later: Tensor | None
    mistaken: Tensor | None
    bodies: Tensor | None
    wrong_tokens: Tensor | None = None


def draw_time(recipe: WorldRecipe, count: int, generator: torch.Generator) -> Tensor:
    """t = sigma / (1 + sigma) for each clip, (B,)."""
    device = generator.device
    log_sigma = recipe.sigma_mean + recipe.sigma_std * torch.randn(count, generator=generator, device=device)
    low, high = (torch.tensor(edge).log().item() for edge in recipe.high_range)
    extreme = low + (high - low) * torch.rand(count, generator=generator, device=device)
    use_extreme = torch.rand(count, generator=generator, device=device) < recipe.high_noise
    return torch.sigmoid(torch.where(use_extreme, extreme, log_sigma))


def draw_mask(
    recipe: WorldRecipe, latents: Tensor, generator: torch.Generator, later: Tensor | None = None
) -> Tensor:
    """(B, 1, T, 1, 1): 1 on clean latent frames, 2 of them where `later` (B,). Single-frame batches have none."""
    batch, _, length, _, _ = latents.shape
    if length == 1:
        return latents.new_zeros(batch, 1, 1, 1, 1)
    none, one, _ = recipe.conditional
    drawn = torch.rand(batch, generator=generator, device=latents.device)
    # Comparisons, not a table of odds: a tensor made from Python's numbers halts the CPU until the GPU is done.
    count = (drawn >= none).int() + (drawn >= none + one).int()
    count = count if later is None else count.masked_fill(later, 2)
    clean = torch.arange(length, device=latents.device)[None] < count[:, None]
    return clean[:, None, :, None, None].to(latents.dtype)


def flow_error(
    dit: nn.Module, latents: Tensor, text: Tensor, t: Tensor, mask: Tensor, noise: Tensor,
    weight: Tensor | None = None, shown: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """Mean squared velocity error of each clip over its noisy latent frames, (B,).

    The network sees x_t = (1 - t) `shown` + t eps, and x0 itself where `mask` is 1; `shown` is x0 unless given. The
    velocity (x_t - x0) / t leads from there to x0: eps - x0 + (1 - t) / t (shown - x0). `weight`, which broadcasts to
    (B, 1, T, H, W), is that of each place in the mean.
    """
    shown, at = latents if shown is None else shown, t[:, None, None, None, None]
    seen = mask * latents + (1 - mask) * ((1 - at) * shown + at * noise)
    times = torch.where(mask[:, 0, :, 0, 0] > 0, torch.full_like(t, CONDITIONAL_TIME)[:, None], t[:, None])
    whole_mask = mask.expand(-1, -1, -1, *latents.shape[3:])
    with torch.autocast(latents.device.type, dtype=torch.bfloat16):
        velocity = dit(seen, times, text, condition_mask=whole_mask).float()
    counts = 1 - mask if weight is None else (1 - mask) * weight
    error = (velocity - (noise - latents) - (1 - at) / at * (shown - latents)).square() * counts
    return error.sum(dim=(1, 2, 3, 4)) / counts.expand_as(error).sum(dim=(1, 2, 3, 4))


def place_weight(objects: Tensor, gain: float, t: Tensor) -> Tensor:
    """1 on the background, 1 + gain (1 - t)^2 on tokens that objects touch: (B, T, h, w), (B,) -> (B, 1, T, H, W).

    Where objects are is a part of the answer w, and the least error then is at E[w v] / E[w], not at the mean E[v]:
    where noise hides the objects, it would put them in too many places. So the gain fades as noise grows.
    """
    gains = gain * (1 - t[:, None, None, None, None]).square()
    return 1 + gains * repeat(objects, "b t h w -> b 1 t (h i) (w j)", i=TOKEN_PATCH, j=TOKEN_PATCH)


def world_loss(modules: nn.ModuleDict, bank: LatentBank, recipe: WorldRecipe) -> LossFunction:
    """The loss over a bank of encoded clips; `modules` holds "dit", "text" and, for `state_weight`, "states"."""

    def measure(
        latents: Tensor, text: Tensor, t: Tensor, mask: Tensor, noise: Tensor, weight: Tensor, shown: Tensor,
        *states: Tensor,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        error = flow_error(modules["dit"], latents, text, t, mask, noise, weight, shown).mean()
        if not states:
            return error, {}
        state_error = modules["states"](*states)
        return error + recipe.state_weight * state_error, {"flow": error.detach(), "state": state_error.detach()}

    # The text encoder stays outside, where its vectors can be asked for more than the flow needs.
    captured = Captured(measure, nn.ModuleList(part for name, part in modules.items() if name in ("dit", "states")))

    def loss(step: int, generator: torch.Generator) -> tuple[Tensor, dict]:
        length, count = recipe.clips(step)
        drawn = bank.draw(count, generator, beginnings=length == 1)
        # The tokenizer is causal: the first latent frames are those of the clip's beginning alone.
        latents = drawn.latents[:, :, :length]
        heard = drawn.tokens != 0
        with torch.autocast(latents.device.type, dtype=torch.bfloat16):
            text = modules["text"](drawn.tokens, heard)
        keep = torch.rand(len(text), 1, 1, generator=generator, device=text.device) >= recipe.text_dropout
        noise = torch.randn(latents.shape, generator=generator, device=latents.device)
        t, mask = draw_time(recipe, len(text), generator), draw_mask(recipe, latents, generator, drawn.later)
        weight = latents.new_ones(1, 1, 1, 1, 1)
        if recipe.object_weight:
            weight = place_weight(drawn.objects[:, : latents.shape[2]].float(), recipe.object_weight, t)
        wrong = drawn.mistaken
        shown = latents if wrong is None else traced(latents, wrong[:, :, :length].float(), t, generator)
        known = [drawn.states[:, : latents.shape[2]].float()] if recipe.state_weight else []
        total, figures = captured(latents, text * keep, t, mask, noise, weight, shown, *known)
        if not recipe.meaning_weight:
            return total, figures
        meaning_error = modules["meanings"].error(text, heard, drawn.meanings)
        return total + recipe.meaning_weight * meaning_error, figures | {"meaning": meaning_error.detach()}

    return loss


@torch.no_grad()
def caption_shuffle_ratio(modules: nn.ModuleDict, bank: LatentBank, seed: int = 0) -> dict[str, float]:
    """Loss with the right captions, and how many times larger it is with the captions of other clips.

    A ratio of 1 means that the model does not listen; measured where words matter most, at t = 0.8.
    """
    generator = torch.Generator(device=bank.latents.device).manual_seed(seed)
    drawn = bank.draw(128, generator)
    latents, tokens = drawn.latents, drawn.tokens
    noise = torch.randn(latents.shape, generator=generator, device=latents.device)
    t, mask = latents.new_full((len(latents),), 0.8), latents.new_zeros(len(latents), 1, latents.shape[2], 1, 1)
    with torch.autocast(latents.device.type, dtype=torch.bfloat16):
        text = modules["text"](tokens, tokens != 0)
    own = flow_error(modules["dit"], latents, text, t, mask, noise).mean()
    other = flow_error(modules["dit"], latents, text.roll(1, dims=0), t, mask, noise).mean()
    return {"validation_loss": own.item(), "caption_shuffle_ratio": (other / own).item()}
