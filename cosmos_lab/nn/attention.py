"""Attention: its definition, the fast path beside it, and the attention sub-layers of the diffusion transformer."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import torch
import torch.nn.functional as F
from einops import einsum, rearrange
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from cosmos_lab.nn.layers import Linear, RMSNorm
from cosmos_lab.nn.rope import Rope, apply_rope

AttentionFunction = Callable[[Tensor, Tensor, Tensor], Tensor]

# From Hopper on cuDNN comes first, as officially: 626 TFLOP/s against FlashAttention-2's 355 on an H200, at 84,480
# tokens of 16 heads of 128. What a kernel cannot do (float32, large heads) falls to the next.
KERNELS = (
    SDPBackend.CUDNN_ATTENTION, SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH,
)  # fmt: skip


def reference_attention(q_B_L_H_D: Tensor, k_B_S_H_D: Tensor, v_B_S_H_D: Tensor) -> Tensor:
    """softmax(q·kᵀ / sqrt(D)) · v per head, without mask: the specification of every faster path.

    Scores and softmax are float32; the result (B, L, H, D) has the dtype of v.
    """
    scale = q_B_L_H_D.shape[-1] ** -0.5
    scores_B_H_L_S = einsum(q_B_L_H_D.float(), k_B_S_H_D.float(), "b l h d, b s h d -> b h l s") * scale
    weights_B_H_L_S = scores_B_H_L_S.softmax(dim=-1)
    return einsum(weights_B_H_L_S, v_B_S_H_D.float(), "b h l s, b s h d -> b l h d").to(v_B_S_H_D.dtype)


def fused_attention(q_B_L_H_D: Tensor, k_B_S_H_D: Tensor, v_B_S_H_D: Tensor) -> Tensor:
    """`reference_attention` by PyTorch's fused kernels. Same shapes; equal up to rounding."""
    q, k, v = (rearrange(x, "b l h d -> b h l d") for x in (q_B_L_H_D, k_B_S_H_D, v_B_S_H_D))
    with preferred_kernels(q):
        return rearrange(F.scaled_dot_product_attention(q, k, v), "b h l d -> b l h d")


def preferred_kernels(x: Tensor) -> AbstractContextManager:
    """PyTorch's kernels in the order of `KERNELS` where x lies on a Hopper GPU or a later one, else its own order.

    Its own order in training, too: the speeds above are those of the forward pass.
    """
    if not x.is_cuda or x.requires_grad or torch.cuda.get_device_capability(x.device) < (9, 0):
        return nullcontext()
    return sdpa_kernel(list(KERNELS), set_priority=True)


def chosen_kernel(q_B_L_H_D: Tensor, k_B_S_H_D: Tensor, v_B_S_H_D: Tensor) -> str:
    """The name of the kernel that `fused_attention` takes for these tensors, such as "CUDNN_ATTENTION"."""
    q, k, v = (rearrange(x, "b l h d -> b h l d") for x in (q_B_L_H_D, k_B_S_H_D, v_B_S_H_D))
    with preferred_kernels(q):
        return SDPBackend(torch._fused_sdp_choice(q, k, v)).name


# What a model can be loaded with. "auto": the fastest kernel that the device has for the tensors.
ATTENTIONS: dict[str, AttentionFunction] = {"auto": fused_attention, "reference": reference_attention}


def named_attention(name: str) -> AttentionFunction:
    """The function of a name of `ATTENTIONS`. Raises ValueError for other names."""
    if name not in ATTENTIONS:
        raise ValueError(f"attention is one of {', '.join(ATTENTIONS)}, not {name!r}")
    return ATTENTIONS[name]


def attend_by(network: nn.Module, attend: AttentionFunction) -> None:
    """Let every attention sub-layer of a network mix its tokens, (B, L, H, D) each, by this function."""
    for module in network.modules():
        if isinstance(module, Attention):
            module.attend = attend


class Attention(nn.Module):
    """Multi-head attention with RMS-normalised queries and keys; self-attention where no context is given.

    `attend` is the function that mixes the tokens, (B, L, H, D) each: assign another of the same signature to
    change the kernel, to attend to neighborhoods or across ranks, or to record what is attended to.
    """

    def __init__(self, width: int, num_heads: int, context_width: int | None = None):
        super().__init__()
        context_width = context_width or width
        self.num_heads = num_heads
        self.q_proj = Linear(width, width)
        self.k_proj = Linear(context_width, width)
        self.v_proj = Linear(context_width, width)
        self.q_norm = RMSNorm(width // num_heads)
        self.k_norm = RMSNorm(width // num_heads)
        self.output_proj = Linear(width, width)
        self.attend: AttentionFunction = fused_attention

    def forward(self, x_B_L_D: Tensor, context_B_S_D: Tensor | None = None, rope: Rope | None = None) -> Tensor:
        """x (B, L, D) attends to itself, or to the context (B, S, D_context); returns (B, L, D)."""
        source_B_S_D = x_B_L_D if context_B_S_D is None else context_B_S_D
        q_B_L_H_D = self.q_norm(self.split_heads(self.q_proj(x_B_L_D)))
        k_B_S_H_D = self.k_norm(self.split_heads(self.k_proj(source_B_S_D)))
        v_B_S_H_D = self.split_heads(self.v_proj(source_B_S_D))
        if rope is not None:
            q_B_L_H_D, k_B_S_H_D = apply_rope(q_B_L_H_D, rope), apply_rope(k_B_S_H_D, rope)
        # Under autocast the norms may return float32; the kernel takes one dtype.
        q_B_L_H_D, k_B_S_H_D = q_B_L_H_D.to(v_B_S_H_D.dtype), k_B_S_H_D.to(v_B_S_H_D.dtype)
        mixed_B_L_H_D = self.attend(q_B_L_H_D, k_B_S_H_D, v_B_S_H_D)
        return self.output_proj(rearrange(mixed_B_L_H_D, "b l h d -> b l (h d)"))

    def split_heads(self, x_B_L_D: Tensor) -> Tensor:
        return rearrange(x_B_L_D, "b l (h d) -> b l h d", h=self.num_heads)
