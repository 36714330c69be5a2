"""The diffusion transformer of all Cosmos generations: one network, told apart by its configuration.

Latents are cut into patches, each one token. Every block lets tokens attend to each other and to the text and then
transforms each alone; the noise level shifts, scales and gates all three (AdaLN-LoRA). Latent frames may differ in
noise level. The generations differ in how positions, text and noise level enter, which the configuration names.
"""

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from einops import rearrange, repeat
from torch import Tensor, nn

from cosmos_lab.nn.block import Block
from cosmos_lab.nn.layers import Linear, RMSNorm
from cosmos_lab.nn.patches import FinalLayer, PatchEmbedding, unpatchify
from cosmos_lab.nn.positions import LearnedPositions
from cosmos_lab.nn.rope import ROPE_DTYPES, Grid, Rope, RopeDtype, rope_angles, rope_from_angles
from cosmos_lab.nn.timestep import SharedModulation, Sinusoid


@dataclass(frozen=True, kw_only=True)
class DiTConfig:
    """Shape and conventions of one diffusion transformer.

    width, num_blocks, num_heads, mlp_ratio   size of the transformer
    adaln_rank           rank of each sub-layer's own modulation
    latent_channels      channels of the latents, in and out
    condition_mask       one more input channel: 1 where a latent frame is given, 0 where it is generated
    padding_mask         one more input channel, last: 1 where the picture is padding, 0 where it is real
    patch                latent (time, height, width) of one token
    max_grid             largest (time, height, width) in tokens
    text_width           width of the text features that the blocks attend to
    text_projection      width of the text embedding, projected to text_width inside; None where they are the same
    rope_ratio           extrapolation ratio of the rotary embedding per (time, height, width)
    rope_dtype           where the rotary tables are rounded, see `cosmos_lab.nn.rope`
    fps_modulation       rotary time is in seconds · 24 instead of latent frames
    learned_positions    learned positions are added to the tokens at every block
    timestep_scale       factor on the timesteps before the sinusoid
    timestep_dtype       "weights": timesteps are rounded to the dtype of the weights before the sinusoid, and all
                         that follows has it; "float32": sinusoid, modulation, final layer and output are float32
    """

    width: int
    num_blocks: int
    num_heads: int
    mlp_ratio: float = 4.0
    adaln_rank: int = 256
    latent_channels: int = 16
    condition_mask: bool = False
    padding_mask: bool = True
    patch: tuple[int, int, int] = (1, 2, 2)
    max_grid: Grid = (128, 120, 120)
    text_width: int = 1024
    text_projection: int | None = None
    rope_ratio: tuple[float, float, float] = (1.0, 1.0, 1.0)
    rope_dtype: RopeDtype = "float32"
    fps_modulation: bool = False
    learned_positions: bool = False
    timestep_scale: float = 1.0
    timestep_dtype: Literal["weights", "float32"] = "weights"

    def __post_init__(self) -> None:
        if self.width % self.num_heads:
            raise ValueError(f"width {self.width} is no multiple of num_heads {self.num_heads}: change one of them")
        if self.head_dim % 2 or self.head_dim < 12:
            raise ValueError(f"width / num_heads is {self.head_dim}: rotary positions need an even number, 12 or more")
        if self.rope_dtype not in ROPE_DTYPES:
            raise ValueError(f"rope_dtype {self.rope_dtype!r} is unknown: use one of {', '.join(ROPE_DTYPES)}")
        if self.timestep_dtype not in ("weights", "float32"):
            raise ValueError(f"timestep_dtype {self.timestep_dtype!r} is unknown: use 'weights' or 'float32'")
        sizes = (self.num_blocks, self.adaln_rank, self.latent_channels, self.text_width, *self.patch, *self.max_grid)
        if min(sizes) < 1:
            raise ValueError(f"sizes must be at least 1, this configuration has {min(sizes)}")

    @property
    def head_dim(self) -> int:
        return self.width // self.num_heads

    @property
    def in_channels(self) -> int:
        return self.latent_channels + self.condition_mask + self.padding_mask


class DiT(nn.Module):
    """The diffusion transformer. Parameter names are those of the official Predict2 files.

    A new network is filled by `init_weights`, except on the meta device, where a checkpoint is to follow.
    """

    def __init__(self, config: DiTConfig):
        super().__init__()
        self.config = config
        self.x_embedder = PatchEmbedding(config.in_channels, patch=config.patch, width=config.width)
        self.t_embedder = nn.Sequential(Sinusoid(config.width), SharedModulation(config.width))
        self.t_embedding_norm = RMSNorm(config.width)
        if config.text_projection is not None:
            self.crossattn_proj = nn.Sequential(Linear(config.text_projection, config.text_width, bias=True), nn.GELU())
        if config.learned_positions:
            self.extra_pos_embedder = LearnedPositions(config.max_grid, config.width)
        self.blocks = nn.ModuleList(
            Block(
                width=config.width,
                num_heads=config.num_heads,
                mlp_width=int(config.width * config.mlp_ratio),
                text_width=config.text_width,
                adaln_rank=config.adaln_rank,
            )
            for _ in range(config.num_blocks)
        )
        self.final_layer = FinalLayer(
            width=config.width, channels=config.latent_channels, patch=config.patch, adaln_rank=config.adaln_rank
        )
        if self.final_layer.linear.weight.device.type != "meta":
            self.init_weights()

    def forward(
        self,
        x: Tensor,
        timesteps: Tensor,
        text: Tensor,
        *,
        condition_mask: Tensor | None = None,
        padding_mask: Tensor | None = None,
        fps: Tensor | float | None = None,
    ) -> Tensor:
        """Network output F(x, t, text), (B, C, T, H, W).

        x (B, C, T, H, W): noisy latents, already scaled; timesteps (B,) or (B, 1), or (B, T) one a latent frame;
        text (B, N, D_text), every row attended to; condition_mask (B, 1, T, H, W), None for all zero;
        padding_mask (B, 1, H_pixel, W_pixel), None for all zero; fps: pixel frames per second, where time positions
        depend on it. Inputs are cast to the dtype of the weights; the output has it too, or float32 where the
        configuration says so. Raises ValueError for shapes that the network does not take.
        """
        grid = self.grid(x, timesteps, text, condition_mask)
        x_B_C_T_H_W = self.with_masks(x.to(self.dtype), condition_mask, padding_mask)
        x_B_T_H_W_D = self.x_embedder(x_B_C_T_H_W)
        emb_B_T_D, shared_B_T_3D = self.embed_timesteps(timesteps)
        text_B_N_D = self.embed_text(text)
        rope = self.rope(grid, fps=fps, device=x.device)
        positions_1_T_H_W_D = self.extra_pos_embedder(grid) if self.config.learned_positions else None
        for block in self.blocks:
            x_B_T_H_W_D = block(x_B_T_H_W_D, emb_B_T_D, shared_B_T_3D, text_B_N_D, rope, positions_1_T_H_W_D)
        return unpatchify(self.final_layer(x_B_T_H_W_D, emb_B_T_D, shared_B_T_3D), patch=self.config.patch)

    @property
    def dtype(self) -> torch.dtype:
        return self.x_embedder.proj[1].weight.dtype

    def grid(self, x: Tensor, timesteps: Tensor, text: Tensor, condition_mask: Tensor | None = None) -> Grid:
        """The (time, height, width) of x in tokens; raises ValueError where the inputs do not fit the network."""
        config = self.config
        if x.ndim != 5 or x.shape[1] != config.latent_channels:
            raise ValueError(f"latents are (B, {config.latent_channels}, T, H, W), these are {tuple(x.shape)}")
        if any(size % patch for size, patch in zip(x.shape[2:], config.patch, strict=True)):
            raise ValueError(f"latent (T, H, W) {tuple(x.shape[2:])} must be multiples of the patch {config.patch}")
        t, h, w = (size // patch for size, patch in zip(x.shape[2:], config.patch, strict=True))
        if any(size > limit for size, limit in zip((t, h, w), config.max_grid, strict=True)):
            raise ValueError(f"{(t, h, w)} tokens over (T, H, W) are more than the {config.max_grid} of this network")
        if timesteps.shape not in ((x.shape[0],), (x.shape[0], 1), (x.shape[0], t)):
            raise ValueError(f"timesteps are (B,), (B, 1) or (B, T) = {(x.shape[0], t)}, not {tuple(timesteps.shape)}")
        text_width = config.text_projection or config.text_width
        if text.ndim != 3 or text.shape[-1] != text_width:
            raise ValueError(f"text embeddings are (B, N, {text_width}), these are {tuple(text.shape)}")
        if condition_mask is not None and not config.condition_mask:
            raise ValueError("this network has no condition mask channel: leave condition_mask out")
        return t, h, w

    def with_masks(self, x: Tensor, condition_mask: Tensor | None, padding_mask: Tensor | None) -> Tensor:
        """x with the mask channels that the configuration has: condition mask, then padding mask."""
        channels = [x]
        if self.config.condition_mask:
            channels.append(torch.zeros_like(x[:, :1]) if condition_mask is None else condition_mask)
        if self.config.padding_mask:
            channels.append(torch.zeros_like(x[:, :1]) if padding_mask is None else padding_channel(padding_mask, x))
        return torch.cat([channel.to(x.dtype).expand(len(x), -1, -1, -1, -1) for channel in channels], dim=1)

    def embed_timesteps(self, timesteps: Tensor) -> tuple[Tensor, Tensor]:
        """Timesteps (B,) or (B, T) → normalised sinusoid (B, T, D) and the shared modulation (B, T, 3D)."""
        dtype = torch.float32 if self.config.timestep_dtype == "float32" else self.dtype
        timesteps_B_T = timesteps.to(dtype) * self.config.timestep_scale
        sinusoid, shared_modulation = self.t_embedder
        sinusoid_B_T_D = sinusoid(timesteps_B_T if timesteps.ndim == 2 else rearrange(timesteps_B_T, "b -> b 1"))
        return self.t_embedding_norm(sinusoid_B_T_D), shared_modulation(sinusoid_B_T_D)

    def embed_text(self, text_B_N_D: Tensor) -> Tensor:
        text_B_N_D = text_B_N_D.to(self.dtype)
        return text_B_N_D if self.config.text_projection is None else self.crossattn_proj(text_B_N_D)

    def rope(self, grid: Grid, fps: Tensor | float | None = None, device: torch.device | str = "cpu") -> Rope:
        """The rotation of the tokens of a grid. Where fps modulates time, two latent frames or more require it."""
        if self.config.fps_modulation and fps is None and grid[0] > 1:
            raise ValueError("this network measures time in seconds: pass fps")
        angles_L_D = rope_angles(
            grid=grid,
            head_dim=self.config.head_dim,
            ratio=self.config.rope_ratio,
            rope_dtype=self.config.rope_dtype,
            device=device,
            fps=fps if self.config.fps_modulation else None,
        )
        return rope_from_angles(angles_L_D)

    @torch.no_grad()
    def init_weights(self, generator: torch.Generator | None = None) -> None:
        """Fills all parameters; draws come from the generator (seed 0 without one), on the generator's device.

        Linear maps: normal of deviation fan_in^-1/2, cut at three deviations. What opens the gates and what writes the
        output is zero, so that an untrained network passes tokens on unchanged and returns zeros.
        """
        generator = generator or torch.Generator().manual_seed(0)
        for name, parameter in self.named_parameters():
            if name.endswith("norm.weight"):
                parameter.fill_(1.0)
            elif starts_at_zero(name):
                parameter.zero_()
            else:
                draw = torch.empty(parameter.shape, device=generator.device)
                std = parameter.shape[-1] ** -0.5
                nn.init.trunc_normal_(draw, std=std, a=-3 * std, b=3 * std, generator=generator)
                parameter.copy_(draw)


def padding_channel(padding_mask: Tensor, x: Tensor) -> Tensor:
    """A padding mask in pixels (B, 1, H_pixel, W_pixel), nearest-resized to the latents x: (B, 1, T, H, W)."""
    mask_B_1_H_W = F.interpolate(padding_mask.to(x.dtype), size=x.shape[-2:], mode="nearest")
    return repeat(mask_B_1_H_W, "b 1 h w -> b 1 t h w", t=x.shape[2])


def starts_at_zero(name: str) -> bool:
    """Parameters that a network begins training with at zero: modulation outputs, the output map, biases."""
    if "adaln_modulation" in name:
        return name.endswith(".2.weight")
    return name in ("t_embedder.1.linear_2.weight", "final_layer.linear.weight") or name.endswith("bias")
