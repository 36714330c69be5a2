"""Which colors are objects' colors: an edge between two objects, or a decoder's halo, can look like a third one."""

import torch
from einops import rearrange, reduce
from torch import Tensor
from torch.nn import functional as F

from cosmos_lab.evaluation.labels import BACKGROUND, PROP

# Two pixels a cell: the grid on which the reader segments.
CELL = 2
# An object counts as visible in a pixel frame from this many pixels on.
MIN_AREA = 12.0
# Below this, a probability is the floor's noise and no part of an object.
FAINT = 0.02
# A color belongs to an object of the clip if it covers this many pixels in this many pixel frames. Of 281 objects in
# rendered clips none covered less than 150 for so long; mixed edges and halos seldom cover more than 60.
PROVEN_AREA = 80.0
PROVEN_PRESENCE = 3


def object_mass(colors: Tensor) -> Tensor:
    """The shares of the 8 object colors (B, T, 8, h, w), without what is faint, of shares (B, T, 10, h, w)."""
    return (colors[:, :, :PROP] - FAINT).clamp(min=0) / (1 - FAINT)


def proven_colors(colors: Tensor) -> Tensor:
    """Whether each of the 8 colors is seen largely and long enough to be an object's (B, 8), of (B, T, 10, h, w)."""
    area = CELL**2 * reduce(object_mass(colors), "b t c h w -> b t c", "sum")
    needed = min(PROVEN_PRESENCE, colors.shape[1])
    return (area > PROVEN_AREA).sum(dim=1) >= needed


def settle_colors(colors: Tensor, reach: int = 4) -> Tensor:
    """Shares (B, T, 10, h, w) in which only proven colors, props and the background are left.

    What other colors hold goes to the proven ones within `reach` cells, in proportion to how much of each is there,
    counting all colors. So a false edge joins its object, while an object that turns into another color for a
    few pixel frames is gone in them: the rest goes to the background.
    """
    proven = rearrange(proven_colors(colors), "b c -> b 1 c 1 1")
    objects = colors[:, :, :PROP]
    unproven = reduce(torch.where(proven, 0.0, objects), "b t c h w -> b t 1 h w", "sum")
    size = 2 * reach + 1
    around = F.avg_pool2d(rearrange(objects, "b t c h w -> (b t) c h w"), size, stride=1, padding=reach)
    around = rearrange(around, "(b t) c h w -> b t c h w", b=len(colors))
    shares = around / reduce(around, "b t c h w -> b t 1 h w", "sum").clamp(min=1e-6)
    settled = torch.where(proven, objects + unproven * shares, 0.0)
    rest = colors[:, :, PROP:].clone()
    rest[:, :, BACKGROUND - PROP] += reduce(objects - settled, "b t c h w -> b t h w", "sum")
    return torch.cat([settled, rest], dim=2)
