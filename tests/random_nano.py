"""A model folder like nano's, small and with random weights: everything but beauty can be tested with it."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from cosmos_lab.catalog import nano_card
from cosmos_lab.nn.dit import DiT
from cosmos_lab.nn.wavelet_vae import WaveletVAE
from cosmos_lab.pipelines.generate import Pipeline, load
from cosmos_lab.runtime.checkpoints import save_model
from cosmos_lab.selection.critic import Critic, CriticConfig
from cosmos_lab.text.encoders import T5TextEncoder, nano_text_config, train_tokenizer

WORDS = [f"a {color} {shape} rolls to the {side}." for color in ("red", "blue", "green") for shape in ("ball", "box")
         for side in ("left", "right")]  # fmt: skip


# A critic that fits it.
CRITIC = CriticConfig(width=24, num_layers=1, num_heads=2, mlp_width=24, text_width=32)


def random_critic(seed: int = 0, bias: float = 0.0) -> Critic:
    """Its odds differ from clip to clip around those of the bias."""
    with torch.random.fork_rng():
        torch.random.manual_seed(seed)
        critic = Critic(CRITIC).eval().requires_grad_(False)
    critic.say.weight *= 4
    critic.say.bias += bias
    return critic


def write_random_nano(
    folder: Path, *, seed: int = 0, dtype: torch.dtype = torch.float16, critic: Critic | None = None
) -> str:
    """Two narrow blocks, a narrow tokenizer, a T5 of one layer. Returns the digest of the weights."""
    card = nano_card()
    card = replace(card, critic=critic and critic.config)
    card = replace(
        card, dit=replace(card.dit, width=64, num_blocks=2, num_heads=2, adaln_rank=8, text_width=32),
        tokenizer=replace(card.tokenizer, channels=16), text=replace(card.text, num_tokens=32),
    )  # fmt: skip
    words = train_tokenizer(WORDS, vocab_size=400)
    config = nano_text_config(words.get_vocab_size())
    config.d_model, config.d_kv, config.num_heads, config.num_layers, config.d_ff = 32, 16, 2, 1, 32
    torch_generator = torch.Generator().manual_seed(seed)
    dit, vae = DiT(card.dit), WaveletVAE(card.tokenizer)
    for parameter in [*dit.parameters(), *vae.parameters()]:
        # New networks output zero; these must not.
        if parameter.ndim == 1:
            parameter.data.fill_(1.0 if parameter.data.min() == 1 else 0.0)
        else:
            std = parameter[0].numel() ** -0.5
            parameter.data = torch.randn(parameter.shape, generator=torch_generator) * std
    text = T5TextEncoder(config, words, num_tokens=32, seed=seed)
    return save_model(folder, card=card, dit=dit, vae=vae, text=text, critic=critic, dtype=dtype,
                      notes={"weights": "random"})


@pytest.fixture(scope="session")
def random_nano(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder."""
    folder = tmp_path_factory.mktemp("models") / "random-nano"
    write_random_nano(folder)
    return folder


@pytest.fixture(scope="session")
def pipe(random_nano: Path) -> Pipeline:
    """The loaded pipeline; it keeps nothing between calls, so all tests share it."""
    return load(random_nano)
