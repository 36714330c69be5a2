import pytest
from golden_files import read_manifest

from cosmos_lab.runtime.key_maps import (
    carries_weights,
    dit_key_from_diffusers,
    dit_key_from_predict1,
    dit_key_to_diffusers,
    dit_key_to_predict1,
)

# diffusers' manifest of a network and the official one of the same network
SAME_NETWORK = [
    ("predict1_diffusers_7b_text2world", "predict1_7b_text2world"),
    ("predict1_diffusers_7b_video2world", "predict1_7b_video2world"),
    ("predict1_diffusers_14b_text2world", "predict1_14b_text2world"),
    ("predict1_diffusers_14b_video2world", "predict1_14b_video2world"),
    ("predict2_2b_text2image.diffusers", "predict2_2b_text2image"),
    ("predict2_14b_text2image.diffusers", "predict2_14b_text2image"),
    ("predict2_2b_video2world.diffusers", "predict2_2b_video2world"),
    ("predict2_14b_video2world.diffusers", "predict2_14b_video2world"),
    ("predict2_5_2b.diffusers", "predict2_5_2b"),
    ("predict2_5_14b.diffusers", "predict2_5_14b"),
]
PREDICT1 = [official for _, official in SAME_NETWORK if official.startswith("predict1")]


def official_weights(name: str) -> dict[str, tuple[int, ...]]:
    """Shapes by our key of an official manifest."""
    stripped = {key.removeprefix("net."): shape for key, shape in read_manifest(name).items() if carries_weights(key)}
    if not name.startswith("predict1"):
        return stripped
    return {dit_key_from_predict1(key): shape for key, shape in stripped.items()}


@pytest.mark.parametrize(("diffusers", "official"), SAME_NETWORK)
def test_diffusers_keys_name_the_same_tensors(diffusers, official):
    manifest = read_manifest(diffusers)
    ours = {dit_key_from_diffusers(key): shape for key, shape in manifest.items()}
    assert ours == official_weights(official)
    assert {dit_key_to_diffusers(key): shape for key, shape in ours.items()} == manifest


@pytest.mark.parametrize("name", PREDICT1)
def test_predict1_keys_return(name):
    keys = [key.removeprefix("net.") for key in read_manifest(name) if carries_weights(key)]
    ours = [dit_key_from_predict1(key) for key in keys]
    assert len(set(ours)) == len(keys)
    assert [dit_key_to_predict1(key) for key in ours] == keys


def test_block_numbers_are_not_taken_for_sub_layers():
    assert (
        dit_key_from_predict1("blocks.block2.blocks.0.block.attn.to_q.1.weight") == "blocks.2.self_attn.q_norm.weight"
    )
    assert dit_key_from_predict1("blocks.block0.blocks.2.block.layer1.weight") == "blocks.0.mlp.layer1.weight"


def test_lora_suffixes_come_along():
    assert dit_key_to_diffusers("blocks.3.cross_attn.q_proj.lora_A.default.weight") == (
        "transformer_blocks.3.attn2.to_q.lora_A.default.weight"
    )


@pytest.mark.parametrize(
    "key",
    ["accum_iteration", "net.accum_train_in_hours", "pos_embedder.seq", "blocks.0.self_attn.q_norm._extra_state",
     "net.pos_embedder.dim_spatial_range", "logvar.1.weight"],
)  # fmt: skip
def test_entries_without_weights(key):
    assert not carries_weights(key)


@pytest.mark.parametrize(
    "key", ["extra_pos_embedder.pos_emb_t", "net.t_embedding_norm.weight", "crossattn_proj.0.bias"]
)
def test_entries_with_weights(key):
    assert carries_weights(key)
