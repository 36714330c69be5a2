"""Teaches the text encoder what captions say, before anything is drawn from them.

Scenes are only drawn, not simulated, so captions cost next to nothing. What an encoder fails to learn here - which
noun belongs to which color - it does not learn beside a transformer either, where words and pictures wait for each
other.
"""

import multiprocessing
from dataclasses import dataclass
from functools import partial
from itertools import chain

import torch
from torch import Tensor, nn

from cosmos_lab.text.encoders import T5TextEncoder
from cosmos_lab.train.clips import captions_of
from cosmos_lab.train.loop import LossFunction
from cosmos_lab.train.meanings import BODIES, NOBODY
from cosmos_lab.worlds.families import draw_scene
from cosmos_lab.worlds.split import admits

SCENES_A_TASK = 100
# How much more than anything else a head attends to the next word, and how much less to each one after it.
NEAREST, FALLOFF = 5.0, 1.0


@dataclass(frozen=True, kw_only=True)
class CaptionBank:
    """`tokens` (N, length), 0 past a text's end, and `meanings` (N, questions) of captions."""

    tokens: Tensor
    meanings: Tensor

    def draw(self, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Random captions and what they say."""
        chosen = torch.randint(len(self.tokens), (count,), generator=generator, device=self.tokens.device)
        return self.tokens[chosen].long(), self.meanings[chosen]


def caption_bank(text: T5TextEncoder, seeds: range, *, split: str = "train", workers: int = 1) -> CaptionBank:
    """All captions of the scenes of these seeds that the split admits, told by processes, on the encoder's device."""
    tasks = [seeds[start : start + SCENES_A_TASK] for start in range(0, len(seeds), SCENES_A_TASK)]
    tell = partial(_told, split=split)
    if workers == 1:
        pairs = list(chain.from_iterable(map(tell, tasks)))
    else:
        with multiprocessing.get_context("spawn").Pool(workers) as tellers:
            pairs = list(chain.from_iterable(tellers.imap(tell, tasks)))
    texts, meanings = zip(*pairs)
    device = text.model.device
    return CaptionBank(tokens=text.tokenize(list(texts)).ids.to(device=device, dtype=torch.int16),
                       meanings=torch.tensor(meanings, dtype=torch.int8, device=device))


def _told(seeds: range, split: str) -> list[tuple[str, list[int]]]:
    return captions_of([scene for scene in map(draw_scene, seeds) if admits(split, scene)])


@torch.no_grad()
def look_around(model: nn.Module) -> None:
    """Lets the T5's heads begin with their neighbors: one looks ahead, one back, one both ways, the others anywhere.

    T5 does not divide its logits by sqrt(d_kv); queries that have grown large turn its attention into a hard choice by
    content, which no position can sway and no gradient passes. They get the spread back that T5 begins with,
    (d_model d_kv)^-1/2.
    """
    for name, weight in model.named_parameters():
        if name.endswith("SelfAttention.q.weight"):
            config = model.config
            weight.mul_((config.d_model * config.d_kv) ** -0.5 / weight.std())
        if name.endswith("relative_attention_bias.weight"):
            # Half of the buckets are for words before, half for those after; the first ones are one distance each.
            before, after = weight.zero_().chunk(2)
            distance = torch.arange(len(before), device=weight.device)
            near = (NEAREST - FALLOFF * (distance - 1)).clamp(min=-NEAREST)
            near[0] = -NEAREST
            after[:, 0] += near
            before[:, 0] -= NEAREST
            before[:, 1] += near
            after[:, 1] -= NEAREST
            before[:, 2] += near
            after[:, 2] += near


def meaning_loss(modules: nn.ModuleDict, bank: CaptionBank, batch: int) -> LossFunction:
    """The error of `modules` "meanings" on what "text" makes of random captions."""

    def loss(step: int, generator: torch.Generator) -> tuple[Tensor, dict]:
        tokens, meanings = bank.draw(batch, generator)
        with torch.autocast(tokens.device.type, dtype=torch.bfloat16):
            text = modules["text"](tokens, tokens != 0)
        return modules["meanings"].error(text, tokens != 0, meanings), {}

    return loss


@torch.no_grad()
def understood(modules: nn.ModuleDict, bank: CaptionBank, batch: int = 256) -> dict[str, float]:
    """Which share of the captions of a bank is understood: of all mentioned bodies the shape, the motion, the camera,
    and every question at once."""
    right = {"bodies": [], "motion": [], "camera": [], "caption": []}
    for tokens, meanings in zip(bank.tokens.long().split(batch), bank.meanings.split(batch)):
        answers = modules["meanings"](modules["text"](tokens, tokens != 0), tokens != 0).argmax(dim=2)
        same = answers == meanings
        bodies = same[:, BODIES] | (meanings[:, BODIES] == NOBODY)
        for name, share in zip(right, (bodies.all(dim=1), same[:, -2], same[:, -1], same.all(dim=1)), strict=True):
            right[name].append(share)
    return {name: torch.cat(shares).double().mean().item() for name, shares in right.items()}
