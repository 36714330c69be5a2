"""How much the tokenizer loses: peak signal-to-noise ratio and structural similarity of reconstructions."""

import torch
from einops import rearrange, reduce
from torch import Tensor
from torch.nn import functional as F


def psnr(output: Tensor, reference: Tensor) -> Tensor:
    """10 log10(255^2 / mse) in dB, one figure a clip; pixels (B, T, H, W, 3) from 0 to 255. Equal clips give inf."""
    error = reduce((output.float() - reference.float()).square(), "b ... -> b", "mean")
    return 10 * torch.log10(255.0**2 / error)


def gaussian_window(size: int = 11, sigma: float = 1.5, device: torch.device | None = None) -> Tensor:
    """The separable window of SSIM, (size,), summing to 1."""
    offset = torch.arange(size, device=device) - (size - 1) / 2
    window = torch.exp(-offset.square() / (2 * sigma**2))
    return window / window.sum()


def ssim(output: Tensor, reference: Tensor) -> Tensor:
    """Structural similarity (Wang et al. 2004, eq. 13), one figure a clip; pixels (B, T, H, W, 3) from 0 to 255.

    Gaussian window of 11 pixels and sigma 1.5, K1 = 0.01, K2 = 0.03, on each color channel of each pixel frame,
    without padding; the mean over windows, channels and pixel frames.
    """
    a, b = (rearrange(clip.float() / 255, "b t h w c -> (b t c) 1 h w") for clip in (output, reference))
    window = gaussian_window(device=a.device)

    def local_mean(x: Tensor) -> Tensor:
        rows = F.conv2d(x, rearrange(window, "k -> 1 1 k 1"))
        return F.conv2d(rows, rearrange(window, "k -> 1 1 1 k"))

    mean_a, mean_b = local_mean(a), local_mean(b)
    variance_a = local_mean(a * a) - mean_a.square()
    variance_b = local_mean(b * b) - mean_b.square()
    covariance = local_mean(a * b) - mean_a * mean_b
    c1, c2 = 0.01**2, 0.03**2
    luminance = (2 * mean_a * mean_b + c1) / (mean_a.square() + mean_b.square() + c1)
    structure = (2 * covariance + c2) / (variance_a + variance_b + c2)
    return reduce(luminance * structure, "(b n) 1 h w -> b", "mean", b=output.shape[0])


def moving_edges(reference: Tensor, threshold: float = 10.0) -> Tensor:
    """Pixels within 2 of something that changed since the pixel frame before: (B, T - 1, H, W) booleans."""
    change = (reference[:, 1:].float() - reference[:, :-1].float()).abs().amax(dim=-1)
    near = F.max_pool2d(rearrange(change, "b t h w -> (b t) 1 h w"), 5, stride=1, padding=2)
    return rearrange(near, "(b t) 1 h w -> b t h w", b=len(reference)) > threshold


def edge_psnr(output: Tensor, reference: Tensor) -> Tensor:
    """PSNR over `moving_edges` alone, where ringing would show; one figure a clip, inf where nothing moves."""
    mask = moving_edges(reference).float()
    error = (output[:, 1:].float() - reference[:, 1:].float()).square().mean(dim=-1)
    count = reduce(mask, "b t h w -> b", "sum").clamp(min=1)
    return 10 * torch.log10(255.0**2 / (reduce(error * mask, "b t h w -> b", "sum") / count))


def codec_figures(
    output: Tensor, reference: Tensor, batch: int = 8, device: torch.device | None = None
) -> dict[str, Tensor]:
    """PSNR, SSIM and PSNR at moving edges of N clips (N, T, H, W, 3) uint8, each (N,), computed `batch` at a time on
    `device`, by default where the clips are."""
    measures = {"psnr": psnr, "ssim": ssim, "edge_psnr": edge_psnr}
    found = {name: [] for name in measures}
    for pair in zip(output.split(batch), reference.split(batch)):
        pair = [clips if device is None else clips.to(device) for clips in pair]
        for name, measure in measures.items():
            found[name].append(measure(*pair).cpu())
    return {name: torch.cat(parts) for name, parts in found.items()}
