"""How the noise level enters the network: a sinusoid, and the modulation part that all sub-layers share."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cosmos_lab.nn.layers import Linear, linear_as, without_autocast


class Sinusoid(nn.Module):
    """[cos(t·f), sin(t·f)] with f_i = exp(-ln(10000) · i / (D/2)); t (B, T) → (B, T, D).

    Computed in float32 and returned in the dtype of t.
    """

    def __init__(self, width: int):
        super().__init__()
        self.half = width // 2

    def forward(self, timesteps_B_T: Tensor) -> Tensor:
        exponents = -math.log(10000) * torch.arange(self.half, dtype=torch.float32, device=timesteps_B_T.device)
        angles_B_T_D = timesteps_B_T.float()[..., None] * torch.exp(exponents / self.half)
        return torch.cat([angles_B_T_D.cos(), angles_B_T_D.sin()], dim=-1).to(timesteps_B_T.dtype)


class SharedModulation(nn.Module):
    """W2 · SiLU(W1 · s): the (shift, scale, gate) that every sub-layer adds to its own; (B, T, D) → (B, T, 3D)."""

    def __init__(self, width: int):
        super().__init__()
        self.linear_1 = Linear(width, width)
        self.linear_2 = Linear(width, 3 * width)

    def forward(self, sinusoid_B_T_D: Tensor) -> Tensor:
        with without_autocast(sinusoid_B_T_D):
            return linear_as(F.silu(linear_as(sinusoid_B_T_D, self.linear_1.weight)), self.linear_2.weight)
