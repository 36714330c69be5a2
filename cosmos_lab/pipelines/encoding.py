"""What a call gives the first step: its texts as embeddings, its given pixel frames as latents, its noise."""

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from cosmos_lab import video
from cosmos_lab.noise import Noise
from cosmos_lab.pipelines import assembly
from cosmos_lab.pipelines.call import Call

if TYPE_CHECKING:
    from cosmos_lab.pipelines.generate import Pipeline


def embeddings(pipe: "Pipeline", call: Call, prompt: str | Tensor) -> tuple[Tensor, Tensor]:
    """Embeddings `(1, N, D)` of a prompt, which may be given as such, and of what guidance leads it away from."""
    text = prompt if isinstance(prompt, Tensor) else pipe.model.text.encode([prompt])
    given = call.replacing.get("negative_prompt_embeds")
    return text, negative_embeddings(pipe, call.settings.negative_prompt, text) if given is None else given


def negative_embeddings(pipe: "Pipeline", negative_prompt: str, text: Tensor) -> Tensor:
    """What guidance leads away from: the negative prompt, `(1, N, D)`, or what the card takes an empty one for, which
    is the empty text, the prompt's own `text`, or zeros of its shape."""
    unconditional = pipe.card.sampling.unconditional
    if negative_prompt.strip() or unconditional == "text":
        return pipe.model.text.encode([negative_prompt])
    return text if unconditional == "prompt" else torch.zeros_like(text)


def given_latents(pipe: "Pipeline", call: Call) -> tuple[Tensor, int]:
    """Latents `(1, C, T', h, w)` with the given ones first and zeros after, and how many are given.

    Only the given pixel frames are encoded: the tokenizer is causal, what follows could not reach them.
    """
    settings, vae = call.settings, pipe.model.vae
    length, factor = vae.num_latent_frames(settings.num_pixel_frames), vae.spatial_factor
    shape = (1, pipe.card.dit.latent_channels, length, settings.height // factor, settings.width // factor)
    if call.source is None:
        return torch.zeros(shape, device=pipe.device), 0
    # Officially pixels are rounded to the tokenizer's dtype at every step on their way in; in diffusers at the end.
    dtype = torch.float32 if pipe.card.conventions == "diffusers" else pipe.tokenizer_dtype
    pixels = video.fit_to_network(
        call.source.pixels, settings.height, settings.width, resize=pipe.card.pictures.resize, dtype=dtype
    ).to(pipe.device)
    if pipe.card.pictures.posterior == "mean":
        given = vae.encode(pixels)
    else:
        # Drawn for the whole clip, as diffusers does; what follows the given latent frames is not used.
        noise = noise_source(pipe, call)(shape, purpose="posterior")
        given = vae.encode_sample(pixels, noise[:, :, : vae.num_latent_frames(pixels.shape[2])])
    given = given.float() * pipe.card.sampling.sigma_data
    return F.pad(given, (0, 0, 0, 0, 0, length - given.shape[2])), given.shape[2]


def noise_source(pipe: "Pipeline", call: Call, sample: int = 0) -> Noise:
    """Where noise beside the initial one comes from, which may be given as a tensor."""
    noise = call.replacing.get("noise")
    seeded = noise is None or isinstance(noise, Tensor)
    return assembly.noise_source(pipe.card.sampling, call.settings.seed, sample) if seeded else noise
