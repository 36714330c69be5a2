"""The tiny transformers of the golden files, and how their files are read."""

from dataclasses import replace

import torch
from golden_files import read_golden
from torch import Tensor

from cosmos_lab.nn.dit import DiT, DiTConfig
from cosmos_lab.runtime.key_maps import carries_weights, dit_key_from_predict1

PREDICT2_T2I = DiTConfig(width=128, num_blocks=2, num_heads=4, adaln_rank=32, text_width=64, rope_ratio=(1.0, 4.0, 4.0))
PREDICT2_V2W = replace(PREDICT2_T2I, condition_mask=True, rope_ratio=(20 / 24, 3.0, 3.0))
PREDICT2_5 = replace(
    PREDICT2_V2W,
    adaln_rank=16,
    rope_ratio=(1.0, 3.0, 3.0),
    max_grid=(16, 12, 12),
    text_projection=192,
    timestep_scale=0.001,
    timestep_dtype="float32",
)
PREDICT1_T2W = DiTConfig(
    width=64,
    num_blocks=2,
    num_heads=2,
    adaln_rank=16,
    text_width=32,
    max_grid=(16, 16, 24),
    rope_ratio=(2.0, 1.0, 1.0),
    fps_modulation=True,
    learned_positions=True,
)
PREDICT1_V2W = replace(PREDICT1_T2W, num_heads=4, condition_mask=True, rope_ratio=(2.0, 2.0, 2.0))

CONFIGS = {
    "predict2_dit_t2i_tiny": PREDICT2_T2I,
    "predict2_dit_v2w_tiny": PREDICT2_V2W,
    "predict2_5_dit_tiny": PREDICT2_5,
    "predict1_dit_t2w_tiny": PREDICT1_T2W,
    "predict1_dit_v2w_tiny": PREDICT1_V2W,
}

FIRST_CASE = {
    "predict2_dit_t2i_tiny": "in/image",
    "predict2_dit_v2w_tiny": "in/video",
    "predict2_5_dit_tiny": "A_per_frame",
    "predict1_dit_t2w_tiny": "in",
    "predict1_dit_v2w_tiny": "in",
}

INPUT_NAMES = {
    "x_B_C_T_H_W": "x",
    "timesteps_B_T": "timesteps",
    "crossattn_emb": "text",
    "condition_video_input_mask_B_C_T_H_W": "condition_mask",
    "condition_video_input_mask": "condition_mask",
    "padding_mask": "padding_mask",
    "fps": "fps",
    "x": "x",
    "timesteps": "timesteps",
}


def tiny_dit(name: str, **changes: object) -> DiT:
    """The network of a golden file, its weights loaded strictly; `changes` replace fields of the configuration."""
    weights = {key: value for key, value in read_golden(name).weights.items() if carries_weights(key)}
    if name.startswith("predict1"):
        weights = {dit_key_from_predict1(key): value for key, value in weights.items()}
    with torch.device("meta"):
        net = DiT(replace(CONFIGS[name], **changes))
    net.load_state_dict(weights, strict=True, assign=True)
    return net.requires_grad_(False).eval()


def tiny_inputs(name: str, case: str) -> dict[str, Tensor]:
    """Keyword arguments of `DiT.forward` of one case of a golden file."""
    if name == "predict2_5_dit_tiny":
        return predict2_5_inputs(case)
    inputs = read_golden(name).under(case)
    return {INPUT_NAMES[key]: value for key, value in inputs.items() if key in INPUT_NAMES}


def predict2_5_inputs(case: str) -> dict[str, Tensor]:
    golden = read_golden("predict2_5_dit_tiny").under("in")
    inputs = {
        "x": golden["x"],
        "timesteps": golden["timesteps_per_frame"],
        "text": golden["text"],
        "condition_mask": golden["cond_mask"],
        "padding_mask": golden["padding_mask"],
        "fps": golden["fps"],
    }
    batch_of_two = {"x": "x_b2", "timesteps": "timesteps_b2", "text": "text_b2", "condition_mask": "cond_mask_b2"}
    changed = {
        "B_int_timestep": {"timesteps": "timesteps_int"},
        "C_padding": {"padding_mask": "padding_mask_nonzero"},
        "E_fps10_modulated": {"fps": "fps10"},
        "F_batch2": batch_of_two,
    }
    inputs |= {name: golden[key] for name, key in changed.get(case, {}).items()}
    if case == "D_image_datatype_ignores_mask":
        inputs["condition_mask"] = None
    return inputs
