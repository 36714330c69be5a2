"""The Wan2.1 causal video tokenizer of Predict2 and Predict2.5: 4x in time, 8x8 in space, 16 latent channels.

It runs as a stream. Pixel frame 0 is a chunk of its own and makes latent frame 0; later chunks make one latent frame
from every four pixel frames. Causal convolutions take the last two inputs of the chunk before as left context, so the
memory does not grow with the clip. Parameter names are those of the official state dict.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from cosmos_lab.nn.frame_counts import check_latents, check_pixels, check_range, latent_frames, pixel_frames
from cosmos_lab.nn.streaming import Stream, causal_chunks

WAN_LATENT_MEAN = (
    *(-0.7571, -0.7089, -0.9113, 0.1075, -0.1745, 0.9653, -0.1517, 1.5508),
    *(0.4134, -0.0715, 0.5517, -0.3632, -0.1922, -0.9497, 0.2503, -0.2921),
)
WAN_LATENT_STD = (
    *(2.8184, 1.4541, 2.3275, 2.6558, 1.2196, 1.7708, 2.6052, 2.0743),
    *(3.2687, 2.1526, 2.8652, 1.5579, 1.6382, 1.1253, 2.8251, 1.9160),
)


@dataclass(frozen=True, kw_only=True)
class WanVAEConfig:
    """Shape of a `WanVAE`; the defaults are Wan2.1's (126.9 M parameters).

    `temporal_downsample` says for each change of resolution whether it halves time too. `encode_window` is the number
    of pixel frames in an encoder chunk: it changes memory and speed, and the latents by rounding only.
    """

    channels: int = 96
    channels_mult: tuple[int, ...] = (1, 2, 4, 4)
    num_res_blocks: int = 2
    latent_channels: int = 16
    temporal_downsample: tuple[bool, ...] = (False, True, True)
    encode_window: int = 16
    latent_mean: tuple[float, ...] = WAN_LATENT_MEAN
    latent_std: tuple[float, ...] = WAN_LATENT_STD

    def __post_init__(self) -> None:
        if len(self.temporal_downsample) != len(self.channels_mult) - 1:
            raise ValueError(
                f"temporal_downsample has {len(self.temporal_downsample)} entries: "
                f"give {len(self.channels_mult) - 1}, one between each two levels of channels_mult"
            )
        if self.encode_window < 1 or self.encode_window % self.temporal_factor:
            raise ValueError(
                f"encode_window {self.encode_window} is not a multiple of {self.temporal_factor}: use 4 or 16"
            )
        if not len(self.latent_mean) == len(self.latent_std) == self.latent_channels:
            raise ValueError(f"latent_mean and latent_std need {self.latent_channels} values, one per latent channel")
        if min(self.latent_std) <= 0:
            raise ValueError("latent_std must be positive")

    @property
    def temporal_factor(self) -> int:
        return 2 ** sum(self.temporal_downsample)

    @property
    def spatial_factor(self) -> int:
        return 2 ** len(self.temporal_downsample)


class WanVAE(nn.Module):
    """Encode clips into normalized latents and back.

    Pixels (B, 3, F, H, W) in [-1, 1] with F = 1 + 4k; latents (B, 16, 1 + k, H/8, W/8). `encode` takes the posterior
    mean mu and returns (mu - latent_mean) * (1 / latent_std); `decode` returns the decoder's output for
    z / (1 / latent_std) + latent_mean, not clamped. All arithmetic is in the module's dtype, so that a bfloat16 module
    rounds mean, std and reciprocal as the official one does; results have the dtype of the argument.
    """

    def __init__(self, config: WanVAEConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or WanVAEConfig()
        self.encoder = Encoder(config)
        self.conv1 = CausalConv3d(2 * config.latent_channels, 2 * config.latent_channels, 1)
        self.conv2 = CausalConv3d(config.latent_channels, config.latent_channels, 1)
        self.decoder = Decoder(config)
        self.register_buffer("latent_mean", rearrange(torch.tensor(config.latent_mean), "c -> c 1 1 1"))
        self.register_buffer("latent_std", rearrange(torch.tensor(config.latent_std), "c -> c 1 1 1"))

    @property
    def temporal_factor(self) -> int:
        return self.config.temporal_factor

    @property
    def spatial_factor(self) -> int:
        return self.config.spatial_factor

    def num_latent_frames(self, num_pixel_frames: int) -> int:
        """Return 1 + (F - 1) / 4; ValueError with the nearest two legal counts where F is not 1 + 4k."""
        return latent_frames(num_pixel_frames, self.temporal_factor)

    def num_pixel_frames(self, num_latent_frames: int) -> int:
        """Return 1 + 4 (T - 1); ValueError for T < 1."""
        return pixel_frames(num_latent_frames, self.temporal_factor)

    def encode(self, pixels: Tensor) -> Tensor:
        """Return normalized latents (B, 16, T, h, w) of pixels in [-1, 1].

        Raises:
            ValueError: an illegal number of pixel frames, size, dtype or range.
        """
        return torch.cat(list(self.encode_stream(pixels)), dim=2)

    def encode_sample(self, pixels: Tensor, noise: Tensor) -> Tensor:
        """Return normalized latents drawn from the posterior, mu + exp(logvar / 2) * noise, as diffusers does.

        noise (B, 16, T, h, w) has unit variance; ValueError as in `encode`.
        """
        self._check_clip(pixels)
        dtype = self.conv1.weight.dtype
        mean, std = self.latent_mean.to(dtype), self.latent_std.to(dtype)
        pairs = list(self._posteriors(pixels.to(dtype)))
        mu, logvar = (torch.cat(part, dim=2) for part in zip(*pairs, strict=True))
        drawn = mu + torch.exp(0.5 * logvar.clamp(-30.0, 20.0)) * noise.to(mu)
        return ((drawn - mean) * (1 / std)).to(pixels.dtype)

    def decode(self, latents: Tensor) -> Tensor:
        """Return pixels (B, 3, F, H, W) of normalized latents, not clamped; ValueError for a wrong shape."""
        return torch.cat(list(self.decode_stream(latents)), dim=2)

    def encode_raw(self, pixels: Tensor) -> Tensor:
        """Return the posterior mean (B, 16, T, h, w) without normalization."""
        return torch.cat(list(self._posterior_means(pixels)), dim=2)

    def decode_raw(self, mu: Tensor) -> Tensor:
        """Return the pixels of unnormalized latents."""
        return torch.cat(list(self._decode_frames(iter(mu.split(1, dim=2)))), dim=2)

    def encode_stream(self, pixels: Tensor) -> Iterator[Tensor]:
        """Yield the latents of `encode` chunk by chunk along time: 1 latent frame, then encode_window / 4 at a time."""
        self._check_clip(pixels)
        return self._normalized(pixels)

    def decode_stream(self, latents: Tensor) -> Iterator[Tensor]:
        """Yield the pixels of `decode` by latent frame: 1 pixel frame, then 4 at a time. Peak memory is that of one."""
        check_latents(latents, self.config.latent_channels)
        self.num_pixel_frames(latents.shape[2])
        dtype = self.conv2.weight.dtype
        mean, std = self.latent_mean.to(dtype), self.latent_std.to(dtype)
        frames = (frame.to(dtype) / (1 / std) + mean for frame in latents.split(1, dim=2))
        return (chunk.to(latents.dtype) for chunk in self._decode_frames(frames))

    def _check_clip(self, pixels: Tensor) -> None:
        check_pixels(pixels, self.spatial_factor)
        check_range(pixels)
        self.num_latent_frames(pixels.shape[2])

    def _normalized(self, pixels: Tensor) -> Iterator[Tensor]:
        dtype = self.conv1.weight.dtype
        mean, std = self.latent_mean.to(dtype), self.latent_std.to(dtype)
        for mu in self._posterior_means(pixels.to(dtype)):
            yield ((mu - mean) * (1 / std)).to(pixels.dtype)

    def _posterior_means(self, pixels: Tensor) -> Iterator[Tensor]:
        return (mu for mu, _ in self._posteriors(pixels))

    def _posteriors(self, pixels: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        stream = Stream()
        for chunk in causal_chunks(pixels, self.config.encode_window):
            yield self.conv1(self.encoder(chunk, stream)).chunk(2, dim=1)
            stream.chunk += 1

    def _decode_frames(self, frames: Iterator[Tensor]) -> Iterator[Tensor]:
        stream = Stream()
        for frame in frames:
            yield self.decoder(for_convolutions(self.conv2(frame)), stream)
            stream.chunk += 1


class Encoder(nn.Module):
    """One chunk of pixel frames -> twice the latent channels: posterior mean and log-variance."""

    def __init__(self, config: WanVAEConfig) -> None:
        super().__init__()
        widths = [config.channels * mult for mult in (1, *config.channels_mult)]
        self.conv1 = CausalConv3d(3, widths[0], 3)
        layers: list[nn.Module] = []
        for level, (width_in, width) in enumerate(zip(widths[:-1], widths[1:], strict=True)):
            layers += _res_blocks(width_in, width, config.num_res_blocks)
            if level < len(config.temporal_downsample):
                layers.append(Downsample(width, temporal=config.temporal_downsample[level]))
        self.downsamples = nn.Sequential(*layers)
        self.middle = _middle(widths[-1])
        self.head = nn.Sequential(
            RMSNorm(widths[-1]), nn.SiLU(), CausalConv3d(widths[-1], 2 * config.latent_channels, 3)
        )

    def forward(self, pixels: Tensor, stream: Stream) -> Tensor:
        x = self.conv1(pixels, stream)
        for layers in (self.downsamples, self.middle, self.head):
            x = _run(layers, x, stream)
        return x


class Decoder(nn.Module):
    """One latent frame -> its pixel frames: 1 for the first, `temporal_factor` for every other."""

    def __init__(self, config: WanVAEConfig) -> None:
        super().__init__()
        widths = [config.channels * mult for mult in reversed(config.channels_mult)]
        self.conv1 = CausalConv3d(config.latent_channels, widths[0], 3)
        self.middle = _middle(widths[0])
        layers: list[nn.Module] = []
        temporal = tuple(reversed(config.temporal_downsample))
        for level, width in enumerate(widths):
            # An upsampling halves the width, hence levels after the first begin with half of the one before.
            layers += _res_blocks(widths[level - 1] // 2 if level else width, width, config.num_res_blocks + 1)
            if level < len(temporal):
                layers.append(Upsample(width, temporal=temporal[level]))
        self.upsamples = nn.Sequential(*layers)
        self.head = nn.Sequential(RMSNorm(widths[-1]), nn.SiLU(), CausalConv3d(widths[-1], 3, 3))

    def forward(self, latent: Tensor, stream: Stream) -> Tensor:
        x = self.conv1(latent, stream)
        for layers in (self.middle, self.upsamples, self.head):
            x = _run(layers, x, stream)
        return x


class CausalConv3d(nn.Conv3d):
    """Convolution padded with zeros in space and, in time, with the stream's past on the left only."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int | tuple[int, int, int]) -> None:
        time, height, width = (kernel_size,) * 3 if isinstance(kernel_size, int) else kernel_size
        super().__init__(in_channels, out_channels, (time, height, width), padding=(0, height // 2, width // 2))
        self.num_past = time - 1

    def forward(self, x: Tensor, stream: Stream | None = None) -> Tensor:
        """Convolve a chunk; a layer that is wider than one position in time needs the stream."""
        if self.num_past:
            x = stream.extend(self, x, keep=self.num_past)
        return super().forward(x)


class RMSNorm(nn.Module):
    """x / |x|_2 * sqrt(C) * gamma over the channels (axis 1), each product rounded to x's dtype."""

    def __init__(self, channels: int, num_axes: int = 3) -> None:
        super().__init__()
        self.scale = channels**0.5
        self.gamma = nn.Parameter(torch.ones(channels, *(1,) * num_axes))

    def forward(self, x: Tensor) -> Tensor:
        return F.normalize(x, dim=1) * self.scale * self.gamma


class ResBlock(nn.Module):
    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.residual = nn.Sequential(
            RMSNorm(in_channels),
            nn.SiLU(),
            CausalConv3d(in_channels, out_channels, 3),
            RMSNorm(out_channels),
            nn.SiLU(),
            nn.Identity(),  # the official dropout of rate 0, which has a place in the parameters' numbering
            CausalConv3d(out_channels, out_channels, 3),
        )
        self.shortcut = CausalConv3d(in_channels, out_channels, 1) if in_channels != out_channels else nn.Identity()

    def forward(self, x: Tensor, stream: Stream) -> Tensor:
        return _run(self.residual, x, stream) + self.shortcut(x)


class Attention(nn.Module):
    """Single-head attention over the H * W positions of each frame, plus the input."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = RMSNorm(channels, num_axes=2)
        self.to_qkv = nn.Conv2d(channels, 3 * channels, 1)
        self.proj = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        frames = rearrange(x, "b c t h w -> (b t) c h w")
        # Fused kernels need a vector's features side by side in memory.
        qkv = rearrange(self.to_qkv(self.norm(frames)), "n c h w -> n 1 (h w) c").contiguous()
        out = F.scaled_dot_product_attention(*qkv.chunk(3, dim=-1))
        out = self.proj(rearrange(out, "n 1 (h w) c -> n c h w", h=x.shape[3]))
        return x + rearrange(out, "(b t) c h w -> b c t h w", t=x.shape[2])


class Downsample(nn.Module):
    """Halve H and W; with `temporal`, then T, except of the first chunk, which is a single pixel frame."""

    def __init__(self, channels: int, temporal: bool) -> None:
        super().__init__()
        self.resample = nn.Sequential(nn.ZeroPad2d((0, 1, 0, 1)), nn.Conv2d(channels, channels, 3, stride=2))
        self.time_conv = nn.Conv3d(channels, channels, (3, 1, 1), stride=(2, 1, 1)) if temporal else None

    def forward(self, x: Tensor, stream: Stream) -> Tensor:
        x = _per_frame(self.resample, x)
        if self.time_conv is None:
            return x
        if stream.is_first_chunk:
            stream.remember(self, x, keep=1)
            return x
        return self.time_conv(stream.extend(self, x, keep=1))


class Upsample(nn.Module):
    """With `temporal`, double T, except of the first chunk; then double H and W and halve the width.

    The first chunk passes the temporal convolution by and leaves no trace there: the second sees zeros as its past.
    """

    def __init__(self, channels: int, temporal: bool) -> None:
        super().__init__()
        self.resample = nn.Sequential(
            nn.Upsample(scale_factor=2, mode="nearest-exact"), nn.Conv2d(channels, channels // 2, 3, padding=1)
        )
        self.time_conv = CausalConv3d(channels, 2 * channels, (3, 1, 1)) if temporal else None

    def forward(self, x: Tensor, stream: Stream) -> Tensor:
        if self.time_conv is not None and not stream.is_first_chunk:
            x = rearrange(self.time_conv(x, stream), "b (two c) t h w -> b c (t two) h w", two=2)
        return for_convolutions(_per_frame(self.resample, for_convolutions(x)))


def for_convolutions(x: Tensor) -> Tensor:
    """x (B, C, T, H, W), on a GPU with C innermost in memory: its convolutions are quicker so, and copy less."""
    return x.contiguous(memory_format=torch.channels_last_3d) if x.is_cuda else x


def _res_blocks(in_channels: int, out_channels: int, num_blocks: int) -> list[nn.Module]:
    return [ResBlock(in_channels if i == 0 else out_channels, out_channels) for i in range(num_blocks)]


def _middle(channels: int) -> nn.Sequential:
    return nn.Sequential(ResBlock(channels, channels), Attention(channels), ResBlock(channels, channels))


def _per_frame(layer: nn.Module, x: Tensor) -> Tensor:
    return rearrange(layer(rearrange(x, "b c t h w -> (b t) c h w")), "(b t) c h w -> b c t h w", t=x.shape[2])


def _run(layers: nn.Sequential, x: Tensor, stream: Stream) -> Tensor:
    """Run layers in order and hand the stream to those that look along time."""
    for layer in layers:
        x = layer(x, stream) if isinstance(layer, (CausalConv3d, ResBlock, Downsample, Upsample)) else layer(x)
    return x
