"""Text encoders from folders of transformers: T5 (Cosmos-1.0, Predict1, Predict2) and Reason1 (Predict2.5)."""

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from cosmos_lab.config import Text
from cosmos_lab.runtime.checkpoints import WeightsError
from cosmos_lab.runtime.matching import build
from cosmos_lab.runtime.state_files import read_state
from cosmos_lab.text.encoders import T5TextEncoder, Tokens
from cosmos_lab.text.reason1 import Reason1Encoder

if TYPE_CHECKING:
    from tokenizers import Tokenizer

TextEncoder = T5TextEncoder | Reason1Encoder
DECODER = ("decoder.", "lm_head.")
LANGUAGE = re.compile(r"^(model\.language_model|language_model\.model|model)\.")
VISION = re.compile(r"^(model\.)?visual\.|^lm_head\.")
MODEL_TYPES = {"t5": ("t5",), "reason1": ("qwen2_5_vl", "qwen2_5_vl_text")}


class AbsentTextEncoder(nn.Module):
    """Stands where no text encoder was loaded: prompts are then given as embeddings."""

    def tokenize(self, prompts: list[str]) -> Tokens:
        """No tokens: nothing is known of the prompts."""
        none = torch.zeros(len(prompts), 0)
        return Tokens(ids=none.long(), mask=none.bool(), dropped=(0,) * len(prompts))

    def encode(self, prompts: list[str]) -> Tensor:
        raise ValueError("this model has no text encoder loaded: pass prompt_embeds and negative_prompt_embeds")


def load_text(
    folder: str | Path,
    text: Text,
    *,
    tokenizer_folder: str | Path | None = None,
    device: str | torch.device = "cpu",
    dtype: torch.dtype = torch.float32,
) -> TextEncoder:
    """The text encoder of a folder with `config.json`, weights and tokenizer files, which may have their own folder.

    Raises WeightsError naming what the folder lacks, or that it holds another model.
    """
    folder, tokens = Path(folder), Path(tokenizer_folder or folder)
    check_text(folder, text, tokenizer_folder=tokens)
    load = {"t5": _load_t5, "reason1": _load_reason1}[text.kind]
    return load(folder, tokens, text.num_tokens, device=device, dtype=dtype)


def check_text(folder: str | Path, text: Text, *, tokenizer_folder: str | Path | None = None) -> None:
    """Look at the folder without reading weights. Raises WeightsError naming what is missing or different."""
    folder, tokens = Path(folder), Path(tokenizer_folder or folder)
    config = read_json(folder / "config.json", "the text encoder's configuration")
    if config.get("model_type") not in MODEL_TYPES[text.kind]:
        found, wanted = config.get("model_type"), MODEL_TYPES[text.kind][0]
        raise WeightsError(f"{folder} holds a {found} model, but this card reads text with {wanted}")
    names = ("tokenizer.json", "spiece.model") if text.kind == "t5" else ("tokenizer.json", "vocab.json")
    if not any((tokens / name).is_file() for name in names):
        raise WeightsError(f"{tokens} holds no tokenizer of texts: neither {' nor '.join(names)}. Download it again")


def read_json(path: Path, what: str) -> dict:
    """A JSON file's object. Raises WeightsError where it is missing or damaged."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise WeightsError(f"{what} is missing: {path}. Download the folder again") from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise WeightsError(f"{path} is damaged ({error}). Download it again") from error


def _load_t5(
    folder: Path, tokens: Path, num_tokens: int, *, device: str | torch.device, dtype: torch.dtype
) -> T5TextEncoder:
    from transformers import T5Config

    config, tokenizer = T5Config.from_pretrained(folder, local_files_only=True), _t5_tokenizer(tokens)
    # The files of whole T5 models hold a decoder too, which text encoding does not need.
    weights = {f"model.{key}": value for key, value in read_state(folder).items() if not key.startswith(DECODER)}
    embeddings = ("model.shared.weight", "model.encoder.embed_tokens.weight")
    there = next((name for name in embeddings if name in weights), embeddings[0])
    return build(
        lambda: T5TextEncoder(config, tokenizer, num_tokens=num_tokens), weights, folder,
        device=device, dtype=dtype, tied=dict.fromkeys(embeddings, there),
    )  # fmt: skip


def _t5_tokenizer(folder: Path) -> "Tokenizer":
    from tokenizers import Tokenizer
    from transformers import AutoTokenizer

    if (folder / "tokenizer.json").is_file():
        tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    else:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True).backend_tokenizer
    # Lengths are the encoder's business; files may carry their own.
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer


def _load_reason1(
    folder: Path, tokens: Path, num_tokens: int, *, device: str | torch.device, dtype: torch.dtype
) -> Reason1Encoder:
    from transformers import AutoConfig, AutoTokenizer
    from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import Qwen2_5_VLTextModel

    config = AutoConfig.from_pretrained(folder, local_files_only=True).get_text_config()
    # Text alone is read: neither the vision part nor the output layer is kept.
    state = {LANGUAGE.sub("", key): value for key, value in read_state(folder).items() if not VISION.match(key)}
    language = build(lambda: Qwen2_5_VLTextModel(config), state, folder, device=device, dtype=dtype)
    # The rotary frequencies are in no file, and are float32 whatever the weights are.
    language.rotary_emb = type(language.rotary_emb)(config).to(device)
    tokenizer = AutoTokenizer.from_pretrained(tokens, local_files_only=True)
    return Reason1Encoder(language, tokenizer, num_tokens=num_tokens).requires_grad_(False)
