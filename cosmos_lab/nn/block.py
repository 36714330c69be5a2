"""One block of the diffusion transformer: three sub-layers, each modulated by the noise level."""

import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from cosmos_lab.nn.attention import Attention
from cosmos_lab.nn.layers import Linear, Modulation, modulate, over_tokens
from cosmos_lab.nn.rope import Rope


class MLP(nn.Module):
    """layer2(GELU(layer1(x))), with the exact GELU."""

    def __init__(self, width: int, hidden: int):
        super().__init__()
        self.layer1 = Linear(width, hidden)
        self.layer2 = Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer2(F.gelu(self.layer1(x)))


class Block(nn.Module):
    """Self-attention, cross-attention and MLP: x ← x + gate · f(LN(x) · (1 + scale) + shift), one after another."""

    def __init__(self, *, width: int, num_heads: int, mlp_width: int, text_width: int, adaln_rank: int):
        super().__init__()
        self.self_attn = Attention(width, num_heads)
        self.cross_attn = Attention(width, num_heads, text_width)
        self.mlp = MLP(width, mlp_width)
        self.adaln_modulation_self_attn = Modulation(width, adaln_rank, num_vectors=3)
        self.adaln_modulation_cross_attn = Modulation(width, adaln_rank, num_vectors=3)
        self.adaln_modulation_mlp = Modulation(width, adaln_rank, num_vectors=3)

    def forward(
        self,
        x_B_T_H_W_D: Tensor,
        emb_B_T_D: Tensor,
        shared_B_T_3D: Tensor,
        text_B_N_D: Tensor,
        rope: Rope,
        positions_1_T_H_W_D: Tensor | None = None,
    ) -> Tensor:
        """Tokens, timestep embedding, shared modulation, text, rotation and learned positions → tokens."""
        _, t, h, w, _ = x_B_T_H_W_D.shape
        if positions_1_T_H_W_D is not None:
            x_B_T_H_W_D = x_B_T_H_W_D + positions_1_T_H_W_D
        vectors = [
            [over_tokens(vector, x_B_T_H_W_D) for vector in modulation(emb_B_T_D, shared_B_T_3D)]
            for modulation in (
                self.adaln_modulation_self_attn,
                self.adaln_modulation_cross_attn,
                self.adaln_modulation_mlp,
            )
        ]

        shift, scale, gate = vectors[0]
        y_B_L_D = rearrange(modulate(x_B_T_H_W_D, shift, scale), "b t h w d -> b (t h w) d")
        y_B_L_D = self.self_attn(y_B_L_D, rope=rope)
        x_B_T_H_W_D = x_B_T_H_W_D + gate * rearrange(y_B_L_D, "b (t h w) d -> b t h w d", t=t, h=h, w=w)

        shift, scale, gate = vectors[1]
        y_B_L_D = rearrange(modulate(x_B_T_H_W_D, shift, scale), "b t h w d -> b (t h w) d")
        y_B_L_D = self.cross_attn(y_B_L_D, context_B_S_D=text_B_N_D)
        x_B_T_H_W_D = x_B_T_H_W_D + gate * rearrange(y_B_L_D, "b (t h w) d -> b t h w d", t=t, h=h, w=w)

        shift, scale, gate = vectors[2]
        return x_B_T_H_W_D + gate * self.mlp(modulate(x_B_T_H_W_D, shift, scale))
