"""Makes training clips on the spot: simulate on the CPU cores, render on the training device, encode, caption.

Nothing is stored but seeds: the same seeds give the same clips on every machine.
"""

import multiprocessing
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import islice

import torch
from einops import rearrange
from torch import Tensor
from tqdm.auto import tqdm

from cosmos_lab.nn.wavelet_vae import WaveletVAE
from cosmos_lab.text.encoders import T5TextEncoder
from cosmos_lab.train.ranks import Ranks
from cosmos_lab.train.tokenizer import as_video
from cosmos_lab.train.world_model import LatentBank
from cosmos_lab.worlds.captions import caption
from cosmos_lab.worlds.families import simulate_many
from cosmos_lab.worlds.render import render
from cosmos_lab.worlds.scene import Rollout, Scene

# How often a caption of each length is drawn; in a bank each clip has this many of each.
CAPTION_COUNTS = {"short": 2, "sentence": 3, "dense": 3}


@dataclass(frozen=True, kw_only=True)
class ClipSource:
    """Which clips: `count` seeds from `first_seed` on, simulated by `workers` processes, rendered `batch` at a time."""

    count: int
    first_seed: int = 0
    split: str = "train"
    workers: int = 2
    batch: int = 16

    def part(self, ranks: Ranks) -> "ClipSource":
        """This rank's share: equally many seeds, none in common with another rank."""
        share = self.count // ranks.size
        return replace(self, count=share, first_seed=self.first_seed + ranks.rank * share,
                       workers=max(1, self.workers // ranks.size))

    def rollouts(self) -> Iterator[list[Rollout]]:
        """Batches in the order of the seeds; the processes simulate ahead while the caller renders."""
        seeds = range(self.first_seed, self.first_seed + self.count)
        return batched(simulate_many(seeds, split=self.split, workers=self.workers), self.batch)


def batched(items: Iterable[Rollout], size: int) -> Iterator[list[Rollout]]:
    """Consecutive lists of `size` items, the last one shorter."""
    items = iter(items)
    return iter(lambda: list(islice(items, size)), [])


@dataclass(frozen=True, kw_only=True)
class Pool:
    """Rendered clips on one device: `pixels` (N, T, H, W, 3) uint8, `body_index` (N, T, H, W) int8, their rollouts."""

    pixels: Tensor
    body_index: Tensor
    rollouts: list[Rollout]


def pictures(source: ClipSource, device: torch.device, progress: bool) -> Iterator[tuple[list[Rollout], Tensor, Tensor]]:
    """Rendered batches of a source, in the order of its seeds."""
    bar = tqdm(total=source.count, desc="rendering", disable=not progress, mininterval=5)
    for batch in source.rollouts():
        shown = render(batch, device=device, compile=device.type == "cuda")
        bar.update(len(batch))
        yield batch, shown.pixels, shown.body_index
    bar.close()


def render_pool(source: ClipSource, ranks: Ranks, progress: bool = True) -> Pool:
    """This rank's share of a source, rendered and kept on its device."""
    rollouts, pixels, indices = [], [], []
    for batch, picture, index in pictures(source.part(ranks), ranks.device, progress and ranks.first):
        rollouts += batch
        pixels.append(picture)
        indices.append(index)
    return Pool(pixels=torch.cat(pixels), body_index=torch.cat(indices), rollouts=rollouts)


def captions_of(scenes: list[Scene]) -> list[str]:
    """Several captions of each scene, CAPTION_COUNTS of each length."""
    kinds = [(length, seed) for length, count in CAPTION_COUNTS.items() for seed in range(count)]
    return [caption(scene, length, seed=seed) for scene in scenes for length, seed in kinds]


@torch.no_grad()
def latent_bank(source: ClipSource, vae: WaveletVAE, text: T5TextEncoder, ranks: Ranks) -> LatentBank:
    """This rank's share of a source as normalised latents and caption tokens, kept on its device."""
    source = source.part(ranks)
    latents, told = [], []
    # Captions take a fifth of the time of simulation, hence a fifth of the processes.
    with multiprocessing.get_context("spawn").Pool(max(1, source.workers // 5)) as tellers:
        for batch, pixels, _ in pictures(source, ranks.device, ranks.first):
            told.append(tellers.apply_async(captions_of, ([rollout.scene for rollout in batch],)))
            with torch.autocast(ranks.device.type, dtype=torch.bfloat16):
                latents.append(vae.encode(as_video(pixels)).half())
        captions = [text_of_one for future in told for text_of_one in future.get()]
    ids = text.tokenize(captions).ids.to(device=ranks.device, dtype=torch.int16)
    tokens = rearrange(ids, "(clips captions) n -> clips captions n", captions=sum(CAPTION_COUNTS.values()))
    return LatentBank(latents=torch.cat(latents), tokens=tokens)
