"""Official files of tiny random networks: the layout, the names and the wrappings that the publisher uses."""

import io
from dataclasses import replace
from pathlib import Path

import tiny_diffusers
import torch
from torch import Tensor, nn

from cosmos_lab import catalog
from cosmos_lab.config import Card, Text
from cosmos_lab.nn.dit import DiT
from cosmos_lab.nn.wan_vae import WanVAE, WanVAEConfig
from cosmos_lab.nn.wavelet_vae import WaveletVAE, WaveletVAEConfig
from cosmos_lab.runtime.key_maps import dit_key_to_predict1

STATISTICS = ("latent_mean", "latent_std")
NAMES = ("cosmos1-7b-video2world", "predict2-2b-video2world-720p-16fps", "predict2.5-2b-post-trained")


def tiny_card(name: str) -> Card:
    """A card of the catalog with networks of a few thousand parameters."""
    card = catalog.card(name)
    projection = 32 if card.dit.text_projection else None
    small = {"width": 32, "num_blocks": 2, "num_heads": 2, "mlp_ratio": 2.0, "adaln_rank": 4, "text_width": 24}
    dit = replace(card.dit, **small, text_projection=projection)
    if isinstance(card.tokenizer, WanVAEConfig):
        tokenizer = WanVAEConfig(channels=4, num_res_blocks=1)
    else:
        tokenizer = WaveletVAEConfig(channels=4, channels_mult=(1, 2, 2), num_res_blocks=1)
    return replace(card, dit=dit, tokenizer=tokenizer, text=Text(kind=card.text.kind, num_tokens=16), any_length=True)


def write_official(card: Card, root: Path) -> dict[str, nn.Module]:
    """Write all files of a card under `root`; returns the networks that are in them."""
    dit = tiny_diffusers.randomize(DiT(card.dit), seed=1, scale=0.7)
    wan = isinstance(card.tokenizer, WanVAEConfig)
    vae = tiny_diffusers.randomize(WanVAE(card.tokenizer) if wan else WaveletVAE(card.tokenizer), seed=2)
    write_dit(dit, root / card.files["dit"], predict1=card.dit.learned_positions)
    write_wan(vae, root / card.files["tokenizer"]) if wan else write_wavelet(vae, root / card.files["tokenizer"])
    encoder, tokenizer = tiny_diffusers.TEXTS[card.text.kind]()
    encoder.save_pretrained(root / card.files["text"])
    tokenizer.save_pretrained(root / card.files["text"])
    return {"dit": dit, "vae": vae, "text": encoder}


def write_dit(
    dit: DiT, path: Path, *, prefix: str = "net.", predict1: bool = False, extra: dict[str, object] | None = None
) -> None:
    """A `.pt` with the prefix, and all that official files hold beside weights: counters, constants, kernel state."""
    rename = dit_key_to_predict1 if predict1 else str
    state: dict[str, object] = {prefix + rename(key): value for key, value in dit.state_dict().items()}
    state[f"{prefix}accum_iteration"] = torch.tensor(3)
    state[f"{prefix}pos_embedder.seq"] = torch.arange(128)
    state[f"{prefix}blocks.0.self_attn.q_norm._extra_state"] = io.BytesIO(b"kernel")
    if predict1:
        state["logvar.0.freqs"] = torch.zeros(4)
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(state | (extra or {}), path)


def write_wan(vae: WanVAE, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save({key: value for key, value in vae.state_dict().items() if key not in STATISTICS}, path)


def write_wavelet(vae: WaveletVAE, folder: Path) -> None:
    """encoder.jit, decoder.jit and mean_std.pt; the statistics are made here and set in `vae` too."""
    folder.mkdir(parents=True, exist_ok=True)
    generator = torch.Generator().manual_seed(5)
    columns = vae.config.num_statistics
    mean, std = torch.randn(16, columns, generator=generator), 0.5 + torch.rand(16, columns, generator=generator)
    vae.set_latent_statistics(mean, std)
    # The published file has more columns than a chunk has latent frames.
    torch.save(
        tuple(torch.cat([value, torch.ones(16, 4)], dim=1).flatten() for value in (mean, std)), folder / "mean_std.pt"
    )
    state = {key: value for key, value in vae.state_dict().items() if key not in STATISTICS}
    haar = {"wavelets": torch.full((2,), 0.5**0.5), "_arange": torch.arange(2)}
    for name, parts, patcher in (
        ("encoder", ("encoder.", "quant_conv."), "encoder.patcher3d."),
        ("decoder", ("decoder.", "post_quant_conv."), "decoder.unpatcher3d."),
    ):
        own = {key: value for key, value in state.items() if key.startswith(parts)}
        write_torchscript(own | {patcher + key: value for key, value in haar.items()}, folder / f"{name}.jit")


class Node(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x


def write_torchscript(state: dict[str, Tensor], path: Path) -> None:
    """An archive of `torch.jit.save` whose module tree has these names."""
    root = Node()
    for key, value in state.items():
        *modules, leaf = key.split(".")
        node = root
        for name in modules:
            if name not in node._modules:
                node.add_module(name, Node())
            node = node._modules[name]
        if value.is_floating_point():
            node.register_parameter(leaf, nn.Parameter(value))
        else:
            node.register_buffer(leaf, value)
    torch.jit.script(root).save(str(path))
