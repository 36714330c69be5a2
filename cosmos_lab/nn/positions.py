"""Learned positions that are added to the tokens at the input of every block (Cosmos-1.0 and Predict1)."""

import torch
from einops import rearrange
from torch import Tensor, nn

from cosmos_lab.nn.rope import Grid

UNIT_RMS_EPS = 1e-6


class LearnedPositions(nn.Module):
    """pos_t[t] + pos_h[h] + pos_w[w], scaled to unit root mean square over the features; (1, T, h, w, D)."""

    def __init__(self, max_grid: Grid, width: int):
        super().__init__()
        max_t, max_h, max_w = max_grid
        self.pos_emb_h = nn.Parameter(torch.empty(max_h, width))
        self.pos_emb_w = nn.Parameter(torch.empty(max_w, width))
        self.pos_emb_t = nn.Parameter(torch.empty(max_t, width))

    def forward(self, grid: Grid) -> Tensor:
        t, h, w = grid
        time = rearrange(self.pos_emb_t[:t], "t d -> 1 t 1 1 d")
        height = rearrange(self.pos_emb_h[:h], "h d -> 1 1 h 1 d")
        width = rearrange(self.pos_emb_w[:w], "w d -> 1 1 1 w d")
        return unit_rms(time + height + width)


def unit_rms(x: Tensor) -> Tensor:
    """x / (1e-6 + ‖x‖ / sqrt(D)) over the last axis; norm in float32, divisor rounded to the dtype of x."""
    norm = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=torch.float32)
    return x / (UNIT_RMS_EPS + norm * x.shape[-1] ** -0.5).to(x.dtype)
