"""Decoding latents into 8-bit pixel frames on the host, piece by piece: a GPU never holds the clip."""

import numpy as np
import torch
from torch import Tensor

from cosmos_lab import video
from cosmos_lab.nn.wan_vae import WanVAE
from cosmos_lab.nn.wavelet_vae import WaveletVAE


@torch.no_grad()
def decode_frames(
    vae: WanVAE | WaveletVAE, latents: Tensor, *, rounding: str = "half up", decoded: str = "signed"
) -> np.ndarray:
    """Normalized latents (1, C, T', h, w) to pixel frames, uint8 (T, H, W, 3) in host memory.

    The peak of device memory is that of the largest piece of `vae.decode_stream`, however long the clip; a "guessed"
    range has to wait for the whole clip, as float on the host. rounding and decoded: see `video.to_uint8`. Raises
    ValueError for a wrong shape, or a batch of other than one.
    """
    if latents.ndim != 5 or len(latents) != 1:
        raise ValueError(f"latents of one clip are (1, C, T, h, w), not {tuple(latents.shape)}")
    if decoded == "guessed":
        # The guess is the whole clip's: it waits on the host until its last pixel frame is known.
        clip = torch.cat([piece[0].cpu() for piece in vae.decode_stream(latents)], dim=1)
        return video.to_uint8(clip, rounding=rounding, decoded=decoded)
    height, width = (size * vae.spatial_factor for size in latents.shape[-2:])
    frames = np.empty((vae.num_pixel_frames(latents.shape[2]), height, width, 3), dtype=np.uint8)
    done = 0
    for piece in vae.decode_stream(latents):
        count = piece.shape[2]
        frames[done : done + count] = video.to_uint8(piece[0], rounding=rounding)
        done += count
    return frames
