"""The networks of nano as the stages find them: new, or with the weights that the folder already holds."""

import json
from pathlib import Path

import torch
from torch import nn

from cosmos_lab.catalog import nano_card
from cosmos_lab.files import sha256
from cosmos_lab.nn.dit import DiT
from cosmos_lab.nn.wavelet_vae import WaveletVAE
from cosmos_lab.runtime.checkpoints import CRITIC, load_weights
from cosmos_lab.runtime.ranks import Ranks
from cosmos_lab.selection.critic import Critic
from cosmos_lab.text.encoders import T5TextEncoder, nano_text_config
from cosmos_lab.train.meanings import MeaningHead

TEXT_ENCODER = "text_encoder.safetensors"


def build_vae(folder: Path, ranks: Ranks) -> WaveletVAE:
    vae = WaveletVAE(nano_card().tokenizer)
    _fill(vae, folder / "vae.safetensors")
    return vae.to(ranks.device)


def build_text(folder: Path, ranks: Ranks) -> T5TextEncoder:
    from tokenizers import Tokenizer

    words = Tokenizer.from_file(str(folder / "tokenizer.json"))
    card = nano_card()
    with torch.random.fork_rng():
        # transformers draws initial weights from the global generator; the fork gives it back untouched.
        torch.random.manual_seed(0)
        text = T5TextEncoder(nano_text_config(words.get_vocab_size()), words, num_tokens=card.text.num_tokens)
    _fill(text.model, folder / TEXT_ENCODER)
    return text.to(ranks.device)


def build_meanings(folder: Path, text: T5TextEncoder) -> MeaningHead:
    head = MeaningHead(text.width)
    _fill(head, folder / "meanings.safetensors")
    return head.to(text.model.device)


def build_dit(folder: Path, ranks: Ranks) -> DiT:
    dit = DiT(nano_card().dit)
    _fill(dit, folder / "dit.safetensors")
    return dit.to(ranks.device)


def build_critic(folder: Path, ranks: Ranks) -> Critic:
    with torch.random.fork_rng():
        torch.random.manual_seed(0)
        critic = Critic(nano_card().critic)
    _fill(critic, folder / CRITIC)
    return critic.to(ranks.device)


def trained_critic(folder: Path, ranks: Ranks) -> Critic | None:
    """The folder's critic, where one lies there that has learned from the folder's text encoder."""
    record = folder / "critic_training.json"
    if not (record.is_file() and (folder / CRITIC).is_file()):
        return None
    heard = json.loads(record.read_text()).get("recipe", {}).get("text_encoder")
    return build_critic(folder, ranks).eval() if heard == text_encoder_digest(folder) else None


def text_encoder_digest(folder: Path) -> str | None:
    """The SHA-256 of the folder's text encoder; None where there is none yet."""
    file = folder / TEXT_ENCODER
    return sha256(file) if file.is_file() else None


def _fill(module: nn.Module, file: Path) -> None:
    if file.is_file():
        load_weights(module, file)
