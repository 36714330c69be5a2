"""Trains the ruler on rendered clips, on the tokenizer's reconstructions of them, and on what a world model draws.

The reader must judge generated clips, so it also sees what a decoder and a world model do to edges and colors: a share
of the pool is encoded, in part drawn again by the world model (`train/redrawn.py`), perturbed in latent space and
decoded, under the labels of the clean render.
"""

from dataclasses import dataclass
from pathlib import Path

import torch
from einops import rearrange, reduce
from torch import Tensor, nn
from torch.nn import functional as F

from cosmos_lab.evaluation.labels import PROP, LabelTable, dense_targets
from cosmos_lab.evaluation.reader import Reader, ReaderConfig, ReaderOutput
from cosmos_lab.nn.wavelet_vae import WaveletVAE
from cosmos_lab.runtime.checkpoints import load_weights
from cosmos_lab.runtime.ranks import Ranks
from cosmos_lab.train.clips import Pool
from cosmos_lab.train.loop import LossFunction, Plan, Training, train
from cosmos_lab.train.reader_accuracy import reader_accuracy
from cosmos_lab.train.reader_pool import ReaderPool, reader_pool, with_withheld
from cosmos_lab.train.redrawn import Redraw
from cosmos_lab.train.tokenizer import as_video


@dataclass(frozen=True, kw_only=True)
class ReaderRecipe:
    """`batch` clips a step, of which `dense` pixel frames each are segmented; `augment` scales every corruption.

    `clips` renders over all GPUs make the pool: a ruler needs fewer than a world. `withheld` clips of combinations
    that the world model never sees join on each GPU where the pool has none: a ruler must not share the blind spots of
    the model that it measures. `dense_weight` is that of the cells' colors and shapes, `vote_weight` that of the shapes
    of whole objects. Where there is a world model, a share `redrawn` of the reconstructions is of clips that it draws
    again from sigma, log-uniform in `sigmas`: from more noise it would show other things than the labels say. At the
    end, `settle` batches re-estimate the normalization statistics of the averaged weights.
    """

    clips: int = 16_000
    batch: int = 32
    dense: int = 4
    dense_weight: float = 10.0
    vote_weight: float = 1.0
    augment: float = 1.0
    max_latent_noise: float = 0.15
    redrawn: float = 0.5
    sigmas: tuple[float, float] = (0.2, 1.0)
    settle: int = 40
    withheld: int = 2_000

    def __post_init__(self):
        if min(self.clips, self.batch, self.dense, self.settle) < 1:
            raise ValueError(f"clips, batch, dense and settle must be at least 1: {self}")


def smear(video: Tensor, amount: Tensor, size: int = 9) -> Tensor:
    """Spread color, not brightness, over `size` pixels, as a decoder's halos do; `amount` (B, 1, 1, 1, 1) from 0 on."""
    gray = video.mean(dim=1, keepdim=True)
    flat = rearrange(video - gray, "b c t h w -> (b t) c h w")
    wide = F.avg_pool2d(flat, size, stride=1, padding=size // 2, count_include_pad=False)
    wide = rearrange(wide, "(b t) c h w -> b c t h w", b=video.shape[0])
    return torch.lerp(video, gray + wide, amount)


def corrupt(video: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    """Mild exposure, tint, smeared color, blur and noise, drawn for each clip; (B, 3, T, H, W) in [-1, 1] both ways.

    Hue hardly moves within an object: color is what the reader has to tell. Half of the clips are not smeared.
    """
    def uniform(low: float, high: float, channels: int = 1) -> Tensor:
        size = (video.shape[0], channels, 1, 1, 1)
        return low + (high - low) * torch.rand(size, generator=generator, device=video.device)

    gain, tint = uniform(-0.12, 0.12), uniform(-0.03, 0.03, channels=3)
    video = (video + 1) * (1 + strength * (gain + tint)) - 1 + strength * uniform(-0.06, 0.06)
    video = smear(video, strength * uniform(-0.5, 0.5).clamp(min=0))
    kernel = torch.tensor([0.25, 0.5, 0.25], device=video.device)
    flat = rearrange(video, "b c t h w -> (b c t) 1 h w")
    flat = F.pad(flat, (1, 1, 1, 1), mode="replicate")
    flat = F.conv2d(F.conv2d(flat, rearrange(kernel, "k -> 1 1 k 1")), rearrange(kernel, "k -> 1 1 1 k"))
    blurred = rearrange(flat, "(b c t) 1 h w -> b c t h w", b=video.shape[0], c=3)
    video = torch.lerp(video, blurred, strength * uniform(-0.8, 0.8).clamp(min=0))
    noise = torch.randn(video.shape, generator=generator, device=video.device)
    return (video + strength * uniform(-0.03, 0.05).clamp(min=0) * noise).clamp(-1, 1)


def share_entropy(logits: Tensor, share: Tensor) -> Tensor:
    """Cross-entropy against shares (B, K, C, h, w) that sum to at most 1 over C: mean over cells."""
    return -(share * logits.log_softmax(dim=2)).sum(dim=2).mean()


def vote_entropy(logits: Tensor, shapes: Tensor, colors: Tensor, min_cells: float = 10.0) -> Tensor:
    """Cross-entropy of the shapes that whole objects vote for: what the ruler reports, not what single cells say.

    `logits` and shares `shapes` (B, K, 4, h, w), `colors` (B, K, 10, h, w). An object is what shows one color in one
    pixel frame, in at least `min_cells` cells; its vote is the mean of its cells' probabilities.
    """
    objects = colors[:, :, :PROP]
    cells = reduce(objects, "b k c h w -> b k c", "sum")
    each = objects / rearrange(cells.clamp(min=1), "b k c -> b k c 1 1")
    votes = torch.einsum("bkchw,bkshw->bkcs", each, logits.softmax(dim=2))
    truth = torch.einsum("bkchw,bkshw->bkcs", each, shapes)
    entropy = -(truth * (votes + 1e-6).log()).sum(dim=-1)
    large = cells >= min_cells
    return (entropy * large).sum() / large.sum().clamp(min=1)


def reader_terms(output: ReaderOutput, colors: Tensor, shapes: Tensor, labels: LabelTable) -> dict[str, Tensor]:
    """Every term of the loss by name: dense colors and shapes, the shapes that whole objects vote for, the camera's
    view, and each clip-level cross-entropy."""
    terms = {"colors": share_entropy(output.colors, colors), "shapes": share_entropy(output.shapes, shapes)}
    terms["votes"] = vote_entropy(output.shapes, shapes, colors)
    terms["view"] = F.mse_loss(output.view.float(), labels.view)
    return terms | {name: F.cross_entropy(logits, labels.clip[name]) for name, logits in output.clip.items()}


def draw(
    pool: ReaderPool, recipe: ReaderRecipe, generator: torch.Generator
) -> tuple[Tensor, Tensor, Tensor, LabelTable]:
    """A training batch: corrupted video, which pixel frames to segment (B, K), their body index, labels."""
    device, length = pool.rendered.device, pool.rendered.shape[1]
    chosen = torch.randint(len(pool), (recipe.batch,), generator=generator, device=device)
    renders = pool.render[chosen]
    video = corrupt(as_video(pool.pixels(chosen)), recipe.augment, generator)
    at = torch.rand(recipe.batch, length, generator=generator, device=device).argsort(dim=1)[:, : recipe.dense]
    body_index = pool.body_index[rearrange(renders, "b -> b 1"), at]
    return video, at, body_index, pool.labels.select(renders)


def reader_loss(reader: Reader, pool: ReaderPool, recipe: ReaderRecipe) -> LossFunction:
    """The loss over a pool that lies on the training device."""
    device = pool.rendered.device

    def loss(step: int, generator: torch.Generator) -> tuple[Tensor, dict]:
        video, at, body_index, labels = draw(pool, recipe, generator)
        colors, shapes = dense_targets(body_index, labels)
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=device.type == "cuda"):
            output = reader(video, dense_at=at)
        terms = reader_terms(output, colors, shapes, labels)
        weights = {"colors": recipe.dense_weight, "shapes": recipe.dense_weight, "votes": recipe.vote_weight}
        total = sum(weights.get(name, 1.0) * value for name, value in terms.items())
        return total, {name: value.detach() for name, value in terms.items()}

    return loss


@torch.no_grad()
def settle_statistics(reader: Reader, pool: ReaderPool, recipe: ReaderRecipe, *, seed: int = 1) -> None:
    """Re-estimate the batch-normalization statistics for the weights as they are (after averaging them, say)."""
    norms = [module for module in reader.modules() if isinstance(module, (nn.BatchNorm2d, nn.BatchNorm3d))]
    held = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a cumulative mean over the batches that follow
    generator = torch.Generator(device=pool.rendered.device).manual_seed(seed)
    reader.train()
    for _ in range(recipe.settle):
        video, at, _, _ = draw(pool, recipe, generator)
        reader(video, dense_at=at)
    for norm, momentum in zip(norms, held):
        norm.momentum = momentum
    reader.eval()


def train_reader(
    pool: Pool, plan: Plan, ranks: Ranks, folder: Path, *, vae: WaveletVAE | None = None,
    redraw: Redraw | None = None, recipe: ReaderRecipe = ReaderRecipe(), weights: Path | None = None,
    num_held_out: int = 64, progress: bool = True,
) -> tuple[Reader, dict[str, float]]:  # fmt: skip
    """Train a reader on a rendered pool and, where `vae` is given, on its reconstructions, some of what `redraw` makes
    of the latents (`reader_pool`); resumes from `folder`/state.pt where there is one, else starts from `weights` if
    that file exists.

    Returns the averaged weights, ready to read, and their accuracy on `num_held_out` renders, or a quarter of them
    where there are few, that were kept aside. Raises ValueError for fewer than 4 clips.
    """
    pool = with_withheld(pool, recipe.withheld, ranks, progress=progress)
    if (count := len(pool.rollouts)) < 4:
        raise ValueError(f"the reader learns from 4 clips or more, a quarter of which is held out; not {count}")
    reader = Reader(ReaderConfig.default()).to(ranks.device)
    reader.initialize(torch.Generator(device=ranks.device).manual_seed(plan.seed))
    if weights is not None and weights.is_file():
        load_weights(reader, weights)
    noisy = reader_pool(pool, vae, noise=recipe.max_latent_noise, seed=plan.seed + ranks.rank, redraw=redraw,
                        redrawn=recipe.redrawn)  # fmt: skip
    training_pool, held_out = noisy.split(min(num_held_out, count // 4))
    training = Training(nn.ModuleDict({"reader": reader}), plan, ranks)
    if (folder / "state.pt").is_file():
        training.resume(folder / "state.pt")

    def observe() -> dict[str, float]:
        figures = reader_accuracy(reader, held_out)
        reader.train()
        return {f"held_out_{name}": value for name, value in figures.items()}

    reader.train()
    train(training, reader_loss(reader, training_pool, recipe), folder, observe=observe, progress=progress)
    training.swap_average()
    settle_statistics(reader, training_pool, recipe)
    return reader, reader_accuracy(reader, held_out)
