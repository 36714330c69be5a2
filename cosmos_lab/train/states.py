"""The truth beside the flow: while it denoises, the transformer is also asked what stands where.

A linear map on the tokens after an inner block tells which share of its patch each color and each shape covers, as
the simulator knows it. Features that say so are what binds the words of a prompt to bodies; Yu et al. 2024 (REPA,
arXiv 2410.06940) align such tokens with a pretrained encoder for the same reason. The map is dropped after training.
"""

import torch
from einops import rearrange, reduce
from torch import Tensor, nn

from cosmos_lab.evaluation.labels import COLOR_NAMES, PROP, dense_targets, label_table
from cosmos_lab.nn.layers import Linear, RMSNorm
from cosmos_lab.train.clips import Pool
from cosmos_lab.train.world_model import TOKEN_PATCH
from cosmos_lab.worlds.scene import SHAPES

# Pixels of a token's side: 8 of the tokenizer for each latent column.
TOKEN_SIDE = 8 * TOKEN_PATCH
PIXEL_FRAMES_PER_LATENT = 4
# A token counts as an object's from this share of its pixels on.
LEAST_SHARE = 0.02
SIZES = [len(COLOR_NAMES), len(SHAPES)]


@torch.no_grad()
def state_bank(pool: Pool, batch: int = 16) -> Tensor:
    """Shares of colors and shapes, (N, T, 10 + 4, h, w) float16: one value a token, from each latent frame's last
    pixel frame."""
    shares = []
    for start in range(0, len(pool.rollouts), batch):
        part = slice(start, start + batch)
        labels = label_table([rollout.scene for rollout in pool.rollouts[part]]).to(pool.body_index.device)
        last = pool.body_index[part, ::PIXEL_FRAMES_PER_LATENT]
        shares.append(torch.cat(dense_targets(last, labels, cell=TOKEN_SIDE), dim=2).half())
    return torch.cat(shares)


@torch.no_grad()
def object_bank(pool: Pool, batch: int = 64) -> Tensor:
    """Which tokens objects touch, (N, T, h, w) bool: within any of the pixel frames that a latent frame stands for.

    Those of a clip's mistake count as well: to weigh only what is right would tell right from wrong by the weight
    (`world_model.place_weight`).
    """
    touched = []
    for start in range(0, len(pool.rollouts), batch):
        part = slice(start, start + batch)
        colors = label_table([rollout.scene for rollout in pool.rollouts[part]]).color_of_body
        is_object = (colors < PROP).to(pool.body_index.device)
        at = pool.body_index[part].long() % colors.shape[1]
        there = is_object.gather(1, at.flatten(1)).view(at.shape)
        cells = reduce(there.float(), "b k (h i) (w j) -> b k h w", "mean", i=TOKEN_SIDE, j=TOKEN_SIDE) > LEAST_SHARE
        # The first latent frame stands for one pixel frame, every other for several.
        rest = reduce(cells[:, 1:].float(), "b (t k) h w -> b t h w", "max", k=PIXEL_FRAMES_PER_LATENT)
        touched.append(torch.cat([cells[:, :1], rest > 0], dim=1))
    objects = torch.cat(touched)
    if pool.mistaken is not None and len(pool.mistaken_from):
        objects[pool.mistaken_from] |= object_bank(pool.mistaken)
    return objects


@torch.no_grad()
def drawn_map(width: int, size: int, generator: torch.Generator) -> Linear:
    """A linear map with normal draws of deviation width^-1/2 and a bias of zeros."""
    linear = Linear(width, size, bias=True)
    linear.weight.copy_(width**-0.5 * torch.randn(linear.weight.shape, generator=generator))
    linear.bias.zero_()
    return linear


def state_error(logits: Tensor, shares: Tensor) -> Tensor:
    """Cross-entropy of each clip, (B,), in nats a token, of logits against shares, both (B, T, 14, h, w)."""
    parts = zip(logits.split(SIZES, dim=2), shares.split(SIZES, dim=2), strict=True)
    return sum(-(share * part.log_softmax(dim=2)).sum(dim=2).mean(dim=(1, 2, 3)) for part, share in parts)


class StateHead(nn.Module):
    """Reads the tokens that `block` of a transformer put out last; it keeps them by a hook. It is drawn with `seed`."""

    def __init__(self, width: int, block: nn.Module, *, seed: int = 0):
        super().__init__()
        self.norm = RMSNorm(width)
        self.linear = drawn_map(width, sum(SIZES), torch.Generator().manual_seed(seed))
        self.tokens: Tensor | None = None
        block.register_forward_hook(self._keep)

    def _keep(self, block: nn.Module, inputs: tuple, output: Tensor) -> None:
        # Validation asks for no gradients, and for no state.
        self.tokens = output if torch.is_grad_enabled() else None

    def forward(self, shares: Tensor) -> Tensor:
        """Cross-entropy against `shares` (B, T, 14, h, w), nats a token; lets go of the tokens."""
        logits = rearrange(self.linear(self.norm(self.tokens.float())), "b t h w c -> b t c h w")
        self.tokens = None
        return state_error(logits, shares).mean()

