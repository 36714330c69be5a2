"""Which colors are objects' colors: an edge between two objects, a decoder's halo, or wood in warm light can look like
one more."""

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
# A color may be an object's if it covers this many pixels in this many pixel frames. Of 281 objects in rendered clips
# none covered less than 150 for so long; mixed edges and halos seldom cover more than 60.
PROVEN_AREA = 80.0
PROVEN_PRESENCE = 3
# An object covers that much in a third of the pixel frames (11, however long the clip), and surely: the mean of its
# share, weighted by the share, is CLEAR at least. What does so more briefly or less surely (below SURE in any case),
# and for three quarters where such objects fill a tenth of what is around, is no third object: there two colors mix,
# or a stripe blurs in motion. What is below SURE and lies like that around props is none however long it lasts: evening
# light tints brown wood orange.
LASTING, CLEAR, SURE = 11, 0.7, 0.8
SHARE_BESIDE, NEAR = 0.75, 0.1
# How far an object reaches, in cells, over what looks like another color.
REACH = 4


def object_mass(colors: Tensor) -> Tensor:
    """The shares of the 8 object colors (B, T, 8, h, w), without what is faint, of shares (B, T, 10, h, w)."""
    return (colors[:, :, :PROP] - FAINT).clamp(min=0) / (1 - FAINT)


def proven_colors(colors: Tensor) -> Tensor:
    """Whether each of the 8 colors is an object's (B, 8), of (B, T, 10, h, w).

    It is seen largely for some pixel frames, and is neither a blur beside what lasts nor a tint of props.
    """
    mass, length = object_mass(colors), colors.shape[1]
    large = CELL**2 * reduce(mass, "b t c h w -> b t c", "sum") > PROVEN_AREA
    needed, present = min(PROVEN_PRESENCE, length), large.sum(dim=1)
    seen = mass * large[..., None, None]
    whole, sure = _total(seen), _total(seen.square())
    lasting = (present >= max(needed, min(length // 3, LASTING))) & (sure >= CLEAR * whole)
    objects = reduce(mass * rearrange(lasting, "b c -> b 1 c 1 1"), "b t c h w -> b t 1 h w", "sum")
    unsure = sure < SURE * whole
    blurred, tinted = (unsure & _beside(there, seen, whole) for there in (objects, colors[:, :, PROP : PROP + 1]))
    return (lasting | ((present >= needed) & ~blurred)) & ~tinted


def _beside(there: Tensor, seen: Tensor, whole: Tensor) -> Tensor:
    """Whether most of each color (B, 8) lies around what is `there` (B, T, 1, h, w); `whole` sums its shares `seen`."""
    return _total(seen * (around(there) > NEAR)) >= SHARE_BESIDE * whole


def _total(part: Tensor) -> Tensor:
    return reduce(part, "b t c h w -> b c", "sum")


def around(mass: Tensor) -> Tensor:
    """The mean share within REACH cells of each cell, with nothing beyond the border; (B, T, C, h, w) both ways."""
    flat = F.avg_pool2d(rearrange(mass, "b t c h w -> (b t) c h w"), 2 * REACH + 1, stride=1, padding=REACH)
    return rearrange(flat, "(b t) c h w -> b t c h w", b=len(mass))


def settle_colors(colors: Tensor) -> Tensor:
    """Shares (B, T, 10, h, w) in which only proven colors, props and the background are left.

    What other colors hold goes to the proven ones within REACH cells, in proportion to how much of each is there,
    counting all colors. So a false edge joins its object, while an object that turns into another color for a
    few pixel frames is gone in them: the rest goes to the background.
    """
    proven = rearrange(proven_colors(colors), "b c -> b 1 c 1 1")
    objects = colors[:, :, :PROP]
    unproven = reduce(torch.where(proven, 0.0, objects), "b t c h w -> b t 1 h w", "sum")
    near = around(objects)
    shares = near / reduce(near, "b t c h w -> b t 1 h w", "sum").clamp(min=1e-6)
    settled = torch.where(proven, objects + unproven * shares, 0.0)
    rest = colors[:, :, PROP:].clone()
    rest[:, :, BACKGROUND - PROP] += reduce(objects - settled, "b t c h w -> b t h w", "sum")
    return torch.cat([settled, rest], dim=2)
