"""Networks of any card with random weights, made where they run: for measuring before the weights are here."""

from collections.abc import Callable

import torch
from torch import nn

from cosmos_lab.config import Card
from cosmos_lab.nn.dit import DiT
from cosmos_lab.nn.wan_vae import WanVAE, WanVAEConfig
from cosmos_lab.nn.wavelet_vae import WaveletVAE
from cosmos_lab.runtime.checkpoints import Model
from cosmos_lab.runtime.matching import check_device, on_meta
from cosmos_lab.runtime.text_folders import AbsentTextEncoder


def random_model(
    card: Card, *, device: str | torch.device = "cpu", dtype: torch.dtype = torch.bfloat16, seed: int = 0
) -> Model:
    """The card's networks at their full size, every weight drawn on the device; without a text encoder.

    Nothing passes through the host. Raises ValueError for a device or dtype that is not there.
    """
    device = check_device(device, dtype)
    generator = torch.Generator(device).manual_seed(seed)
    wan = isinstance(card.tokenizer, WanVAEConfig)
    dit = _random(lambda: DiT(card.dit), device=device, dtype=dtype, generator=generator)
    vae = _random(
        lambda: WanVAE(card.tokenizer) if wan else WaveletVAE(card.tokenizer),
        device=device, dtype=dtype, generator=generator,
    )  # fmt: skip
    vae.latent_mean.zero_()
    vae.latent_std.fill_(1.0)
    return Model(card=card, dit=dit, vae=vae, text=AbsentTextEncoder(), digest=f"random weights, seed {seed}")


@torch.no_grad()
def _random(
    make: Callable[[], nn.Module], *, device: torch.device, dtype: torch.dtype, generator: torch.Generator
) -> nn.Module:
    """Normal weights that keep the scale of what passes: deviation fan_in^-1/2; norms 1, biases 0."""
    module = on_meta(make).to(dtype).to_empty(device=device)
    for name, parameter in module.named_parameters():
        if name.endswith("bias"):
            parameter.zero_()
        elif parameter.squeeze().ndim < 2:
            parameter.fill_(1.0)
        else:
            parameter.normal_(std=parameter[0].numel() ** -0.5, generator=generator)
    return module.eval().requires_grad_(False)
