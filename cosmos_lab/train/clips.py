"""Makes training clips on the spot: simulate on the CPU cores, render on the training device, encode, caption.

Nothing is stored but seeds: the same seeds give the same clips on every machine.
"""

import multiprocessing
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from multiprocessing.pool import AsyncResult
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor
from tqdm.auto import tqdm

from cosmos_lab.runtime.ranks import Ranks
from cosmos_lab.train.meanings import meaning_of
from cosmos_lab.worlds.captions import LENGTHS, describe
from cosmos_lab.worlds.mistakes import JUDGED, MENDED, Kind, mistaken, span
from cosmos_lab.worlds.mixture import EVEN, Mixture, simulate_many
from cosmos_lab.worlds.render import Pictures, render
from cosmos_lab.worlds.scene import Rollout, Scene
from cosmos_lab.worlds.wrong_words import wrong_captions

# How often a caption of each length is drawn; in a bank each clip has this many of each.
CAPTION_COUNTS = {"short": 2, "sentence": 3, "dense": 3}
# How many wrong captions each clip has in a bank, where any are asked for.
WRONG_CAPTIONS = len(LENGTHS)
# The streams of a scene's seed that draw its mistake and its wrong captions.
_MISTAKES, _WRONG_WORDS = 1, 2
Item = TypeVar("Item")


@dataclass(frozen=True, kw_only=True)
class ClipSource:
    """Which clips: `count` seeds from `first_seed` on, simulated by `workers` processes.

    With `minutes`, rendering stops that long after the first pictures, and the clips made so far are all there are.
    `mixture` says what they are drawn from. A share `mistakes` of them is rendered once more with a mistake, where
    there is room for one (`worlds/mistakes.py`). `judged` are those that a critic learns from: their mistakes are those
    that a world model makes, and they also get captions with one thing wrong (`worlds/wrong_words.py`).
    """

    count: int
    first_seed: int = 0
    split: str = "train"
    workers: int = 2
    minutes: float = float("inf")
    mixture: Mixture = EVEN
    mistakes: float = 0.0
    judged: bool = False

    def part(self, ranks: Ranks) -> "ClipSource":
        """This rank's share: equally many seeds, none in common with another rank."""
        share = self.count // ranks.size
        return replace(self, count=share, first_seed=self.first_seed + ranks.rank * share,
                       workers=max(1, self.workers // ranks.size))


@dataclass(frozen=True, kw_only=True)
class Pool:
    """Rendered clips on one device with their scenes' captions.

    `pixels` (N, T, H, W, 3) uint8, `body_index` (N, T, H, W) int8; `captions` holds CAPTION_COUNTS of each clip, and
    `meanings` (captions, questions) what each of them says (`train/meanings.py`). `mistaken`, where there is any, are
    clips with a mistake, without captions, and `mistaken_from` (M,) those of this pool that they come from.
    `wrong_captions`, where they are asked for, holds WRONG_CAPTIONS of each clip, empty ones if it has none.
    """

    pixels: Tensor
    body_index: Tensor
    rollouts: list[Rollout]
    captions: list[str]
    meanings: Tensor
    mistaken: "Pool | None" = None
    mistaken_from: Tensor | None = None
    wrong_captions: list[str] | None = None

    def first(self, count: int) -> "Pool":
        """The first `count` clips, without mistakes and wrong captions."""
        told = count * sum(CAPTION_COUNTS.values())
        return Pool(pixels=self.pixels[:count], body_index=self.body_index[:count], rollouts=self.rollouts[:count],
                    captions=self.captions[:told], meanings=self.meanings[:told])

    def joined(self, other: "Pool") -> "Pool":
        """The clips of both, without mistakes and wrong captions."""
        tensors = {name: torch.cat([getattr(self, name), getattr(other, name)])
                   for name in ("pixels", "body_index", "meanings")}
        return Pool(rollouts=self.rollouts + other.rollouts, captions=self.captions + other.captions, **tensors)


def batched(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """Consecutive lists of `size` items, the last one shorter."""
    items = iter(items)
    return iter(lambda: list(islice(items, size)), [])


def alike(rollouts: Iterable[Rollout], size: int, among: int = 512) -> Iterator[list[Rollout]]:
    """Lists of up to `size` rollouts with about as many bodies and one light, which render fastest together."""
    for wide in batched(rollouts, among):
        wide.sort(key=_kind)
        yield from batched(wide, size)


def _kind(rollout: Rollout) -> tuple[bool, int]:
    """What takes different steps to render: light, and how many bodies."""
    return rollout.scene.light == "soft", len(rollout.scene.bodies)


def _at_once(device: torch.device) -> int:
    """How many clips to render together."""
    return 64 if device.type == "cuda" else 2


def captions_of(scenes: list[Scene]) -> list[tuple[str, list[int]]]:
    """Several captions of each scene, CAPTION_COUNTS of each length, with what they say."""
    kinds = [(length, seed) for length, count in CAPTION_COUNTS.items() for seed in range(count)]
    told = [(scene, describe(scene, length, seed=seed)) for scene in scenes for length, seed in kinds]
    return [(caption.text, meaning_of(scene, caption)) for scene, caption in told]


def wrong_captions_of(scenes: list[Scene]) -> list[str]:
    """WRONG_CAPTIONS of each scene, drawn by its seed: some twice where there are fewer, empty where there is none."""
    texts = []
    for scene in scenes:
        found = wrong_captions(scene, np.random.default_rng([scene.seed, _WRONG_WORDS])) or [""]
        texts += [found[number % len(found)] for number in range(WRONG_CAPTIONS)]
    return texts


def render_parts(source: ClipSource, ranks: Ranks, progress: bool = True, size: int = 1024) -> Iterator[Pool]:
    """This rank's share of a source in pools of about `size` clips, one by one, so that never all have to lie there.

    Simulated by processes, rendered and kept on the rank's device, told by processes.
    """
    source, device = source.part(ranks), ranks.device
    seeds = range(source.first_seed, source.first_seed + source.count)
    bar = tqdm(total=source.count, desc="rendering", disable=not (progress and ranks.first), mininterval=5)
    made, begun, over = [], None, False
    # To tell clips takes less time than to simulate them, and no one waits for it before a pool is full.
    with multiprocessing.get_context("spawn").Pool(max(1, source.workers // 3)) as tellers:
        simulated = simulate_many(seeds, split=source.split, workers=source.workers, mixture=source.mixture)
        for batch in alike(simulated, size=_at_once(device)):
            scenes = [rollout.scene for rollout in batch]
            told = tellers.apply_async(captions_of, (scenes,))
            wrong = tellers.apply_async(wrong_captions_of, (scenes,)) if source.judged else None
            made.append((batch, render(batch, device=device, compile=device.type == "cuda"), told, wrong))
            bar.update(len(batch))
            # Before the first pictures are done, processes start, the first scenes are simulated, kernels are compiled.
            begun = begun or time.monotonic()
            over = time.monotonic() - begun > 60 * source.minutes
            if over or sum(len(batch) for batch, *_ in made) >= size:
                part, made = _pooled(made), []
                yield _with_mistakes(part, source)
                del part
            if over:
                break
        if made:
            yield _with_mistakes(_pooled(made), source)
    bar.close()


def _pooled(made: list[tuple[list[Rollout], Pictures, AsyncResult, AsyncResult | None]]) -> Pool:
    """What was simulated, rendered and told, batch by batch, as one pool; waits for the tellers."""
    batches, shown, told, wrong = zip(*made)
    captions, meanings = zip(*(pair for pairs in told for pair in pairs.get()))
    rollouts = [rollout for batch in batches for rollout in batch]
    mistold = None if None in wrong else [text for texts in wrong for text in texts.get()]
    pixels = torch.cat([pictures.pixels for pictures in shown])
    return Pool(pixels=pixels, body_index=torch.cat([pictures.body_index for pictures in shown]), rollouts=rollouts,
                captions=list(captions), meanings=torch.tensor(meanings, dtype=torch.int8, device=pixels.device),
                wrong_captions=mistold)  # fmt: skip


def _with_mistakes(pool: Pool, source: ClipSource) -> Pool:
    """The pool, and a share of its clips once more with a mistake."""
    if not source.mistakes:
        return pool
    odds = JUDGED if source.judged else MENDED
    found, device = mistakes_of(pool.rollouts, source.mistakes, odds), pool.pixels.device
    places = sorted(found, key=lambda place: _kind(found[place][0]))
    pixels, index = pool.pixels[places], pool.body_index[places]
    for rows in batched(range(len(places)), _at_once(device)):
        some = [found[places[row]] for row in rows]
        shown = render([rollout for rollout, _ in some], device=device, compile=device.type == "cuda")
        for row, clip, (_, part) in zip(rows, shown.pixels, some, strict=True):
            pixels[row, part] = clip[part]
        index[rows] = shown.body_index
    wrong = Pool(pixels=pixels, body_index=index, rollouts=[found[place][0] for place in places], captions=[],
                 meanings=pool.meanings[:0])  # fmt: skip
    return replace(pool, mistaken=wrong, mistaken_from=torch.tensor(places, dtype=torch.int64, device=device))


def mistakes_of(
    rollouts: Sequence[Rollout], share: float, odds: Mapping[Kind, float]
) -> dict[int, tuple[Rollout, slice]]:
    """A share of clips with a mistake, by place, and the pixel frames that show it; drawn by their scenes' seeds."""
    wrong = {}
    for place, rollout in enumerate(rollouts):
        rng = np.random.default_rng([rollout.scene.seed, _MISTAKES])
        found = mistaken(rollout, rng, odds) if rng.random() < share else None
        if found is not None:
            wrong[place] = found, span(len(found.position), rng)
    return wrong


def render_pool(source: ClipSource, ranks: Ranks, progress: bool = True) -> Pool:
    """This rank's share of a source in one pool, without mistakes and wrong captions."""
    count, device = source.part(ranks).count, ranks.device
    # Room for all at once: to join the parts in the end would take twice as much.
    pixels = torch.empty(count, 33, 112, 192, 3, dtype=torch.uint8, device=device)
    body_index = torch.empty(count, 33, 112, 192, dtype=torch.int8, device=device)
    rollouts, captions, meanings = [], [], []
    for part in render_parts(replace(source, mistakes=0.0, judged=False), ranks, progress):
        place = slice(len(rollouts), len(rollouts) + len(part.rollouts))
        pixels[place], body_index[place] = part.pixels, part.body_index
        rollouts += part.rollouts
        captions += part.captions
        meanings.append(part.meanings)
        del part
    return Pool(pixels=pixels[: len(rollouts)], body_index=body_index[: len(rollouts)], rollouts=rollouts,
                captions=captions, meanings=torch.cat(meanings))
