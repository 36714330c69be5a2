"""The causal wavelet tokenizer: Cosmos CV8x8x8 (Cosmos-1.0, Predict1) and, by configuration, nano's 4x8x8.

pixel frames -> 3-D Haar patches -> factorized causal encoder -> latents, and the mirror image back. Every 3x3x3
convolution is a spatial (1, 3, 3) one followed by a causal temporal (3, 1, 1) one, which sees its own and the two
earlier positions (position 0 is repeated in front). Parameter names are those of the official state dict. As nothing
looks ahead, clips are decoded latent frame by latent frame, in memory that does not grow with them.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from einops import rearrange
from torch import Tensor, nn

from cosmos_lab.nn.factorized import Downsample, FactorizedConv, FrameNorm, PointConv, Upsample, channels_last
from cosmos_lab.nn.frame_counts import check_latents, check_pixels, check_range, latent_frames, pixel_frames
from cosmos_lab.nn.haar import haar_synthesis, levels_of, patch, unpatch
from cosmos_lab.nn.official_rounding import attention, silu
from cosmos_lab.nn.streaming import Stream


@dataclass(frozen=True, kw_only=True)
class WaveletVAEConfig:
    """Shape of a `WaveletVAE`; the defaults are Cosmos CV8x8x8 (105.7 M parameters).

    `temporal_factor` and `spatial_factor` include the Haar patch: a factor equal to `patch_size` means that no level
    downsamples that axis. With `pixel_frames_per_chunk`, longer clips are folded into chunks that are encoded alone,
    and the latent statistics have one value per channel and latent frame of a chunk; without (None), a clip has any
    legal length and the statistics one value per channel.
    """

    channels: int = 128
    channels_mult: tuple[int, ...] = (2, 4, 4)
    num_res_blocks: int = 2
    latent_channels: int = 16
    patch_size: int = 4
    temporal_factor: int = 8
    spatial_factor: int = 8
    pixel_frames_per_chunk: int | None = 121

    def __post_init__(self) -> None:
        levels_of(self.patch_size)
        for name in ("temporal_factor", "spatial_factor"):
            factor = getattr(self, name)
            if factor < self.patch_size or factor & (factor - 1):
                raise ValueError(f"{name} {factor} must be a power of two >= patch_size {self.patch_size}")
        if self.temporal_factor > self.spatial_factor:
            raise ValueError(
                f"temporal_factor {self.temporal_factor} exceeds spatial_factor: use {self.spatial_factor}"
            )
        needed = max(self.num_spatial_levels + 1, self.num_temporal_levels + 2 if self.num_temporal_levels else 0)
        if len(self.channels_mult) < needed:
            raise ValueError(f"channels_mult {self.channels_mult} has too few levels for these factors: give {needed}")
        if self.pixel_frames_per_chunk is not None:
            latent_frames(self.pixel_frames_per_chunk, self.temporal_factor)

    @property
    def num_spatial_levels(self) -> int:
        return levels_of(self.spatial_factor) - levels_of(self.patch_size)

    @property
    def num_temporal_levels(self) -> int:
        return levels_of(self.temporal_factor) - levels_of(self.patch_size)

    @property
    def patch_channels(self) -> int:
        return 3 * self.patch_size**3

    @property
    def num_statistics(self) -> int:
        """Latent frames that have statistics of their own: all of a chunk, or one value that all share."""
        if self.pixel_frames_per_chunk is None:
            return 1
        return latent_frames(self.pixel_frames_per_chunk, self.temporal_factor)

    def downsamples(self, level: int) -> tuple[bool, bool]:
        """Return (spatial, temporal): does the encoder's `level` end with a halving of these axes?"""
        return level < self.num_spatial_levels, level < self.num_temporal_levels

    def upsamples(self, level: int) -> tuple[bool, bool]:
        """Return (spatial, temporal) doublings of the decoder's `level`; the deepest level is traversed first."""
        order = len(self.channels_mult) - 1 - level
        temporal = 0 < order <= self.num_temporal_levels
        more_space = self.num_spatial_levels > self.num_temporal_levels
        return temporal or (more_space and order < self.num_spatial_levels), temporal


def nano_config() -> WaveletVAEConfig:
    """Return nano's tokenizer: 4x8x8, the Haar patch alone compresses time, clips of 1 + 4k pixel frames."""
    return WaveletVAEConfig(channels=112, channels_mult=(1, 1), temporal_factor=4, pixel_frames_per_chunk=None)


class WaveletVAE(nn.Module):
    """Encode clips into normalized latents and back.

    Pixels (B, 3, F, H, W) in [-1, 1]; latents (B, 16, T, H/8, W/8). `encode` returns (z - latent_mean) / latent_std,
    which has unit variance: Predict1 and Cosmos-1.0 multiply that by their sigma_data = 0.5 (and divide before
    `decode`), which is the diffusion system's doing and not done here. `encode_raw` and `decode_raw` work on z itself,
    one chunk at a time.
    """

    def __init__(self, config: WaveletVAEConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config)
        self.quant_conv = PointConv(config.latent_channels, config.latent_channels)
        self.post_quant_conv = PointConv(config.latent_channels, config.latent_channels)
        self.decoder = Decoder(config)
        self.register_buffer("latent_mean", torch.zeros(config.latent_channels, config.num_statistics, 1, 1))
        self.register_buffer("latent_std", torch.ones(config.latent_channels, config.num_statistics, 1, 1))

    @property
    def temporal_factor(self) -> int:
        return self.config.temporal_factor

    @property
    def spatial_factor(self) -> int:
        return self.config.spatial_factor

    def num_latent_frames(self, num_pixel_frames: int) -> int:
        """Return the latent frames of a clip; ValueError with the nearest two legal counts where there are none."""
        return latent_frames(num_pixel_frames, self.temporal_factor, self.config.pixel_frames_per_chunk)

    def num_pixel_frames(self, num_latent_frames: int) -> int:
        """Return the pixel frames that latents decode to; ValueError with the nearest two legal counts."""
        return pixel_frames(num_latent_frames, self.temporal_factor, self.config.pixel_frames_per_chunk)

    def set_latent_statistics(self, mean: Tensor, std: Tensor) -> None:
        """Set the statistics of z, each (channels,) or (channels, latent frames of a chunk); std > 0."""
        if not bool((std > 0).all()):
            raise ValueError("latent std must be positive: a channel is constant, or these are not standard deviations")
        for buffer, value in ((self.latent_mean, mean), (self.latent_std, std)):
            buffer.copy_(value.to(buffer).reshape(buffer.shape))

    def encode(self, pixels: Tensor) -> Tensor:
        """Return normalized latents of pixels in [-1, 1], in the pixels' dtype; the network runs in its own.

        Raises:
            ValueError: an illegal number of pixel frames, size, dtype or range.
        """
        check_pixels(pixels, self.spatial_factor)
        check_range(pixels)
        self.num_latent_frames(pixels.shape[2])
        chunks = self._fold(pixels, self.config.pixel_frames_per_chunk)
        raw = _in_pieces(self.encode_raw, chunks.to(self.quant_conv.dtype), size=8).to(pixels.dtype)
        mean, std = self._statistics(raw)
        return self._unfold((raw - mean) / std, batch=pixels.shape[0])

    def decode(self, latents: Tensor) -> Tensor:
        """Return the pixels of normalized latents, in the latents' dtype, not clamped.

        Raises:
            ValueError: an illegal number of latent frames or channels.
        """
        return torch.cat(list(self.decode_stream(latents)), dim=2)

    def decode_stream(self, latents: Tensor) -> Iterator[Tensor]:
        """Yield the pixels of `decode` by latent frame: 1 pixel frame at the head of a chunk, then some at a time."""
        check_latents(latents, self.config.latent_channels)
        self.num_pixel_frames(latents.shape[2])
        chunked = self.config.pixel_frames_per_chunk is not None
        return self._pixels(latents.split(self.config.num_statistics if chunked else latents.shape[2], dim=2))

    def _pixels(self, chunks: tuple[Tensor, ...]) -> Iterator[Tensor]:
        for chunk in chunks:
            mean, std = self._statistics(chunk)
            stream = Stream(capacity=chunk.shape[2])
            if self.config.pixel_frames_per_chunk is not None:
                stream.capacity = self.config.num_statistics
            for frame in (chunk * std + mean).to(self.quant_conv.dtype).split(1, dim=2):
                yield self.decoder(self.post_quant_conv(channels_last(frame)), stream).to(chunk.dtype)
                stream.chunk += 1

    def encode_raw(self, pixels: Tensor) -> Tensor:
        """Return z (B, 16, T, h, w) without normalization, of one chunk of 1 + f*k pixel frames. Differentiable."""
        return self.quant_conv(self.encoder(pixels))

    def decode_raw(self, z: Tensor) -> Tensor:
        """Return pixels (B, 3, F, H, W) of unnormalized z, one chunk. Differentiable."""
        return self.decoder(self.post_quant_conv(channels_last(z)))

    def forward(self, pixels: Tensor) -> Tensor:
        """Reconstruct pixels; what training calls, compiles and wraps."""
        return self.decode_raw(self.encode_raw(pixels))

    def _statistics(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and std for z's latent frames, in its dtype; a clip shorter than a chunk takes the first columns."""
        num = z.shape[2] if self.config.num_statistics > 1 else 1
        return self.latent_mean[:, :num].to(z.dtype), self.latent_std[:, :num].to(z.dtype)

    @staticmethod
    def _fold(x: Tensor, per_chunk: int | None) -> Tensor:
        """Move whole chunks from time into the batch."""
        length = x.shape[2] if per_chunk is None else min(per_chunk, x.shape[2])
        return rearrange(x, "b c (n t) h w -> (b n) c t h w", t=length)

    @staticmethod
    def _unfold(x: Tensor, batch: int) -> Tensor:
        return rearrange(x, "(b n) c t h w -> b c (n t) h w", b=batch)


class Encoder(nn.Module):
    """Pixels (B, 3, F, H, W) -> (B, latent_channels, T, h, w)."""

    def __init__(self, config: WaveletVAEConfig) -> None:
        super().__init__()
        self.patch_size = config.patch_size
        widths = [config.channels * mult for mult in (1, *config.channels_mult)]
        self.conv_in = FactorizedConv(config.patch_channels, widths[0])
        self.down = nn.ModuleList(
            Level(widths[i], widths[i + 1], config.num_res_blocks, downsample=config.downsamples(i))
            for i in range(len(config.channels_mult))
        )
        self.mid = Middle(widths[-1])
        self.norm_out = FrameNorm(widths[-1])
        self.conv_out = FactorizedConv(widths[-1], config.latent_channels)

    def forward(self, pixels: Tensor) -> Tensor:
        x = self.conv_in(channels_last(patch(pixels, self.patch_size)))
        for level in self.down:
            x = level(x)
        return self.conv_out(silu(self.norm_out(self.mid(x))))


class Decoder(nn.Module):
    """(B, latent_channels, T, h, w) -> pixels (B, 3, F, H, W); one more residual block per level than the encoder."""

    def __init__(self, config: WaveletVAEConfig) -> None:
        super().__init__()
        self.patch_size = config.patch_size
        widths = [config.channels * mult for mult in config.channels_mult]
        self.conv_in = FactorizedConv(config.latent_channels, widths[-1])
        self.mid = Middle(widths[-1])
        inputs = [*widths[1:], widths[-1]]
        self.up = nn.ModuleList(
            Level(inputs[i], widths[i], config.num_res_blocks + 1, upsample=config.upsamples(i))
            for i in range(len(widths))
        )
        self.norm_out = FrameNorm(widths[0])
        self.conv_out = FactorizedConv(widths[0], config.patch_channels)

    def forward(self, z: Tensor, stream: Stream | None = None) -> Tensor:
        """A whole chunk, or the next latent frame of a stream."""
        x = self.mid(self.conv_in(z, stream), stream)
        for level in reversed(self.up):
            x = level(x, stream)
        x = self.conv_out(silu(self.norm_out(x)), stream)
        at_the_head = stream is None or stream.is_first_chunk
        return unpatch(x, self.patch_size) if at_the_head else haar_synthesis(x, self.patch_size)


class Level(nn.Module):
    """Residual blocks at one resolution, then a change of resolution where a (spatial, temporal) pair asks for one."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        num_blocks: int,
        *,
        downsample: tuple[bool, bool] = (False, False),
        upsample: tuple[bool, bool] = (False, False),
    ) -> None:
        super().__init__()
        self.block = nn.ModuleList(
            ResBlock(in_channels if i == 0 else out_channels, out_channels) for i in range(num_blocks)
        )
        self.downsample = Downsample(out_channels, *downsample) if any(downsample) else None
        self.upsample = Upsample(out_channels, *upsample) if any(upsample) else None

    def forward(self, x: Tensor, stream: Stream | None = None) -> Tensor:
        for block in self.block:
            x = block(x, stream)
        if self.downsample is not None:
            x = self.downsample(x)
        return x if self.upsample is None else self.upsample(x, stream)


class Middle(nn.Module):
    """Residual block, spatial and causal temporal attention, residual block."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.block_1 = ResBlock(channels, channels)
        self.attn_1 = nn.ModuleList([SpatialAttention(channels), TemporalAttention(channels)])
        self.block_2 = ResBlock(channels, channels)

    def forward(self, x: Tensor, stream: Stream | None = None) -> Tensor:
        spatial, temporal = self.attn_1
        return self.block_2(temporal(spatial(self.block_1(x, stream)), stream), stream)


class ResBlock(nn.Module):
    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.norm1 = FrameNorm(in_channels)
        self.conv1 = FactorizedConv(in_channels, out_channels)
        self.norm2 = FrameNorm(out_channels)
        self.conv2 = FactorizedConv(out_channels, out_channels)
        self.nin_shortcut = PointConv(in_channels, out_channels) if in_channels != out_channels else nn.Identity()

    def forward(self, x: Tensor, stream: Stream | None = None) -> Tensor:
        h = self.conv1(silu(self.norm1(x)), stream)
        return self.conv2(silu(self.norm2(h)), stream) + self.nin_shortcut(x)


class SpatialAttention(nn.Module):
    """Single-head attention over the H * W positions of each latent frame, plus the input."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = FrameNorm(channels)
        self.q, self.k, self.v, self.proj_out = (PointConv(channels, channels) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        h = self.norm(x)
        q, k, v = (rearrange(x, "b c t h w -> (b t) (h w) c") for x in self._qkv(h))
        out = attention(q, k, v)
        return x + self.proj_out(rearrange(out, "(b t) (h w) c -> b c t h w", t=x.shape[2], h=x.shape[3]))

    def _qkv(self, h: Tensor) -> Iterator[Tensor]:
        """Queries, keys and values with their features side by side in memory, as fused kernels need them."""
        return (channels_last(layer(h)) for layer in (self.q, self.k, self.v))


class TemporalAttention(SpatialAttention):
    """Single-head causal attention over the T latent frames of each position, plus the input."""

    def forward(self, x: Tensor, stream: Stream | None = None) -> Tensor:
        h = self.norm(x)
        q, k, v = (rearrange(x, "b c t h w -> (b h w) t c") for x in self._qkv(h))
        if stream is not None:
            k, v = stream.collect(self, torch.stack([k, v]))
        # A stream brings one latent frame at a time, which sees all that there were.
        out = attention(q, k, v, is_causal=stream is None)
        out = rearrange(out, "(b h w) t c -> b c t h w", h=x.shape[3], w=x.shape[4])
        return x + self.proj_out(channels_last(out))


def _in_pieces(function: Callable[[Tensor], Tensor], batch: Tensor, size: int) -> Tensor:
    """Apply `function` to at most `size` chunks at a time: the memory of a long clip is that of a short one."""
    return torch.cat([function(piece) for piece in batch.split(size)])
