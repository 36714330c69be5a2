"""Clips as world model and critic learn them: latents, caption tokens, and what else they are asked."""

from collections.abc import Iterable
from dataclasses import replace

import torch
from einops import rearrange
from torch import Tensor

from cosmos_lab.nn.wavelet_vae import WaveletVAE
from cosmos_lab.text.encoders import T5TextEncoder
from cosmos_lab.train.clips import WRONG_CAPTIONS, Pool
from cosmos_lab.train.meanings import bodies_of
from cosmos_lab.train.states import object_bank, state_bank
from cosmos_lab.train.tokenizer import as_video
from cosmos_lab.train.world_model import LatentBank


def world_bank(
    pools: Iterable[Pool], vae: WaveletVAE, text: T5TextEncoder, *, states: bool = False, objects: bool = False,
    wrong_words: bool = False,
) -> LatentBank:  # fmt: skip
    """Clips as world model and critic learn them: latents, tokens, and, if asked for, what stands where and captions
    with one thing wrong. Raises ValueError where there is none."""
    banks = []
    for pool in pools:
        banks.append(replace(
            latent_bank(pool, vae, text), states=state_bank(pool) if states else None,
            objects=object_bank(pool) if objects else None,
            wrong_tokens=wrong_token_bank(pool, text) if wrong_words else None,
        ))  # fmt: skip
        # Before the next one is made, which takes as much memory again.
        del pool
    if not banks:
        raise ValueError("no clip was made: ask for more --clips or more --render_minutes")
    return LatentBank.joined(banks)


@torch.no_grad()
def encoded(pixels: Tensor, vae: WaveletVAE, batch: int) -> Tensor:
    """Normalised latents (N, C, T', h, w) of clips (N, T, H, W, 3), in float16."""
    with torch.autocast(pixels.device.type, dtype=torch.bfloat16):
        latents = [vae.encode(as_video(part)).half() for part in pixels.split(batch)]
    # Outside: autocast has no rule for joining float16 on a CPU.
    return torch.cat(latents)


@torch.no_grad()
def latent_bank(pool: Pool, vae: WaveletVAE, text: T5TextEncoder, batch: int = 16) -> LatentBank:
    """A pool as normalised latents and caption tokens, on the pool's device."""
    device, latents, wrong = pool.pixels.device, encoded(pool.pixels, vae, batch), None
    if pool.mistaken is not None:
        wrong = latents.clone()
        if len(pool.mistaken_from):
            wrong[pool.mistaken_from] = encoded(pool.mistaken.pixels, vae, batch)
    ids = text.tokenize(pool.captions).ids.to(device=device, dtype=torch.int16)
    tokens, meanings = (rearrange(rows, "(clips captions) n -> clips captions n", clips=len(latents))
                        for rows in (ids, pool.meanings))
    later = torch.tensor([rollout.start > 0 for rollout in pool.rollouts], device=device)
    return LatentBank(latents=latents, tokens=tokens, meanings=meanings, later=later, mistaken=wrong,
                      bodies=_bodies(pool).to(device))


def wrong_token_bank(pool: Pool, text: T5TextEncoder) -> Tensor:
    """The wrong captions of a pool as tokens, (N, WRONG_CAPTIONS, length) int16, all 0 where there is none.

    Raises ValueError for a pool that was made without them.
    """
    if pool.wrong_captions is None:
        raise ValueError("these clips have no wrong captions: they are only made where they are to be `judged`")
    ids = text.tokenize(pool.wrong_captions).ids
    # An empty text would still have a token that ends it.
    ids = ids * torch.tensor([bool(caption) for caption in pool.wrong_captions])[:, None]
    ids = ids.to(device=pool.pixels.device, dtype=torch.int16)
    return rearrange(ids, "(clips captions) n -> clips captions n", captions=WRONG_CAPTIONS)


def _bodies(pool: Pool) -> Tensor:
    """What has each color in every clip and in its mistake, (N, 2, colors); the same twice where it has none."""
    told = torch.tensor([[bodies_of(rollout.scene)] * 2 for rollout in pool.rollouts], dtype=torch.int8)
    if pool.mistaken is not None:
        for row, rollout in zip(pool.mistaken_from.tolist(), pool.mistaken.rollouts, strict=True):
            told[row, 1] = torch.tensor(bodies_of(rollout.scene), dtype=torch.int8)
    return told
