import pytest
import torch
from golden_files import read_golden, relative_error
from tiny_diffusers import TEXTS

from cosmos_lab.config import Text
from cosmos_lab.runtime.checkpoints import WeightsError
from cosmos_lab.runtime.text_folders import load_text
from cosmos_lab.text.reason1 import Reason1Encoder, combine, fixed_length, standardize

COMBINATIONS = {
    "full_concat": "full_concat", "mean_pooling": "mean_pooling",
    "pool_every_n_layers_and_concat_n4": "pool_every_n_layers_and_concat",
}  # fmt: skip


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", COMBINATIONS)
def test_embedding_is_the_recorded_one(name, dtype):
    golden = read_golden("reason1_embedding_tiny")
    states = [golden[f"in/hidden_states_{i}"].to(getattr(torch, dtype)) for i in range(7)]
    embedded, expected = combine(states, COMBINATIONS[name], num_layers_per_group=4), golden[f"out/{dtype}/{name}"]
    assert embedded.dtype == expected.dtype
    # float32: the order of a sum. bfloat16: one unit in the last of 8 bits, where a mean is rounded the other way.
    assert relative_error(embedded, expected) < (1e-6 if dtype == "float32" else 2**-8)


def test_the_input_of_the_language_model_is_left_out():
    states = [torch.randn(1, 2, 8, generator=torch.Generator().manual_seed(seed)) for seed in range(3)]
    assert torch.equal(combine(states), combine([torch.zeros(1, 2, 8), *states[1:]]))


def test_the_deviation_is_unbiased():
    assert torch.allclose(standardize(torch.tensor([1.0, 2.0, 3.0])), torch.tensor([-1.0, 0.0, 1.0]))


def test_ids_are_padded_and_cut_as_recorded():
    golden = read_golden("reason1_embedding_tiny")
    ids = torch.stack([fixed_length(golden[f"in/{name}"].tolist()) for name in ("ids_short", "ids_long")])
    assert torch.equal(ids, golden["out/padded_ids"])


def test_an_unknown_combination_is_refused():
    with pytest.raises(ValueError, match="full_concat, mean_pooling"):
        combine([torch.zeros(1, 1, 2)] * 2, "sum")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("reason1")
    for part in TEXTS["reason1"]():
        part.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_language_model_is_the_one_that_transformers_loads(folder, dtype):
    """Read from the mapped file without the vision part, straight to its dtype; the rotary frequencies are float32."""
    from transformers import Qwen2_5_VLForConditionalGeneration

    ours = load_text(folder, Text(kind="reason1", num_tokens=160), dtype=dtype)
    whole = Qwen2_5_VLForConditionalGeneration.from_pretrained(folder, dtype=dtype)
    theirs = Reason1Encoder(whole.model.language_model, ours.tokenizer, num_tokens=160)
    embedded = ours.encode(["a red ball"])
    assert embedded.dtype == dtype and torch.equal(embedded, theirs.encode(["a red ball"]))
    assert ours.model.rotary_emb.inv_freq.dtype == torch.float32


def test_padding_does_not_reach_the_words_and_batches_change_nothing(folder):
    short, long = (load_text(folder, Text(kind="reason1", num_tokens=count)) for count in (160, 200))
    words = int(short.tokenize(["a red ball"]).mask.sum())
    assert 100 < words < 160
    one, padded = short.encode(["a red ball"]), long.encode(["a red ball"])
    assert relative_error(padded[:, :words], one[:, :words]) < 1e-5
    both = short.encode(["a blue box falls", "a red ball"])
    assert torch.equal(both[1:], one) and short.width == one.shape[-1] == 2 * 16


def test_a_long_prompt_is_cut_at_its_end(folder):
    encoder = load_text(folder, Text(kind="reason1", num_tokens=130))
    tokens = encoder.tokenize(["a red ball " * 20, "a"])
    assert tokens.ids.shape == (2, 130) and tokens.dropped[0] > 0 and tokens.dropped[1] == 0
    assert tokens.mask[0].all()
    assert torch.equal(tokens.ids[0], encoder.tokenize(["a red ball " * 30]).ids[0])


def test_folders_with_parts_missing_are_named(folder, tmp_path):
    from safetensors.torch import load_file, save_file

    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    state = load_file(tmp_path / "model.safetensors")
    removed = next(key for key in state if "layers.1.mlp" in key)
    save_file(
        {k: v for k, v in state.items() if k != removed}, tmp_path / "model.safetensors", metadata={"format": "pt"}
    )
    with pytest.raises(WeightsError, match=r"Keys 1 missing: layers\.1\.mlp"):
        load_text(tmp_path, Text(kind="reason1"))
    save_file(state | {"model.adapter.weight": torch.zeros(1)}, tmp_path / "model.safetensors")
    with pytest.raises(WeightsError, match=r"1 not known to this model: adapter\.weight"):
        load_text(tmp_path, Text(kind="reason1"))
    (tmp_path / "tokenizer.json").unlink()
    with pytest.raises(WeightsError, match="no tokenizer of texts"):
        load_text(tmp_path, Text(kind="reason1"))
    (tmp_path / "config.json").unlink()
    with pytest.raises(WeightsError, match="configuration is missing"):
        load_text(tmp_path, Text(kind="reason1"))
