"""Model folders: weights as safetensors, the card as JSON, and a manifest with the SHA-256 of every file.

    config.json                 the card: networks, sampling, sizes
    dit.safetensors             the transformer
    vae.safetensors             the tokenizer of clips
    text_encoder.safetensors    the T5 encoder
    tokenizer.json              the tokenizer of texts
    critic.safetensors          the critic of clips, where the card has one
    weights.json                {"files": {name: {"sha256", "bytes"}}, "notes": how the weights were made}
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from cosmos_lab.config import Card, Pictures, Sampling, Text
from cosmos_lab.files import sha256, whole, write_json
from cosmos_lab.nn.dit import DiT, DiTConfig
from cosmos_lab.nn.wan_vae import WanVAE, WanVAEConfig
from cosmos_lab.nn.wavelet_vae import WaveletVAE, WaveletVAEConfig
from cosmos_lab.selection.critic import Critic, CriticConfig
from cosmos_lab.text.encoders import T5TextEncoder

MANIFEST = "weights.json"
WEIGHTS = ("dit.safetensors", "vae.safetensors", "text_encoder.safetensors", "tokenizer.json", "config.json")
CRITIC = "critic.safetensors"
T5_FIELDS = (
    "vocab_size", "d_model", "d_kv", "num_heads", "num_layers", "d_ff", "feed_forward_proj", "layer_norm_epsilon",
    "relative_attention_num_buckets", "relative_attention_max_distance", "pad_token_id", "eos_token_id",
)  # fmt: skip
TOKENIZERS = {"wavelet": (WaveletVAEConfig, WaveletVAE), "wan": (WanVAEConfig, WanVAE)}


class WeightsError(OSError):
    """A weight file is missing or damaged; the message names it and the hash that it should have."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Model:
    """The networks of one world model with its card; `digest` stands for all weights together."""

    card: Card
    dit: DiT
    vae: WaveletVAE | WanVAE
    text: T5TextEncoder
    digest: str
    critic: Critic | None = None


def find_folder(name: str) -> Path:
    """The folder of an embedded model: beside the package in a checkout, inside it in an installed wheel."""
    package = Path(__file__).resolve().parents[1]
    places = (package.parent / "assets" / name, package / "assets" / name)
    return next((place for place in places if (place / MANIFEST).is_file()), places[0])


def save_model(
    folder: str | Path,
    *,
    card: Card,
    dit: DiT,
    vae: WaveletVAE,
    text: T5TextEncoder,
    critic: Critic | None = None,
    dtype: torch.dtype = torch.float16,
    notes: Mapping[str, object] | None = None,
) -> str:
    """Write a model folder and return its digest; the manifest comes last, so half a folder is never taken for one.

    Matrices are stored in `dtype`, vectors (norms, biases, latent statistics) in float32. `notes` is for what made
    the weights: commands, seeds, hardware, wall-clock, metrics. Raises ValueError where `dtype` cannot hold a value,
    and for another critic than the card's.
    """
    if card.critic != (critic and critic.config):
        raise ValueError(f"the card's critic is {card.critic}, not {critic and critic.config}; change one of them")
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "config.json", card_to_json(card, text))
    save_weights(folder / "dit.safetensors", dit, dtype=dtype)
    save_weights(folder / "vae.safetensors", vae, dtype=dtype)
    save_weights(folder / "text_encoder.safetensors", text.model, dtype=dtype)
    with whole(folder / "tokenizer.json") as beside:
        text.tokenizer.save(str(beside))
    names = WEIGHTS
    if critic is not None:
        save_weights(folder / CRITIC, critic, dtype=dtype)
        names += (CRITIC,)
    described = {name: {"sha256": sha256(folder / name), "bytes": (folder / name).stat().st_size} for name in names}
    write_json(folder / MANIFEST, {"files": described, "notes": dict(notes or {})})
    return _digest(described)


def load_model(
    folder: str | Path, *, device: str | torch.device = "cpu", dtype: torch.dtype = torch.float32
) -> Model:
    """Read a model folder, the transformer in `dtype`, its small tokenizer, text encoder and critic always in float32.

    Every file is compared with the manifest first; raises WeightsError naming what is wrong.
    """
    folder = Path(folder)
    digest = verify(folder)
    described = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    card = card_from_json(described)
    dit = _filled(lambda: DiT(card.dit), folder / "dit.safetensors")
    _, network = TOKENIZERS[described["tokenizer"]["kind"]]
    vae = _filled(lambda: network(card.tokenizer), folder / "vae.safetensors")
    text = _load_text(folder, card.text)
    critic = None
    if card.critic is not None:
        critic = _filled(lambda: Critic(card.critic), folder / CRITIC).to(device, torch.float32)
    return Model(
        card=card, dit=dit.to(device=device, dtype=dtype), vae=vae.to(device, torch.float32), text=text.to(device),
        digest=digest, critic=critic,
    )  # fmt: skip


def verify(folder: Path) -> str:
    """Compare every file with the manifest and return the digest of all."""
    if not (folder / MANIFEST).is_file():
        raise WeightsError(f"{folder} holds no model: {MANIFEST} is missing. Restore the folder from the repository")
    try:
        described = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["files"]
        expected = {name: described[name]["sha256"] for name in _names(described)}
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise WeightsError(f"{folder / MANIFEST} is damaged ({error}). Restore it from the repository") from error
    for name, wanted in expected.items():
        path = folder / name
        if not path.is_file():
            raise WeightsError(f"the weight file {path} is missing; its SHA-256 is {wanted}")
        found = sha256(path)
        if found != wanted:
            raise WeightsError(f"the weight file {path} is damaged: its SHA-256 is {found}, expected {wanted}")
    if CRITIC not in expected and json.loads((folder / "config.json").read_text(encoding="utf-8")).get("critic"):
        raise WeightsError(f"{folder / MANIFEST} names no {CRITIC}, which config.json asks for. Save the model again")
    return _digest(described)


def save_weights(path: Path, module: nn.Module, *, dtype: torch.dtype) -> None:
    """One safetensors file of a module's state; tensors that share memory are written once, under the first name."""
    from safetensors.torch import save_file

    stored, seen = {}, set()
    for name, tensor in module.state_dict().items():
        if tensor.data_ptr() in seen and tensor.numel():
            continue
        seen.add(tensor.data_ptr())
        stored[name] = _stored(name, tensor, dtype)
    with whole(path) as beside:
        save_file(stored, beside, metadata={"format": "pt"})
        beside.chmod(0o644)


def load_weights(module: nn.Module, path: Path, *, assign: bool = False) -> None:
    """Fill a module from a file of `save_weights`; raises WeightsError where names or shapes differ.

    `assign` puts the file's tensors, in the file's dtype, in the place of the module's: for modules built on the meta
    device, which have no memory yet.
    """
    from safetensors.torch import load_file

    state, own = load_file(path), module.state_dict(keep_vars=True)
    # A tensor with two names was stored under one of them.
    stored = {id(own[name]) for name in state if name in own}
    missing = [name for name, tensor in own.items() if name not in state and id(tensor) not in stored]
    wrong = [name for name, tensor in state.items() if name not in own or own[name].shape != tensor.shape]
    if missing or wrong:
        found = f"missing {missing[:3]}, unknown or of another shape {wrong[:3]}"
        raise WeightsError(f"{path} does not fit its card: {found}")
    module.load_state_dict(state, strict=False, assign=assign)


def card_to_json(card: Card, text: T5TextEncoder) -> dict:
    """A card as JSON values, with the text encoder's configuration."""
    kind = next(kind for kind, (config, _) in TOKENIZERS.items() if isinstance(card.tokenizer, config))
    values = asdict(card)
    values["tokenizer"]["kind"] = kind
    t5 = {name: getattr(text.model.config, name) for name in T5_FIELDS}
    values["text"] = {"kind": "t5", "num_tokens": text.num_tokens, "t5": t5}
    return json.loads(json.dumps(values, default=str))


def card_from_json(values: Mapping[str, object]) -> Card:
    """The card that `card_to_json` described."""
    values = {name: _tuples(value) for name, value in values.items()}
    tokenizer = dict(values["tokenizer"])
    config, _ = TOKENIZERS[tokenizer.pop("kind")]
    parts = {
        "dit": DiTConfig(**values["dit"]), "tokenizer": config(**tokenizer), "text": Text(**values["text"]),
        "sampling": Sampling(**values["sampling"]), "pictures": Pictures(**values["pictures"]),
    }  # fmt: skip
    # A folder that was written before there were critics does not know the word.
    critic = values.get("critic")
    return Card(**{**values, **parts, "critic": critic and CriticConfig(**critic)})


def _load_text(folder: Path, text: Text) -> T5TextEncoder:
    from tokenizers import Tokenizer
    from transformers import T5Config

    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    config = T5Config(**text.t5, dropout_rate=0.0, is_encoder_decoder=False, use_cache=False)
    encoder = T5TextEncoder(config, tokenizer, num_tokens=text.num_tokens)
    load_weights(encoder.model, folder / "text_encoder.safetensors")
    return encoder.eval().requires_grad_(False)


def _filled(build: Callable[[], nn.Module], path: Path) -> nn.Module:
    with torch.device("meta"):
        module = build()
    load_weights(module, path, assign=True)
    return module.eval().requires_grad_(False)


def _stored(name: str, tensor: Tensor, dtype: torch.dtype) -> Tensor:
    tensor = tensor.detach().cpu()
    squeezed = sum(size > 1 for size in tensor.shape)
    if not tensor.is_floating_point():
        return tensor.contiguous()
    kept = tensor.float() if squeezed < 2 else tensor.to(dtype)
    if not torch.isfinite(kept).all():
        raise ValueError(f"{name} has values that are not finite, or that {dtype} cannot hold")
    return kept.contiguous()


def _names(described: Mapping[str, object]) -> tuple[str, ...]:
    """The files that the digest stands for; a manifest that names a critic stands for that one too."""
    return (*WEIGHTS, CRITIC) if CRITIC in described else WEIGHTS


def _digest(described: Mapping[str, Mapping[str, object]]) -> str:
    lines = "\n".join(f"{described[name]['sha256']}  {name}" for name in sorted(_names(described)))
    return hashlib.sha256(lines.encode()).hexdigest()


def _tuples(value: object) -> object:
    if isinstance(value, list):
        return tuple(_tuples(item) for item in value)
    return {key: _tuples(item) for key, item in value.items()} if isinstance(value, dict) else value
