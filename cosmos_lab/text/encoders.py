"""Text encoders: a prompt becomes N vectors that the transformer attends to.

Every Cosmos model up to Predict2, and nano, reads text through a T5 encoder. The transformer attends to all N
positions, also the padded ones, whose vectors are zero: dropping them would change its softmax.
"""

import json
import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import T5Config

PAD, END, UNKNOWN = "<pad>", "</s>", "<unk>"


@dataclass(frozen=True, kw_only=True)
class Tokens:
    """`ids` `(B, N)` int64, `mask` `(B, N)` bool (False on padding), and how many tokens each text lost."""

    ids: Tensor
    mask: Tensor
    dropped: tuple[int, ...]


class T5TextEncoder(nn.Module):
    """A T5 encoder with its tokenizer and its fixed number of positions N (512 in Cosmos, 128 in nano).

    Texts longer than N tokens are cut, keeping the end mark; `tokenize` says by how much.
    """

    def __init__(self, config: "T5Config", tokenizer: "Tokenizer", *, num_tokens: int = 512, seed: int = 0):
        """New weights are drawn with `seed`; the global generator is left as it was."""
        from transformers import T5EncoderModel

        super().__init__()
        if num_tokens < 2:
            raise ValueError(f"a text needs at least 2 tokens, one and the end mark, not {num_tokens}")
        if tokenizer.get_vocab_size() > config.vocab_size:
            raise ValueError(f"{tokenizer.get_vocab_size()} tokens do not fit into a table of {config.vocab_size}")
        with torch.random.fork_rng(devices=[]):
            torch.random.manual_seed(seed)
            self.model = T5EncoderModel(config).eval()
        self.tokenizer, self.num_tokens = tokenizer, num_tokens
        self.pad, self.end = tokenizer.token_to_id(PAD), tokenizer.token_to_id(END)
        if self.pad is None or self.end is None:
            raise ValueError(f"the tokenizer has no {PAD} or no {END}; it is not a T5 tokenizer")

    @property
    def width(self) -> int:
        """D, the size of each vector."""
        return self.model.config.d_model

    def tokenize(self, prompts: list[str]) -> Tokens:
        """Cut or pad each text to N tokens."""
        every = [encoding.ids for encoding in self.tokenizer.encode_batch(list(prompts))]
        every = [ids if ids[-1:] == [self.end] else [*ids, self.end] for ids in every]
        kept = [ids if len(ids) <= self.num_tokens else [*ids[: self.num_tokens - 1], self.end] for ids in every]
        padded = torch.tensor([ids + [self.pad] * (self.num_tokens - len(ids)) for ids in kept])
        lengths = torch.tensor([[len(ids)] for ids in kept])
        return Tokens(
            ids=padded,
            mask=torch.arange(self.num_tokens) < lengths,
            dropped=tuple(len(ids) - len(cut) for ids, cut in zip(every, kept, strict=True)),
        )

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Last hidden states `(B, N, D)`, zero where the mask is False."""
        # What to add to the attention's logits, ready made: from a mask of ones and zeros the model would first ask
        # the GPU whether there are zeros at all, and the CPU would wait for every step that is under way.
        lowest = torch.finfo(self.model.dtype).min
        added = torch.zeros(mask.shape, dtype=self.model.dtype, device=mask.device).masked_fill(~mask, lowest)
        states = self.model(input_ids=ids, attention_mask=added[:, None, None]).last_hidden_state
        return states * mask[..., None]

    @torch.no_grad()
    def encode(self, prompts: list[str]) -> Tensor:
        """`(B, N, D)` in the dtype and on the device of the weights."""
        tokens = self.tokenize(prompts)
        device = self.model.device
        return self(tokens.ids.to(device), tokens.mask.to(device))


def nano_text_config(vocab_size: int = 2048) -> "T5Config":
    """The small T5 that nano trains along with its transformer: 2.6 million parameters."""
    from transformers import T5Config

    return T5Config(
        vocab_size=vocab_size, d_model=256, d_kv=64, num_heads=4, num_layers=3, d_ff=576, dropout_rate=0.0,
        feed_forward_proj="gated-gelu", relative_attention_num_buckets=32, is_encoder_decoder=False, use_cache=False,
        pad_token_id=0, eos_token_id=1, decoder_start_token_id=0, tie_word_embeddings=True,
    )


def train_tokenizer(captions: Iterable[str], vocab_size: int = 2048) -> "Tokenizer":
    """A Unigram tokenizer in T5's form, learned from captions.

    Frequent words are one token each, rarer ones fall into learned pieces, and what was never seen is spelled in
    bytes. Case and Unicode variants are folded. `vocab_size` counts the 3 marks and the 256 bytes too.
    Raises ValueError below 400 tokens.
    """
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

    if vocab_size < 400:
        raise ValueError(f"a vocabulary of {vocab_size} has no room beside 256 bytes and 3 marks; use 400 or more")
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFKC(), normalizers.Lowercase(), normalizers.Replace("\n", " "), normalizers.Strip()]
    )
    cuts = [pre_tokenizers.Metaspace(), pre_tokenizers.Punctuation(), pre_tokenizers.Digits(individual_digits=True)]
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(cuts)
    tokenizer.model = models.Unigram(_vocabulary(tokenizer, list(captions), vocab_size), unk_id=2, byte_fallback=True)
    tokenizer.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Metaspace()])
    tokenizer.post_processor = processors.TemplateProcessing(single=f"$A {END}", special_tokens=[(END, 1)])
    return tokenizer


def _vocabulary(tokenizer: "Tokenizer", captions: list[str], size: int) -> list[tuple[str, float]]:
    """Marks, words, pieces, bytes with their scores, in this order of preference.

    The trainer looks for pieces that several words share, so a frequent word of its own kind would stay in letters;
    words are therefore counted here. A gap in the scores keeps one whole word ahead of any two pieces.
    """
    from tokenizers import trainers

    in_bytes = [f"<0x{value:02X}>" for value in range(256)]
    trainer = trainers.UnigramTrainer(
        vocab_size=(size - 256) // 4, special_tokens=[PAD, END, UNKNOWN], unk_token=UNKNOWN, show_progress=False
    )
    tokenizer.train_from_iterator(captions, trainer=trainer)
    learned = json.loads(tokenizer.to_str())["model"]["vocab"][3:]
    # The trainer orders equal scores by chance: sorted, the same captions give the same tokenizer.
    pieces = sorted(((piece, round(score, 6) - 20) for piece, score in learned), key=lambda row: (-row[1], row[0]))
    normalize, cut = tokenizer.normalizer.normalize_str, tokenizer.pre_tokenizer.pre_tokenize_str
    counts = Counter(word for text in captions for word, _ in cut(normalize(text)))
    known = {piece for piece, _ in pieces}
    frequent = [(word, count) for word, count in counts.most_common() if word not in known]
    total = counts.total()
    words = [(word, math.log(count / total)) for word, count in frequent[: size - 256 - 3 - len(pieces)]]
    lowest = min(score for _, score in pieces) - 20
    return [(mark, 0.0) for mark in (PAD, END, UNKNOWN)] + words + pieces + [(byte, lowest) for byte in in_bytes]
