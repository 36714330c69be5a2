"""The parts that every sub-layer of the diffusion transformer is made of: projections, norms, modulation."""

from contextlib import AbstractContextManager, nullcontext

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

NORM_EPS = 1e-6


class Linear(nn.Linear):
    """A linear map whose weight its owner fills: construction draws no random numbers, which keeps it free of the
    global generator and of wasted work where a checkpoint follows."""

    def __init__(self, in_features: int, out_features: int, bias: bool = False):
        super().__init__(in_features, out_features, bias=bias)

    def reset_parameters(self) -> None:
        pass


class RMSNorm(nn.Module):
    """y = weight · x / sqrt(mean(x²) + 1e-6) over the last axis.

    Statistics and product are float32 inside the kernel and rounded once, to the dtype of x.
    """

    def __init__(self, width: int):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(x, self.weight.shape, self.weight.to(x.dtype), NORM_EPS)


def modulate(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """LayerNorm without affine parameters, then ·(1 + scale) + shift."""
    return F.layer_norm(x, x.shape[-1:], eps=NORM_EPS) * (1 + scale) + shift


class Modulation(nn.Sequential):
    """AdaLN-LoRA: `num_vectors` modulation vectors (shift, scale, gate in this order) from the timestep.

    m = W2 · W1 · SiLU(emb) + shared, with W1 of low rank and `shared` the part common to all sub-layers.
    The arithmetic has the dtype of `emb`, whatever that of the weights or of an enclosing autocast.
    """

    def __init__(self, width: int, rank: int, num_vectors: int):
        super().__init__(nn.SiLU(), Linear(width, rank), Linear(rank, num_vectors * width))
        self.num_vectors = num_vectors

    def forward(self, emb_B_T_D: Tensor, shared_B_T_3D: Tensor) -> tuple[Tensor, ...]:
        with without_autocast(emb_B_T_D):
            low_B_T_R = linear_as(F.silu(emb_B_T_D), self[1].weight)
            vectors_B_T_ND = linear_as(low_B_T_R, self[2].weight)
            vectors_B_T_ND = vectors_B_T_ND + shared_B_T_3D[..., : vectors_B_T_ND.shape[-1]]
        return vectors_B_T_ND.chunk(self.num_vectors, dim=-1)


def over_tokens(vector_B_T_D: Tensor, like: Tensor) -> Tensor:
    """A modulation vector per latent frame (or one for all), for all its tokens, in the dtype of the tokens."""
    return rearrange(vector_B_T_D, "b t d -> b t 1 1 d").to(like.dtype)


def without_autocast(x: Tensor) -> AbstractContextManager:
    """Arithmetic in the dtypes that the tensors have, on the device of x (the meta device knows no autocast)."""
    return nullcontext() if x.is_meta else torch.autocast(device_type=x.device.type, enabled=False)


def linear_as(x: Tensor, weight: Tensor) -> Tensor:
    """x · weightᵀ in the dtype of x."""
    return F.linear(x, weight.to(x.dtype))
