"""Makes training clips on the spot: simulate on the CPU cores, render on the training device, encode, caption.

Nothing is stored but seeds: the same seeds give the same clips on every machine.
"""

import multiprocessing
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import islice
from multiprocessing.pool import AsyncResult

import torch
from einops import rearrange
from torch import Tensor
from tqdm.auto import tqdm

from cosmos_lab.nn.wavelet_vae import WaveletVAE
from cosmos_lab.runtime.ranks import Ranks
from cosmos_lab.text.encoders import T5TextEncoder
from cosmos_lab.train.meanings import meaning_of
from cosmos_lab.train.tokenizer import as_video
from cosmos_lab.train.world_model import LatentBank
from cosmos_lab.worlds.captions import describe
from cosmos_lab.worlds.families import simulate_many
from cosmos_lab.worlds.render import Pictures, render
from cosmos_lab.worlds.scene import Rollout, Scene

# How often a caption of each length is drawn; in a bank each clip has this many of each.
CAPTION_COUNTS = {"short": 2, "sentence": 3, "dense": 3}


@dataclass(frozen=True, kw_only=True)
class ClipSource:
    """Which clips: `count` seeds from `first_seed` on, simulated by `workers` processes.

    With `minutes`, rendering stops that long after the first pictures, and the clips made so far are all there are.
    `odds` are those of the scene families that are drawn more or less often than others; a share `later` of the clips
    begins in the middle of a motion, a share `drums` of the towers is of drums: no evaluation asks for these, but they
    show in a stack what colors the cubes of training never have.
    """

    count: int
    first_seed: int = 0
    split: str = "train"
    workers: int = 2
    minutes: float = float("inf")
    odds: Mapping[str, float] = field(default_factory=dict)
    later: float = 0.0
    drums: float = 0.0

    def part(self, ranks: Ranks) -> "ClipSource":
        """This rank's share: equally many seeds, none in common with another rank."""
        share = self.count // ranks.size
        return replace(self, count=share, first_seed=self.first_seed + ranks.rank * share,
                       workers=max(1, self.workers // ranks.size))


@dataclass(frozen=True, kw_only=True)
class Pool:
    """Rendered clips on one device with their scenes' captions.

    `pixels` (N, T, H, W, 3) uint8, `body_index` (N, T, H, W) int8; `captions` holds CAPTION_COUNTS of each clip, and
    `meanings` (captions, questions) what each of them says (`train/meanings.py`).
    """

    pixels: Tensor
    body_index: Tensor
    rollouts: list[Rollout]
    captions: list[str]
    meanings: Tensor

    def first(self, count: int) -> "Pool":
        """The first `count` clips."""
        told = count * sum(CAPTION_COUNTS.values())
        return Pool(pixels=self.pixels[:count], body_index=self.body_index[:count], rollouts=self.rollouts[:count],
                    captions=self.captions[:told], meanings=self.meanings[:told])

    def joined(self, other: "Pool") -> "Pool":
        """The clips of both."""
        tensors = {name: torch.cat([getattr(self, name), getattr(other, name)])
                   for name in ("pixels", "body_index", "meanings")}
        return Pool(rollouts=self.rollouts + other.rollouts, captions=self.captions + other.captions, **tensors)


def batched(items: Iterable[Rollout], size: int) -> Iterator[list[Rollout]]:
    """Consecutive lists of `size` items, the last one shorter."""
    items = iter(items)
    return iter(lambda: list(islice(items, size)), [])


def alike(rollouts: Iterable[Rollout], size: int, among: int = 512) -> Iterator[list[Rollout]]:
    """Lists of up to `size` rollouts with about as many bodies and one light, which render fastest together."""
    for wide in batched(rollouts, among):
        wide.sort(key=lambda rollout: (rollout.scene.light == "soft", len(rollout.scene.bodies)))
        yield from batched(wide, size)


def captions_of(scenes: list[Scene]) -> list[tuple[str, list[int]]]:
    """Several captions of each scene, CAPTION_COUNTS of each length, with what they say."""
    kinds = [(length, seed) for length, count in CAPTION_COUNTS.items() for seed in range(count)]
    told = [(scene, describe(scene, length, seed=seed)) for scene in scenes for length, seed in kinds]
    return [(caption.text, meaning_of(scene, caption)) for scene, caption in told]


def render_parts(source: ClipSource, ranks: Ranks, progress: bool = True, size: int = 1024) -> Iterator[Pool]:
    """This rank's share of a source in pools of about `size` clips, one by one, so that never all have to lie there.

    Simulated by processes, rendered and kept on the rank's device, told by processes.
    """
    source, device = source.part(ranks), ranks.device
    seeds = range(source.first_seed, source.first_seed + source.count)
    bar = tqdm(total=source.count, desc="rendering", disable=not (progress and ranks.first), mininterval=5)
    made, begun, over = [], None, False
    # Captions take a third of the time of simulation, hence a third of the processes.
    with multiprocessing.get_context("spawn").Pool(max(1, source.workers // 3)) as tellers:
        simulated = simulate_many(seeds, split=source.split, workers=source.workers, odds=source.odds,
                                  later=source.later, drums=source.drums)
        for batch in alike(simulated, size=64 if device.type == "cuda" else 2):
            told = tellers.apply_async(captions_of, ([rollout.scene for rollout in batch],))
            made.append((batch, render(batch, device=device, compile=device.type == "cuda"), told))
            bar.update(len(batch))
            # Before the first pictures are done, processes start, the first scenes are simulated, kernels are compiled.
            begun = begun or time.monotonic()
            over = time.monotonic() - begun > 60 * source.minutes
            if over or sum(len(batch) for batch, _, _ in made) >= size:
                part, made = _pooled(made), []
                yield part
                del part
            if over:
                break
        if made:
            yield _pooled(made)
    bar.close()


def _pooled(made: list[tuple[list[Rollout], Pictures, AsyncResult]]) -> Pool:
    """What was simulated, rendered and told, batch by batch, as one pool; waits for the tellers."""
    captions, meanings = zip(*(pair for _, _, told in made for pair in told.get()))
    rollouts, shown = [rollout for batch, _, _ in made for rollout in batch], [shown for _, shown, _ in made]
    pixels = torch.cat([pictures.pixels for pictures in shown])
    return Pool(pixels=pixels, body_index=torch.cat([pictures.body_index for pictures in shown]), rollouts=rollouts,
                captions=list(captions), meanings=torch.tensor(meanings, dtype=torch.int8, device=pixels.device))


def render_pool(source: ClipSource, ranks: Ranks, progress: bool = True) -> Pool:
    """This rank's share of a source in one pool."""
    count, device = source.part(ranks).count, ranks.device
    # Room for all at once: to join the parts in the end would take twice as much.
    pixels = torch.empty(count, 33, 112, 192, 3, dtype=torch.uint8, device=device)
    body_index = torch.empty(count, 33, 112, 192, dtype=torch.int8, device=device)
    rollouts, captions, meanings = [], [], []
    for part in render_parts(source, ranks, progress):
        place = slice(len(rollouts), len(rollouts) + len(part.rollouts))
        pixels[place], body_index[place] = part.pixels, part.body_index
        rollouts += part.rollouts
        captions += part.captions
        meanings.append(part.meanings)
        del part
    return Pool(pixels=pixels[: len(rollouts)], body_index=body_index[: len(rollouts)], rollouts=rollouts,
                captions=captions, meanings=torch.cat(meanings))


@torch.no_grad()
def latent_bank(pool: Pool, vae: WaveletVAE, text: T5TextEncoder, batch: int = 16) -> LatentBank:
    """A pool as normalised latents and caption tokens, on the pool's device."""
    device = pool.pixels.device
    with torch.autocast(device.type, dtype=torch.bfloat16):
        latents = [vae.encode(as_video(part)).half() for part in pool.pixels.split(batch)]
    # Outside: autocast has no rule for joining float16 on a CPU.
    latents = torch.cat(latents)
    ids = text.tokenize(pool.captions).ids.to(device=device, dtype=torch.int16)
    tokens, meanings = (rearrange(rows, "(clips captions) n -> clips captions n", clips=len(latents))
                        for rows in (ids, pool.meanings))
    later = torch.tensor([rollout.start > 0 for rollout in pool.rollouts], device=device)
    return LatentBank(latents=latents, tokens=tokens, meanings=meanings, later=later)
