"""Predict2.5's text embedding: all hidden states of Cosmos-Reason1 (Qwen2.5-VL, 7B), standardized and concatenated.

The prompt is put into a chat, padded or cut to 512 tokens and read without a mask: the language model is causal, so
padding at the end does not reach the words, and the transformer attends to all 512 positions.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import torch
from einops import rearrange
from torch import Tensor, nn

from cosmos_lab.text.encoders import Tokens

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase
    from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import Qwen2_5_VLTextModel

SYSTEM = "You are a helpful assistant who will provide prompts to an image generator."
PAD_ID = 151643
Combination = Literal["full_concat", "mean_pooling", "pool_every_n_layers_and_concat"]


def standardize(states: Tensor) -> Tensor:
    """(h - mean) / (std + 1e-8) over the last axis, std unbiased, in the dtype of the states."""
    return (states - states.mean(dim=-1, keepdim=True)) / (states.std(dim=-1, keepdim=True) + 1e-8)


def combine(
    hidden_states: Sequence[Tensor], combination: Combination = "full_concat", *, num_layers_per_group: int = 5
) -> Tensor:
    """One embedding from the hidden states (B, N, D) of a language model, of which the first, its input, is left out.

    "full_concat" is what the released models read: (B, N, layers · D). "mean_pooling" averages the layers, (B, N, D);
    "pool_every_n_layers_and_concat" averages groups of layers, the last may be shorter, and concatenates the averages.
    """
    states = [standardize(state) for state in hidden_states[1:]]
    if combination == "full_concat":
        return torch.cat(states, dim=-1)
    if combination == "mean_pooling":
        return torch.stack(states).mean(dim=0)
    if combination != "pool_every_n_layers_and_concat":
        known = "full_concat, mean_pooling or pool_every_n_layers_and_concat"
        raise ValueError(f"a combination is {known}, not {combination!r}")
    groups = [states[i : i + num_layers_per_group] for i in range(0, len(states), num_layers_per_group)]
    return torch.cat([torch.stack(group).mean(dim=0) for group in groups], dim=-1)


def fixed_length(ids: Sequence[int], num_tokens: int = 512, pad: int = PAD_ID) -> Tensor:
    """Token ids (num_tokens,): the first ones of a longer text, a shorter one padded on the right."""
    kept = list(ids)[:num_tokens]
    return torch.tensor(kept + [pad] * (num_tokens - len(kept)))


class Reason1Encoder(nn.Module):
    """A Qwen2.5-VL language model as text encoder; `tokenizer` is transformers', with its chat template."""

    def __init__(self, model: "Qwen2_5_VLTextModel", tokenizer: "PreTrainedTokenizerBase", *, num_tokens: int = 512):
        super().__init__()
        self.model, self.tokenizer, self.num_tokens = model.eval(), tokenizer, num_tokens
        known = tokenizer.pad_token_id
        self.pad = PAD_ID if known is None else known

    @property
    def width(self) -> int:
        """Layers · hidden size: 28 · 3584 for Reason1."""
        return self.model.config.num_hidden_layers * self.model.config.hidden_size

    def tokenize(self, prompts: list[str]) -> Tokens:
        """Each prompt as the user's turn of a chat, (B, N) ids; the system's turn counts as kept tokens too."""
        every = [self._chat(prompt) for prompt in prompts]
        lengths = torch.tensor([[min(len(ids), self.num_tokens)] for ids in every])
        return Tokens(
            ids=torch.stack([fixed_length(ids, self.num_tokens, self.pad) for ids in every]),
            mask=torch.arange(self.num_tokens) < lengths,
            dropped=tuple(max(0, len(ids) - self.num_tokens) for ids in every),
        )

    def forward(self, ids: Tensor) -> Tensor:
        """(B, N) ids to (B, N, layers · D); one prompt at a time, as officially, so a batch changes nothing."""
        return torch.cat([self._embed(row) for row in rearrange(ids, "b n -> b 1 n")])

    @torch.no_grad()
    def encode(self, prompts: list[str]) -> Tensor:
        """(B, N, layers · D) in the dtype and on the device of the weights."""
        return self(self.tokenize(prompts).ids.to(self.model.device))

    def _embed(self, ids: Tensor) -> Tensor:
        states = self.model(input_ids=ids, use_cache=False, output_hidden_states=True).hidden_states
        return combine(states)

    def _chat(self, prompt: str) -> list[int]:
        said = (("system", SYSTEM), ("user", prompt))
        turns = [{"role": role, "content": [{"type": "text", "text": text}]} for role, text in said]
        ids = self.tokenizer.apply_chat_template(
            turns, tokenize=True, add_generation_prompt=False, add_vision_id=False, return_dict=False
        )
        return list(ids)
