"""Models from a folder in diffusers' layout (`model_index.json`), for its five Cosmos pipelines.

The networks come from the folder's configurations and weights, which are renamed; everything else, how it samples,
what it conditions on, comes from the card of the same kind, so that the official conventions hold here too.
`cosmos_lab.conventions` has diffusers' own.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from cosmos_lab import catalog
from cosmos_lab.config import Card, Sizes, Text
from cosmos_lab.nn.dit import DiT, DiTConfig
from cosmos_lab.nn.wan_vae import WAN_LATENT_MEAN, WAN_LATENT_STD, WanVAE, WanVAEConfig
from cosmos_lab.nn.wavelet_vae import WaveletVAE, WaveletVAEConfig
from cosmos_lab.runtime.checkpoints import Model, WeightsError
from cosmos_lab.runtime.key_maps import dit_key_from_diffusers
from cosmos_lab.runtime.matching import build, check, check_device, on_meta
from cosmos_lab.runtime.official import fingerprint
from cosmos_lab.runtime.state_files import read_state
from cosmos_lab.runtime.text_folders import AbsentTextEncoder, check_text, load_text, read_json
from cosmos_lab.runtime.tokenizer_keys import (
    statistics_from_mean_std,
    wan_vae_from_diffusers,
    wavelet_vae_from_diffusers,
)

INDEX = "model_index.json"
PARTS = ("transformer", "vae", "scheduler")


@dataclass(frozen=True, kw_only=True)
class Kind:
    """One of diffusers' pipelines: the card whose conventions it follows, its networks' and scheduler's classes."""

    card: str
    vae: str
    scheduler: str


KINDS = {
    "CosmosTextToWorldPipeline": Kind(
        card="cosmos1-7b-text2world", vae="AutoencoderKLCosmos", scheduler="EDMEulerScheduler"
    ),
    "CosmosVideoToWorldPipeline": Kind(
        card="cosmos1-7b-video2world", vae="AutoencoderKLCosmos", scheduler="EDMEulerScheduler"
    ),
    "Cosmos2TextToImagePipeline": Kind(
        card="predict2-2b-text2image", vae="AutoencoderKLWan", scheduler="FlowMatchEulerDiscreteScheduler"
    ),
    "Cosmos2VideoToWorldPipeline": Kind(
        card="predict2-2b-video2world-720p-16fps", vae="AutoencoderKLWan", scheduler="FlowMatchEulerDiscreteScheduler"
    ),
    "Cosmos2_5_PredictBasePipeline": Kind(
        card="predict2.5-2b-post-trained", vae="AutoencoderKLWan", scheduler="UniPCMultistepScheduler"
    ),
}  # fmt: skip


def is_diffusers_folder(folder: str | Path) -> bool:
    """Whether the folder has diffusers' index."""
    return (Path(folder) / INDEX).is_file()


def load_diffusers(
    folder: str | Path,
    *,
    device: str | torch.device = "cpu",
    dtype: torch.dtype = torch.float32,
    text_dtype: torch.dtype | None = None,
    text_encoder: bool = True,
    like: str | None = None,
) -> Model:
    """Read a diffusers folder of a Cosmos pipeline, straight to a device and dtype.

    text_dtype: None for `dtype`. text_encoder: False leaves it away; prompts are then given as embeddings.
    like: the card whose way of sampling is followed, where it is not that of the pipeline's class (see `KINDS`).
    Raises ValueError for a device or dtype that is not there, and WeightsError naming file, key and fix; configurations
    are all read before the first weight.
    """
    device, folder = check_device(device, dtype), Path(folder)
    card = card_of(folder, like=like)
    parts = {"transformer": folder / "transformer", "vae": folder / "vae"}
    if text_encoder:
        parts |= {"text_encoder": folder / "text_encoder"}
        check_text(folder / "text_encoder", card.text, tokenizer_folder=folder / "tokenizer")
    state = {dit_key_from_diffusers(key): value for key, value in read_state(parts["transformer"]).items()}
    # The keys of the largest part are compared first, and its weights moved last: what is wrong shows in seconds.
    check(on_meta(lambda: DiT(card.dit)).state_dict(), state, parts["transformer"])
    vae = _load_vae(card, parts["vae"], device=device, dtype=dtype)
    text = AbsentTextEncoder()
    if text_encoder:
        text = load_text(
            parts["text_encoder"], card.text, tokenizer_folder=folder / "tokenizer", device=device,
            dtype=text_dtype or dtype,
        )  # fmt: skip
    dit = build(lambda: DiT(card.dit), state, parts["transformer"], device=device, dtype=dtype)
    return Model(card=card, dit=dit, vae=vae, text=text, digest=fingerprint(parts.values()))


def card_of(folder: str | Path, like: str | None = None) -> Card:
    """The card of a diffusers folder, from its configurations alone, sampled as the card `like`.

    A folder does not tell Predict2.5's pre-trained weights from post-trained ones, nor Predict1's from Cosmos-1.0's:
    without `like` they are taken for post-trained and for Cosmos-1.0.

    Raises WeightsError for a pipeline that is not one of the five, or a part that is missing or of another class.
    """
    folder = Path(folder)
    index = read_json(folder / INDEX, "the index of the pipeline")
    kind = KINDS.get(index.get("_class_name"))
    if kind is None:
        raise WeightsError(f"{folder / INDEX} is of {index.get('_class_name')}; known are {', '.join(KINDS)}")
    absent = [part for part in PARTS if not (folder / part).is_dir()]
    if absent:
        raise WeightsError(f"{folder} lacks the folders {', '.join(absent)}. Download the folder again")
    transformer = _config(folder / "transformer" / "config.json", "CosmosTransformer3DModel")
    vae = _config(folder / "vae" / "config.json", kind.vae)
    _config(folder / "scheduler" / "scheduler_config.json", kind.scheduler)
    base = _base(kind, like)
    # A class that conditions on pixel frames counts the mask among its input channels; text2world and images have none.
    dit = _dit_config(transformer, base.dit)
    tokenizer = _wavelet_config(vae) if kind.vae == "AutoencoderKLCosmos" else _wan_config(vae)
    sizes = _legal_sizes(base.sizes, dit, tokenizer.spatial_factor)
    resolution = next(iter(sizes))
    return replace(
        base, name=folder.name, size=f"{transformer['num_layers']} blocks", dit=dit, tokenizer=tokenizer, sizes=sizes,
        resolution=resolution, aspect_ratio=next(iter(sizes[resolution])), files={}, first_frame=None, like=like,
        text=Text(kind=base.text.kind, num_tokens=base.text.num_tokens),
    )  # fmt: skip


def _base(kind: Kind, like: str | None) -> Card:
    usual, base = catalog.card(kind.card), catalog.card(like or kind.card)

    def essence(card: Card) -> tuple:
        return type(card.tokenizer), card.text.kind, card.dit.condition_mask, card.sampling.parametrization

    if essence(base) != essence(usual):
        raise ValueError(f"a folder of this kind is not like {base.name}; choose a card like {usual.name}")
    return base


def _config(path: Path, class_name: str) -> dict:
    config = read_json(path, f"the configuration of {class_name}")
    found = config.get("_class_name")
    if found != class_name:
        raise WeightsError(f"{path} is of {found}, expected {class_name}: is a part of another model here?")
    return config


def _dit_config(config: Mapping[str, object], base: DiTConfig) -> DiTConfig:
    """Shapes from the folder; where rotations and timesteps are rounded, and what fps does, from the card."""
    for name in ("img_context_dim_in", "controlnet_block_every_n"):
        if config.get(name):
            raise WeightsError(f"transformer/config.json has {name}: that network is not one of Predict's")
    patch, width = tuple(config["patch_size"]), config["num_attention_heads"] * config["attention_head_dim"]
    projected = config.get("use_crossattn_projection")
    return replace(
        base,
        width=width, num_blocks=config["num_layers"], num_heads=config["num_attention_heads"],
        mlp_ratio=config["mlp_ratio"], adaln_rank=config["adaln_lora_dim"], latent_channels=config["out_channels"],
        condition_mask=config["in_channels"] > config["out_channels"], padding_mask=config["concat_padding_mask"],
        patch=patch, max_grid=tuple(size // p for size, p in zip(config["max_size"], patch, strict=True)),
        text_width=config["text_embed_dim"],
        text_projection=config["crossattn_proj_in_channels"] if projected else None,
        rope_ratio=tuple(config["rope_scale"]), learned_positions=config["extra_pos_embed_type"] == "learnable",
    )  # fmt: skip


def _wan_config(config: Mapping[str, object]) -> WanVAEConfig:
    if config.get("is_residual") or config.get("patch_size"):
        raise WeightsError("vae/config.json describes the Wan2.2 tokenizer; Predict2 and Predict2.5 use Wan2.1's")
    return WanVAEConfig(
        channels=config["base_dim"], channels_mult=tuple(config["dim_mult"]), num_res_blocks=config["num_res_blocks"],
        latent_channels=config["z_dim"], temporal_downsample=tuple(config["temperal_downsample"]),
        latent_mean=tuple(config.get("latents_mean") or WAN_LATENT_MEAN),
        latent_std=tuple(config.get("latents_std") or WAN_LATENT_STD),
    )  # fmt: skip


def _wavelet_config(config: Mapping[str, object]) -> WaveletVAEConfig:
    """diffusers lists widths from the input on in both directions; the official network multiplies one width."""
    widths = config["encoder_block_out_channels"]
    factor = config["temporal_compression_ratio"]
    mirrored = config["decode_block_out_channels"]
    if tuple(mirrored)[: len(widths) - 1] != tuple(widths[1:]):
        raise WeightsError(f"vae/config.json: the decoder's widths {mirrored} do not mirror the encoder's {widths}")
    channels = config["latent_channels"]
    statistics = len(config["latents_mean"]) // channels if config.get("latents_mean") else 16
    return WaveletVAEConfig(
        channels=widths[0], channels_mult=tuple(width // widths[0] for width in widths[1:]),
        num_res_blocks=config["num_layers"], latent_channels=channels, patch_size=config["patch_size"],
        temporal_factor=factor, spatial_factor=config["spatial_compression_ratio"],
        pixel_frames_per_chunk=1 + (statistics - 1) * factor,
    )  # fmt: skip


def _load_vae(card: Card, folder: Path, *, device: torch.device, dtype: torch.dtype) -> WanVAE | WaveletVAE:
    state = read_state(folder)
    if isinstance(card.tokenizer, WanVAEConfig):
        mean, std = (torch.tensor(values) for values in (card.tokenizer.latent_mean, card.tokenizer.latent_std))
        ours = wan_vae_from_diffusers(state, mean=mean, std=std)
        return build(lambda: WanVAE(card.tokenizer), ours, folder, device=device, dtype=dtype)
    mean, std = _wavelet_statistics(card.tokenizer, read_json(folder / "config.json", "the tokenizer's configuration"))
    ours = wavelet_vae_from_diffusers(state, mean=mean, std=std)
    return build(lambda: WaveletVAE(card.tokenizer), ours, folder, device=device, dtype=dtype)


def _wavelet_statistics(tokenizer: WaveletVAEConfig, config: Mapping[str, object]) -> tuple[Tensor, Tensor]:
    length, channels = tokenizer.num_statistics, tokenizer.latent_channels
    if not config.get("latents_mean"):
        return torch.zeros(channels, length), torch.ones(channels, length)
    mean, std = (torch.tensor(config[name]) for name in ("latents_mean", "latents_std"))
    return statistics_from_mean_std(mean, std, num_latent_frames=length, num_channels=channels)


def _legal_sizes(sizes: Sizes, dit: DiTConfig, spatial_factor: int) -> Sizes:
    """The card's sizes that the network has positions for; the largest square where it has too few for any."""
    (unit_h, unit_w), (most_h, most_w) = (patch * spatial_factor for patch in dit.patch[1:]), dit.max_grid[1:]
    legal = {
        label: {name: (w, h) for name, (w, h) in ratios.items() if h <= most_h * unit_h and w <= most_w * unit_w}
        for label, ratios in sizes.items()
    }
    legal = {label: ratios for label, ratios in legal.items() if ratios}
    side = min(most_h * unit_h, most_w * unit_w)
    return legal or {str(side): {"1:1": (side // unit_w * unit_w, side // unit_h * unit_h)}}
