"""Names of the transformer's parameters in the files of each system, and in ours: those of Predict2 and Predict2.5.

Every function takes one key without the `net.` or `net_ema.` prefix. Names are mapped by whole dotted components, so
what hangs below a module (`.base_layer.weight`, `.lora_A.default.weight`) comes along.
"""

import re

# ours -> Predict1 (and Cosmos-1.0), within a block and outside
PREDICT1 = {
    "t_embedding_norm": "affline_norm",
    "final_layer.adaln_modulation": "final_layer.adaLN_modulation",
    "adaln_modulation_self_attn": "blocks.0.adaLN_modulation",
    "adaln_modulation_cross_attn": "blocks.1.adaLN_modulation",
    "adaln_modulation_mlp": "blocks.2.adaLN_modulation",
    "self_attn": "blocks.0.block.attn",
    "cross_attn": "blocks.1.block.attn",
    "mlp": "blocks.2.block",
    "q_proj": "to_q.0",
    "q_norm": "to_q.1",
    "k_proj": "to_k.0",
    "k_norm": "to_k.1",
    "v_proj": "to_v.0",
    "output_proj": "to_out.0",
}

# ours -> diffusers' CosmosTransformer3DModel, all generations
DIFFUSERS = {
    "x_embedder.proj.1": "patch_embed.proj",
    "t_embedder.1": "time_embed.t_embedder",
    "t_embedding_norm": "time_embed.norm",
    "extra_pos_embedder": "learnable_pos_embed",
    "blocks": "transformer_blocks",
    "adaln_modulation_self_attn.1": "norm1.linear_1",
    "adaln_modulation_self_attn.2": "norm1.linear_2",
    "adaln_modulation_cross_attn.1": "norm2.linear_1",
    "adaln_modulation_cross_attn.2": "norm2.linear_2",
    "adaln_modulation_mlp.1": "norm3.linear_1",
    "adaln_modulation_mlp.2": "norm3.linear_2",
    "self_attn": "attn1",
    "cross_attn": "attn2",
    "q_proj": "to_q",
    "k_proj": "to_k",
    "v_proj": "to_v",
    "output_proj": "to_out.0",
    "q_norm": "norm_q",
    "k_norm": "norm_k",
    "mlp.layer1": "ff.net.0.proj",
    "mlp.layer2": "ff.net.2",
    "final_layer.adaln_modulation.1": "norm_out.linear_1",
    "final_layer.adaln_modulation.2": "norm_out.linear_2",
    "final_layer.linear": "proj_out",
}

# Training counters, rotary constants (recomputed here), kernel state, the loss weighting of training.
WITHOUT_WEIGHTS = re.compile(r"(^|\.)accum_\w+$|(^|\.)pos_embedder\.|_extra_state|^logvar\.")


def carries_weights(official_key: str) -> bool:
    """False for entries of official files that the network does not read: counters, rotary constants, kernel state."""
    return WITHOUT_WEIGHTS.search(official_key) is None


def dit_key_from_predict1(key: str) -> str:
    """Predict1's (and Cosmos-1.0's) name of a parameter → ours."""
    return rename(re.sub(r"^blocks\.block(\d+)\.", r"blocks.\1.", key), inverse(PREDICT1))


def dit_key_to_predict1(key: str) -> str:
    """Our name of a parameter → Predict1's."""
    return re.sub(r"^blocks\.(\d+)\.", r"blocks.block\1.", rename(key, PREDICT1))


def dit_key_from_diffusers(key: str) -> str:
    """diffusers' name of a parameter → ours."""
    return rename(key, inverse(DIFFUSERS))


def dit_key_to_diffusers(key: str) -> str:
    """Our name of a parameter → diffusers'."""
    return rename(key, DIFFUSERS)


def inverse(names: dict[str, str]) -> dict[str, str]:
    return {theirs: ours for ours, theirs in names.items()}


def rename(key: str, names: dict[str, str]) -> str:
    """Replaces dotted fragments of the key, longest first, only where they are whole components."""
    fragments = "|".join(re.escape(name) for name in sorted(names, key=len, reverse=True))
    return re.sub(rf"(?<![^.])(?:{fragments})(?![^.])", lambda match: names[match.group()], key)
