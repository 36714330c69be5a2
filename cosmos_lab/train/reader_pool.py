"""What the ruler learns to read: rendered clips, and the same clips as a decoder and a world model show them.

Whatever was done to a clip, its labels are those of the clean render.
"""

import os
from dataclasses import dataclass, replace

import torch
from einops import rearrange
from torch import Tensor

from cosmos_lab.evaluation.labels import LabelTable, label_table
from cosmos_lab.nn.wavelet_vae import WaveletVAE
from cosmos_lab.runtime.ranks import Ranks
from cosmos_lab.train.clips import ClipSource, Pool, render_pool
from cosmos_lab.train.redrawn import Redraw
from cosmos_lab.train.tokenizer import as_video, draw_disturbance, perturb
from cosmos_lab.worlds.split import is_withheld

# Where the reader's own clips begin; neither training nor evaluation of a world model comes here.
WITHHELD_SEED = 800_000_000


@dataclass(frozen=True, kw_only=True)
class ReaderPool:
    """P clips to read, out of N renders and R reconstructions, both (., T, H, W, 3) uint8 and never copied.

    Clip p is picture `picture[p]`, counted through renders and then reconstructions, and shows what render `render[p]`
    shows. `body_index` (N, T, H, W) and `labels` belong to the N renders.
    """

    rendered: Tensor
    decoded: Tensor
    picture: Tensor
    render: Tensor
    body_index: Tensor
    labels: LabelTable

    def __len__(self) -> int:
        return len(self.picture)

    def pixels(self, rows: Tensor) -> Tensor:
        """The pictures of some clips, (B, T, H, W, 3)."""
        picture, number = self.picture[rows], len(self.rendered)
        out = self.rendered[picture.clamp(max=number - 1)]
        late = picture >= number
        if late.any():
            out[late] = self.decoded[picture[late] - number]
        return out

    def split(self, num_held_out: int) -> tuple["ReaderPool", "ReaderPool"]:
        """Training clips, and `num_held_out` evenly spaced renders with every picture of them."""
        chosen = torch.linspace(0, len(self.rendered) - 1, num_held_out, device=self.render.device).round().long()
        held = torch.isin(self.render, chosen)
        return tuple(replace(self, picture=self.picture[mask], render=self.render[mask]) for mask in (~held, held))


@torch.no_grad()
def reconstruct(
    vae: WaveletVAE, pixels: Tensor, *, rows: Tensor, noise: float, generator: torch.Generator,
    redraw: Redraw | None = None, batch: int = 16,
) -> Tensor:  # fmt: skip
    """Encode clips `rows` of (N, T, H, W, 3) uint8, draw them again where that is asked for, perturb by up to `noise`
    channel standard deviations, decode."""
    out = torch.empty(len(rows), *pixels.shape[1:], dtype=torch.uint8, device=pixels.device)
    for start in range(0, len(rows), batch):
        part = slice(start, start + batch)
        with torch.autocast(pixels.device.type, dtype=torch.bfloat16, enabled=pixels.is_cuda):
            latents = vae.encode(as_video(pixels[rows[part]]))
            latents = redraw(latents, generator) if redraw else latents
            video = vae.decode(perturb(latents, *draw_disturbance(latents.shape, noise, generator)))
        out[part] = as_pixels(video)
    return out


def as_pixels(video: Tensor) -> Tensor:
    """(B, 3, T, H, W) in [-1, 1] -> (B, T, H, W, 3) uint8, rounded."""
    return rearrange(((video.float().clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8), "b c t h w -> b t h w c")


def reader_pool(
    pool: Pool, vae: WaveletVAE | None = None, *, share: float = 0.5, noise: float = 0.15, seed: int = 0,
    redraw: Redraw | None = None, redrawn: float = 0.5,
) -> ReaderPool:  # fmt: skip
    """A rendered pool and, where a tokenizer is given, reconstructions of a random `share` of it: with `redraw`, of a
    share `redrawn` of these after it has drawn them again, but for withheld combinations."""
    device = pool.pixels.device
    labels = label_table([rollout.scene for rollout in pool.rollouts]).to(device)
    everything = torch.arange(len(labels), device=device)
    again, decoded = everything[:0], pool.pixels[:0]
    if vae is not None:
        generator = torch.Generator(device=device).manual_seed(seed)
        again = torch.randperm(len(labels), generator=generator, device=device)[: round(share * len(labels))]
        # A model may turn a combination that it never saw into one that it knows: then the labels would be wrong.
        known = torch.tensor([redraw is not None and not is_withheld(r.scene) for r in pool.rollouts], device=device)
        chosen = known[again] & (torch.rand(len(again), generator=generator, device=device) < redrawn)
        ways = ((again[chosen], redraw), (again[~chosen], None))
        decoded = torch.cat([
            reconstruct(vae, pool.pixels, rows=rows, noise=noise, generator=generator, redraw=way) for rows, way in ways
        ])  # fmt: skip
        again = torch.cat([rows for rows, _ in ways])
    return ReaderPool(
        rendered=pool.pixels, decoded=decoded, picture=torch.arange(len(labels) + len(decoded), device=device),
        render=torch.cat([everything, again]), body_index=pool.body_index, labels=labels,
    )  # fmt: skip


def with_withheld(pool: Pool, count: int, ranks: Ranks, progress: bool = True) -> Pool:
    """The pool and, where it holds none, `count` clips of withheld combinations on each rank."""
    if count == 0 or any(is_withheld(rollout.scene) for rollout in pool.rollouts):
        return pool
    source = ClipSource(
        count=count * ranks.size, first_seed=WITHHELD_SEED, split="withheld", workers=max(2, (os.cpu_count() or 2) - 2)
    )
    return pool.joined(render_pool(source, ranks, progress))
