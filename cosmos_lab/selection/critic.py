"""Does a clip show what its prompt says? A small network that reads both and gives the odds.

Tokens of the prompt (the text encoder's vectors) and of the clip (its latents, before they are decoded) attend to each
other in one transformer, and one more token says the verdict. Cosmos-Predict2 asks a vision-language model of 7 billion
parameters for it (its best-of-N script, with Cosmos-Reason1).
"""

from dataclasses import dataclass

import torch
from einops import rearrange
from torch import Tensor, nn


@dataclass(frozen=True, kw_only=True)
class CriticConfig:
    """Shape of a critic.

    `patch` is how many latent rows and columns make a token; of a clip's latent frames it reads at most `looks`,
    evenly spaced, the first and the last among them.
    """

    width: int = 96
    num_layers: int = 5
    num_heads: int = 4
    mlp_width: int = 192
    latent_channels: int = 16
    text_width: int = 256
    patch: int = 2
    looks: int = 5

    def __post_init__(self) -> None:
        if self.width % self.num_heads or self.width % 6 or self.width < 12:
            known = f"a multiple of 6 and of num_heads {self.num_heads}, from 12 on"
            raise ValueError(f"width is {known}; not {self.width}")
        if self.looks < 2:
            raise ValueError(f"looks is 2 or more, for the first and the last latent frame; not {self.looks}")


class Critic(nn.Module):
    """Latents and text embeddings to the logit of "the clip shows what the prompt says"."""

    def __init__(self, config: CriticConfig):
        super().__init__()
        self.config, width = config, config.width
        self.see = nn.Linear(config.latent_channels * config.patch**2, width)
        self.hear = nn.Linear(config.text_width, width)
        self.verdict = nn.Parameter(torch.zeros(width))
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(
                width, config.num_heads, config.mlp_width, dropout=0.0, activation="gelu", batch_first=True,
                norm_first=True,
            )
            for _ in range(config.num_layers)
        )  # fmt: skip
        self.norm, self.say = nn.LayerNorm(width), nn.Linear(width, 1)

    def forward(self, latents: Tensor, text: Tensor) -> Tensor:
        """Logits (B,) of normalised latents (B, C, T, h, w), h and w multiples of the patch, and of text embeddings
        (B, N, D), which are zero past the text's end."""
        tokens, _ = self.tokens(latents, text, len(self.layers))
        return self.verdict_of(tokens)

    def verdict_of(self, tokens: Tensor) -> Tensor:
        """The logits of tokens after all layers, whose first is the verdict's."""
        return self.say(self.norm(tokens[:, 0]))[:, 0]

    def tokens(self, latents: Tensor, text: Tensor, depth: int) -> tuple[Tensor, Tensor]:
        """All tokens after `depth` layers, (B, 1 + N + L, D), and those of the clip among them as (B, T', h', w', D),
        where T' are the latent frames that it looks at."""
        seen = self._seen(latents)
        grid = seen.shape[1:4]
        heard = self.hear(text.to(self.hear.weight.dtype))
        tokens = torch.cat([self.verdict.expand(len(seen), 1, -1), heard, seen.flatten(1, 3)], dim=1)
        tokens = self.further(tokens, 0, depth)
        return tokens, tokens[:, 1 + heard.shape[1] :].unflatten(1, grid)

    def further(self, tokens: Tensor, first: int, last: int | None = None) -> Tensor:
        """Tokens after the layers from `first` to `last`."""
        for layer in self.layers[first:last]:
            tokens = layer(tokens)
        return tokens

    def looked_at(self, length: int, device: torch.device | None = None) -> Tensor:
        """Which of `length` latent frames it reads."""
        return torch.linspace(0, length - 1, min(length, self.config.looks), device=device).round().long()

    def _seen(self, latents: Tensor) -> Tensor:
        """Tokens (B, T', h', w', D) of the latent frames that it looks at, with their positions."""
        # Made where the latents lie: a copy from the CPU could not be recorded in a CUDA graph.
        at = self.looked_at(latents.shape[2], latents.device)
        patches = rearrange(
            latents.index_select(2, at), "b c t (h i) (w j) -> b t h w (c i j)",
            i=self.config.patch, j=self.config.patch,
        )  # fmt: skip
        tokens = self.see(patches.to(self.see.weight.dtype))
        return tokens + positions(at, *tokens.shape[2:4], self.config.width).to(tokens)


def positions(frames: Tensor, height: int, width: int, channels: int) -> Tensor:
    """Sines and cosines of latent frame, row and column, (T, height, width, channels): a third of the channels each."""
    count, device = channels // 6, frames.device
    rates = 10.0 ** (-1.5 * torch.arange(count, device=device) / max(1, count - 1))
    parts = []
    for axis, places in enumerate((frames, torch.arange(height, device=device), torch.arange(width, device=device))):
        angles = 2 * places[:, None].float() * rates
        waves = torch.cat([angles.sin(), angles.cos()], dim=1)
        shape = [1, 1, 1, waves.shape[1]]
        shape[axis] = len(places)
        parts.append(waves.view(shape).expand(len(frames), height, width, -1))
    return torch.cat(parts, dim=-1)
