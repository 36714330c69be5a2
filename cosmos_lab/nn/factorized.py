"""Layers of the wavelet tokenizer: causal convolutions in two factors, changes of resolution, a norm per latent frame.

Activations are (B, C, T, H, W) held channels-last in memory: folding (B T) for a spatial convolution and (H W) for a
temporal one then costs nothing, and both run as 2-D convolutions.

The folds are written with movedim and flatten, not einops: a compiler traces einops' pattern parser at each of the some
two hundred folds of a tokenizer, which takes it half a minute.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cosmos_lab.nn.official_rounding import rounds_officially
from cosmos_lab.nn.streaming import Stream


class FactorizedConv(nn.Sequential):
    """Causal 3x3x3 convolution as a spatial and a temporal one."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(SpatialConv(in_channels, out_channels), TemporalConv(out_channels, out_channels))

    def forward(self, x: Tensor, stream: Stream | None = None) -> Tensor:
        spatial, temporal = self
        return temporal(spatial(x), stream)


class SpatialConv(nn.Module):
    """(1, 3, 3) convolution, run on single latent frames; stride 1 pads, stride 2 expects a padded input."""

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1) -> None:
        super().__init__()
        self.conv3d = nn.Conv3d(in_channels, out_channels, (1, 3, 3))
        self.stride, self.padding = stride, 1 if stride == 1 else 0

    def forward(self, x: Tensor) -> Tensor:
        weight = self.conv3d.weight.squeeze(2)
        return per_frame(
            lambda frame: F.conv2d(frame, weight, self.conv3d.bias, stride=self.stride, padding=self.padding), x
        )


class TemporalConv(nn.Module):
    """Causal (3, 1, 1) convolution, run as a 2-D one over (T, H * W); position 0 of the clip is repeated in front."""

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1) -> None:
        super().__init__()
        self.conv3d = nn.Conv3d(in_channels, out_channels, (3, 1, 1))
        self.stride = stride

    def forward(self, x: Tensor, stream: Stream | None = None) -> Tensor:
        keep = 3 - self.stride
        x = repeat_first(x, keep) if stream is None else stream.extend(self, x, keep, before="first")
        flat = x.flatten(3)  # (B, C, T, H * W)
        weight = self.conv3d.weight.squeeze(4)
        out = F.conv2d(flat, weight, self.conv3d.bias, stride=(self.stride, 1))
        return out.unflatten(3, x.shape[3:])


class PointConv(nn.Module):
    """1x1x1 convolution."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv3d = nn.Conv3d(in_channels, out_channels, 1)

    @property
    def dtype(self) -> torch.dtype:
        return self.conv3d.weight.dtype

    def forward(self, x: Tensor) -> Tensor:
        weight = self.conv3d.weight.squeeze(4)
        return per_frame(lambda frame: F.conv2d(frame, weight, self.conv3d.bias), x)


class FrameNorm(nn.Module):
    """GroupNorm with one group over (C, H, W) of each latent frame, so that no frame sees a later one.

    In float32 written out rather than as `group_norm`, whose CUDA kernel leaves the channels-last layout. In half
    precision that kernel rounds mean and deviation, which the official module's results contain.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(1, channels, eps=1e-6)

    def forward(self, x: Tensor) -> Tensor:
        if rounds_officially(x):
            return channels_last(per_frame(self.norm, x))
        var, mean = torch.var_mean(x.float(), dim=(1, 3, 4), keepdim=True, correction=0)
        weight, bias = (p.float()[:, None, None, None] for p in (self.norm.weight, self.norm.bias))
        scale = torch.rsqrt(var + self.norm.eps) * weight
        return (x * scale + (bias - mean * scale)).to(x.dtype)


class Downsample(nn.Module):
    """Halve H and W, then T, each as strided convolution plus average pooling; a 1x1x1 convolution ends it."""

    def __init__(self, channels: int, spatial: bool, temporal: bool) -> None:
        super().__init__()
        self.conv1 = SpatialConv(channels, channels, stride=2) if spatial else None
        self.conv2 = TemporalConv(channels, channels, stride=2) if temporal else None
        self.conv3 = PointConv(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        if self.conv1 is not None:
            pooled = per_frame(lambda frame: F.avg_pool2d(frame, 2), x)
            x = self.conv1(F.pad(x, (0, 1, 0, 1))) + pooled
        if self.conv2 is not None:
            x = repeat_first(x, 1)
            x = self.conv2(x) + (x[:, :, 0::2] + x[:, :, 1::2]) / 2
        return self.conv3(x)


class Upsample(nn.Module):
    """Double T (T latent frames -> 2T - 1), then H and W by repetition, each smoothed by a residual convolution.

    Of a stream, the first chunk begins with the latent frame that is not doubled; later chunks are doubled whole.
    """

    def __init__(self, channels: int, spatial: bool, temporal: bool) -> None:
        super().__init__()
        self.conv1 = TemporalConv(channels, channels) if temporal else None
        self.conv2 = SpatialConv(channels, channels) if spatial else None
        self.conv3 = PointConv(channels, channels)

    def forward(self, x: Tensor, stream: Stream | None = None) -> Tensor:
        if self.conv1 is not None:
            alone = 1 if stream is None or stream.is_first_chunk else 0
            x = torch.cat([x[:, :, :alone], x[:, :, alone:].repeat_interleave(2, dim=2)], dim=2)
            x = self.conv1(x, stream) + x
        if self.conv2 is not None:
            x = per_frame(lambda frame: F.interpolate(frame, scale_factor=2, mode="nearest"), x)
            x = self.conv2(x) + x
        return self.conv3(x)


def per_frame(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """Apply a 2-D function to each latent frame of (B, C, T, H, W)."""
    frames = x.movedim(2, 1).flatten(0, 1)  # (B * T, C, H, W)
    return function(frames).unflatten(0, (x.shape[0], x.shape[2])).movedim(1, 2)


def repeat_first(x: Tensor, times: int) -> Tensor:
    """Put `times` copies of position 0 of axis 2 in front."""
    return torch.cat([x[:, :, :1]] * times + [x], dim=2)


def channels_last(x: Tensor) -> Tensor:
    """Return x with (C) innermost in memory; its shape stays."""
    return x.contiguous(memory_format=torch.channels_last_3d)
