"""Half-precision arithmetic of the wavelet tokenizer, rounded wherever the official module rounds.

In float32 each operation has the form that is fastest or most exact. In bfloat16 every form rounds at other places, and
over the layers that adds up to as much as bfloat16's whole error. The released models run with the official module in
bfloat16, so in half precision its steps are followed one by one; the Haar transform and the norm do the same.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

_SCORES_AT_ONCE = 2**28  # half a gigabyte: at 704x1280 one latent frame, which has 14,080^2


def rounds_officially(x: Tensor) -> bool:
    """Whether x is of a half-precision module; under autocast, where parameters are float32, the fast forms serve."""
    return x.dtype.itemsize == 2 and (x.is_meta or not torch.is_autocast_enabled(x.device.type))


def silu(x: Tensor) -> Tensor:
    return x * torch.sigmoid(x) if rounds_officially(x) else F.silu(x)


def attention(q: Tensor, k: Tensor, v: Tensor, *, is_causal: bool = False) -> Tensor:
    """Single-head attention, each (N, positions, C)."""
    if not rounds_officially(q):
        return F.scaled_dot_product_attention(*(x.unsqueeze(1) for x in (q, k, v)), is_causal=is_causal).squeeze(1)
    size = max(1, _SCORES_AT_ONCE // (q.shape[1] * k.shape[1]))
    pieces = zip(*(x.split(size) for x in (q, k, v)), strict=True)
    return torch.cat([_rounded_attention(*piece, is_causal=is_causal) for piece in pieces])


def _rounded_attention(q: Tensor, k: Tensor, v: Tensor, *, is_causal: bool) -> Tensor:
    """Scores, scaled scores and weights are each rounded; fused kernels keep all three in float32."""
    scores = torch.bmm(q, k.mT) * q.shape[-1] ** -0.5
    if is_causal:
        future = torch.ones(scores.shape[1:], dtype=torch.bool, device=scores.device).triu(1)
        scores = scores.masked_fill(future, float("-inf"))
    return torch.bmm(F.softmax(scores, dim=-1), v)
