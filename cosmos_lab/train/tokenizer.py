"""Trains nano's video tokenizer on freshly rendered clips: reconstruct every pixel, edges and motion above all."""

from contextlib import AbstractContextManager

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from cosmos_lab.evaluation.codec import ssim
from cosmos_lab.nn.wavelet_vae import WaveletVAE
from cosmos_lab.train.capture import Captured
from cosmos_lab.train.loop import LossFunction


def as_video(pixels: Tensor) -> Tensor:
    """(B, T, H, W, 3) uint8 -> (B, 3, T, H, W) float32 in [-1, 1]."""
    return rearrange(pixels, "b t h w c -> b c t h w").float() / 127.5 - 1


def edge_weight(video: Tensor, gain: float = 3.0, threshold: float = 0.08) -> Tensor:
    """1 where nothing moves, 1 + gain within a few pixels of a moving edge; (B, 1, T, H, W)."""
    change = (video[:, :, 1:] - video[:, :, :-1]).abs().amax(dim=1, keepdim=True)
    change = torch.cat([change[:, :, :1], change], dim=2)
    near = F.max_pool3d(change, kernel_size=(3, 5, 5), stride=1, padding=(1, 2, 2))
    return 1 + gain * (near > threshold)


def gradient_error(error: Tensor, weight: Tensor) -> Tensor:
    """Mean absolute difference of neighboring errors along height, width and time: what the eye sees as ringing."""
    def along(axis: int) -> Tensor:
        return (error.diff(dim=axis).abs() * weight.narrow(axis, 1, weight.shape[axis] - 1)).mean()

    return (along(2) + along(3) + along(4)) / 3


def reconstruction_loss(output: Tensor, video: Tensor, ssim_weight: float = 0.3) -> Tensor:
    """Weighted L1 + 10 MSE + gradient error + `ssim_weight` (1 - SSIM), the first three on pixels in [-1, 1]."""
    error, weight = output - video, edge_weight(video)
    bytes_of = (rearrange(127.5 * (clip + 1), "b c t h w -> b t h w c") for clip in (output, video))
    unlike = 1 - ssim(*bytes_of).mean()
    plain = (weight * error.abs()).mean() + 10 * (weight * error.square()).mean() + gradient_error(error, weight)
    return plain + ssim_weight * unlike


def draw_disturbance(
    size: tuple[int, ...], strength: float, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """What `perturb` adds to latents of that size: an amount up to `strength` for each clip, and normal noise."""
    amount = strength * torch.rand(size[0], 1, 1, 1, 1, generator=generator, device=generator.device)
    return amount, torch.randn(size, generator=generator, device=generator.device)


def perturb(latents: Tensor, amount: Tensor, noise: Tensor) -> Tensor:
    """Adds `amount` (B, 1, 1, 1, 1) channel standard deviations of noise, so that the decoder forgives a denoiser."""
    spread = latents.detach().float().std(dim=(0, 2, 3, 4), keepdim=True)
    return latents + amount * spread * noise


def tokenizer_loss(
    vae: WaveletVAE, pool: Tensor, batch: int, noise: float = 0.1, ssim_weight: float = 0.3
) -> LossFunction:
    """The loss over a pool of rendered clips (N, T, H, W, 3) uint8 that lies on the training device.

    The decoder sees latents with up to `noise` standard deviations of noise.
    """
    factor = vae.spatial_factor
    size = (vae.config.latent_channels, vae.num_latent_frames(pool.shape[1]), *(n // factor for n in pool.shape[2:4]))

    def reconstruct(pixels: Tensor, amount: Tensor, disturbance: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        video = as_video(pixels)
        with torch.autocast(pool.device.type, dtype=torch.bfloat16):
            latents = vae.encode_raw(video)
            output = vae.decode_raw(perturb(latents, amount, disturbance))
        error = (output.float() - video).square().mean()
        # The weak pull keeps latents near unit scale; nothing else fixes it.
        total = reconstruction_loss(output.float(), video, ssim_weight) + 1e-4 * latents.float().square().mean()
        return total, {"psnr_noisy": 10 * torch.log10(4 / error.detach())}

    captured = Captured(reconstruct, vae)

    def loss(step: int, generator: torch.Generator) -> tuple[Tensor, dict]:
        chosen = torch.randint(len(pool), (batch,), generator=generator, device=pool.device)
        return captured(pool[chosen], *draw_disturbance((batch, *size), noise, generator))

    return loss


@torch.no_grad()
def set_latent_statistics(vae: WaveletVAE, pool: Tensor, clips: int = 512) -> None:
    """Measures each channel's mean and standard deviation, so that normalised latents have unit variance."""
    with torch.autocast(pool.device.type, dtype=torch.bfloat16):
        raw = torch.cat([vae.encode_raw(as_video(part)).float() for part in pool[:clips].split(16)])
    vae.set_latent_statistics(raw.mean(dim=(0, 2, 3, 4)), raw.std(dim=(0, 2, 3, 4)))


@torch.no_grad()
def reconstruction_psnr(vae: WaveletVAE, pool: Tensor) -> Tensor:
    """PSNR in dB of each clip, on 8-bit pixels (peak 255) after a round trip through latents.

    By the raw maps, which decode a clip whole and so faster than `decode`, which goes by latent frame.
    """
    found = []
    for part in pool.split(16):
        with torch.autocast(pool.device.type, dtype=torch.bfloat16):
            output = vae.decode_raw(vae.encode_raw(as_video(part)))
        pixels = rearrange(((output.float() + 1) * 127.5).round().clamp(0, 255), "b c t h w -> b t h w c")
        mse = (pixels - part.float()).square().mean(dim=(1, 2, 3, 4))
        found.append(10 * torch.log10(255**2 / mse))
    return torch.cat(found)


def uncompiled() -> AbstractContextManager:
    """Runs compiled blocks as they are written: batches of another size would be compiled anew."""
    return torch.compiler.set_stance("force_eager")


def compile_blocks(module: nn.Module, kinds: tuple[type, ...]) -> None:
    """Compiles each submodule of the given kinds in place; blocks of one kind share one compilation."""
    for part in module.modules():
        if isinstance(part, kinds):
            part.compile(dynamic=False)
