"""Latents into tokens and tokens into latents: the first and the last layer of the diffusion transformer."""

import math

from einops import rearrange
from einops.layers.torch import Rearrange
from torch import Tensor, nn

from cosmos_lab.nn.layers import Linear, Modulation, linear_as, modulate, over_tokens, without_autocast

Patch = tuple[int, int, int]


class PatchEmbedding(nn.Module):
    """(B, C, T, H, W) → tokens (B, t, h, w, D): a patch's features, channel slowest, through one linear map."""

    def __init__(self, channels: int, patch: Patch, width: int):
        super().__init__()
        pt, ph, pw = patch
        cut = Rearrange("b c (t pt) (h ph) (w pw) -> b t h w (c pt ph pw)", pt=pt, ph=ph, pw=pw)
        self.proj = nn.Sequential(cut, Linear(channels * math.prod(patch), width))

    def forward(self, x_B_C_T_H_W: Tensor) -> Tensor:
        return self.proj(x_B_C_T_H_W)


class FinalLayer(nn.Module):
    """LN(x) · (1 + scale) + shift, then one linear map to the features of a patch, in the dtype of the embedding."""

    def __init__(self, *, width: int, channels: int, patch: Patch, adaln_rank: int):
        super().__init__()
        self.linear = Linear(width, channels * math.prod(patch))
        self.adaln_modulation = Modulation(width, adaln_rank, num_vectors=2)

    def forward(self, x_B_T_H_W_D: Tensor, emb_B_T_D: Tensor, shared_B_T_3D: Tensor) -> Tensor:
        x_B_T_H_W_D = x_B_T_H_W_D.to(emb_B_T_D.dtype)
        shift, scale = self.adaln_modulation(emb_B_T_D, shared_B_T_3D)
        with without_autocast(x_B_T_H_W_D):
            y_B_T_H_W_D = modulate(x_B_T_H_W_D, over_tokens(shift, x_B_T_H_W_D), over_tokens(scale, x_B_T_H_W_D))
            return linear_as(y_B_T_H_W_D, self.linear.weight)


def unpatchify(y_B_T_H_W_P: Tensor, patch: Patch) -> Tensor:
    """Features of patches → latents (B, C, T, H, W). Unlike in the patch embedding, the channel is the fastest."""
    pt, ph, pw = patch
    return rearrange(y_B_T_H_W_P, "b t h w (ph pw pt c) -> b c (t pt) (h ph) (w pw)", pt=pt, ph=ph, pw=pw)
