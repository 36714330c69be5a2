"""How many latent frames a causal tokenizer makes of a number of pixel frames, and which numbers are legal."""

import torch
from torch import Tensor


def latent_frames(num_pixel_frames: int, temporal_factor: int, pixel_frames_per_chunk: int | None = None) -> int:
    """Return 1 + (F - 1) / f latent frames for F = 1 + f*k pixel frames.

    With `pixel_frames_per_chunk` = P, F is one chunk (F <= P) or N whole chunks of P, each encoded alone.

    Raises:
        ValueError: an illegal count; the message names the nearest two legal ones.
    """
    chunk = pixel_frames_per_chunk
    if chunk is not None and num_pixel_frames > chunk and num_pixel_frames % chunk == 0:
        return num_pixel_frames // chunk * (1 + (chunk - 1) // temporal_factor)
    in_one_chunk = chunk is None or num_pixel_frames <= chunk
    if num_pixel_frames < 1 or not in_one_chunk or (num_pixel_frames - 1) % temporal_factor:
        rule = f"1 + {temporal_factor}*k" + ("" if chunk is None else f" up to {chunk}, or N*{chunk}")
        raise ValueError(
            f"{num_pixel_frames} pixel frames are not {rule}: "
            f"use {_nearest_two(num_pixel_frames, step=temporal_factor, chunk=chunk)}"
        )
    return 1 + (num_pixel_frames - 1) // temporal_factor


def pixel_frames(num_latent_frames: int, temporal_factor: int, pixel_frames_per_chunk: int | None = None) -> int:
    """Return the pixel frames that `num_latent_frames` decode to; the inverse of `latent_frames`.

    Raises:
        ValueError: an illegal count; the message names the nearest two legal ones.
    """
    if pixel_frames_per_chunk is None:
        latents_per_chunk = None
    else:
        latents_per_chunk = 1 + (pixel_frames_per_chunk - 1) // temporal_factor
        if num_latent_frames > latents_per_chunk and num_latent_frames % latents_per_chunk == 0:
            return num_latent_frames // latents_per_chunk * pixel_frames_per_chunk
    too_many = latents_per_chunk is not None and num_latent_frames > latents_per_chunk
    if num_latent_frames < 1 or too_many:
        raise ValueError(
            f"{num_latent_frames} latent frames cannot be decoded: "
            f"use {_nearest_two(num_latent_frames, step=1, chunk=latents_per_chunk)}"
        )
    return 1 + (num_latent_frames - 1) * temporal_factor


def check_pixels(pixels: Tensor, spatial_factor: int) -> None:
    """Raise ValueError unless pixels are floating, (B, 3, F, H, W), with H and W multiples of `spatial_factor`."""
    if not pixels.is_floating_point():
        raise ValueError(f"pixels must be floating in [-1, 1], not {pixels.dtype}: use pixels.float() / 127.5 - 1")
    if pixels.ndim != 5 or pixels.shape[1] != 3:
        raise ValueError(f"pixels must be (B, 3, F, H, W), not {tuple(pixels.shape)}: move the channels to axis 1")
    for name, size in zip(("height", "width"), pixels.shape[-2:], strict=True):
        if size % spatial_factor or size == 0:
            below = max(size // spatial_factor, 1) * spatial_factor
            raise ValueError(
                f"{name} {size} is not a multiple of {spatial_factor}: use {below} or {below + spatial_factor}"
            )


def check_range(pixels: Tensor) -> None:
    """Raise ValueError for pixels far outside [-1, 1]: [0, 255] data; a little overshoot of a resize passes.

    Reads a value back, so a compiled graph leaves it out.
    """
    if torch.compiler.is_compiling():
        return
    largest = pixels.detach().abs().amax().item()
    if largest > 2:
        raise ValueError(f"pixels reach {largest:.0f} but must lie in [-1, 1]: use pixels / 127.5 - 1")


def check_latents(latents: Tensor, num_channels: int) -> None:
    """Raise ValueError unless latents are floating and (B, num_channels, T, h, w)."""
    if latents.ndim != 5 or latents.shape[1] != num_channels or not latents.is_floating_point():
        raise ValueError(
            f"latents must be floating, (B, {num_channels}, T, h, w), not {latents.dtype} {tuple(latents.shape)}"
        )


def _nearest_two(count: int, step: int, chunk: int | None) -> str:
    if count < 1:
        return f"1 or {1 + step}"
    if chunk is not None and count > chunk:
        below = count // chunk * chunk
        return f"{below} or {below + chunk}"
    below = 1 + (count - 1) // step * step
    return f"{below} or {below + step}"
