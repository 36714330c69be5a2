from dataclasses import replace

import pytest
import torch
from einops import rearrange, repeat
from golden_files import read_golden, relative_error
from tiny_dit import CONFIGS, tiny_dit, tiny_inputs

from cosmos_lab.nn.dit import DiT
from cosmos_lab.nn.rope import rope_angles

# (file, inputs, outputs, changes of the configuration)
CASES = [
    ("predict2_dit_t2i_tiny", "in/image", "out/image/net_output", {}),
    ("predict2_dit_t2i_tiny", "in/video", "out/video/net_output", {}),
    ("predict2_dit_v2w_tiny", "in/video", "out/video/net_output", {}),
    ("predict2_dit_v2w_tiny", "in/video", "out/video_fpsmod/net_output", {"fps_modulation": True}),
    ("predict2_dit_v2w_tiny", "in/image", "out/image/net_output", {}),
    ("predict2_5_dit_tiny", "A_per_frame", "out/A_per_frame", {}),
    ("predict2_5_dit_tiny", "B_int_timestep", "out/B_int_timestep", {}),
    ("predict2_5_dit_tiny", "C_padding", "out/C_padding", {}),
    ("predict2_5_dit_tiny", "D_image_datatype_ignores_mask", "out/D_image_datatype_ignores_mask", {}),
    ("predict2_5_dit_tiny", "E_fps10_modulated", "out/E_fps10_modulated", {"fps_modulation": True}),
    ("predict2_5_dit_tiny", "F_batch2", "out/F_batch2", {}),
    ("predict1_dit_t2w_tiny", "in", "out/output", {}),
    ("predict1_dit_t2w_tiny", "in2", "out2/output", {}),
    ("predict1_dit_v2w_tiny", "in", "out/output", {}),
    ("predict1_dit_v2w_tiny", "in2", "out2/output", {}),
]
# float32 rounding over two blocks; the official modules and an independent implementation differ by as much
TOLERANCE = 1e-5


def deviation(name, case, output, changes=None, **replaced_inputs):
    """Error of our network's output relative to the golden's scale."""
    net = tiny_dit(name, **(changes or {}))
    return relative_error(net(**(tiny_inputs(name, case) | replaced_inputs)), read_golden(name)[output])


@pytest.mark.parametrize(("name", "case", "output", "changes"), CASES, ids=[f"{c[0]}-{c[2]}" for c in CASES])
def test_output_equals_the_official_network(name, case, output, changes):
    assert deviation(name, case, output, changes) < TOLERANCE


# By key of a golden file: the module of our network that gives the same.
TOKENS = {"block0": "blocks.0", "block1": "blocks.1"}
LEVEL = {"t_sinusoid": "t_embedder.0", "adaln_lora": "t_embedder.1", "t_embedding_normed": "t_embedding_norm"}
PREDICT2 = {"x_embed": "x_embedder"} | LEVEL | TOKENS
PREDICT2_5 = {
    "A_x_embed": "x_embedder", "A_t_emb_prenorm": "t_embedder.0", "A_adaln_lora": "t_embedder.1",
    "A_t_emb": "t_embedding_norm", "A_crossattn_proj": "crossattn_proj", "A_final_layer": "final_layer",
    "A_block0": "blocks.0", "A_block1": "blocks.1",
}  # fmt: skip
PREDICT1 = {
    "x_embedder": "x_embedder", "t_embedder.0": "t_embedder.0", "t_embedder.1": "t_embedder.1",
    "affline_norm": "t_embedding_norm", "final_layer": "final_layer",
    "blocks.block0": "blocks.0", "blocks.block1": "blocks.1", "blocks.block0.blocks.2": "blocks.0",
}  # fmt: skip
# Layouts of Predict1's goldens, and those of our modules, of keys that begin so.
PREDICT1_LAYOUTS = {
    "t_embedder": "b d -> b 1 d", "affline_norm": "b d -> b 1 d", "blocks": "t h w b d -> b t h w d",
    "final_layer": "(b t) (h w) d -> b t h w d",
}  # fmt: skip
INTERMEDIATES = [
    ("predict2_dit_t2i_tiny", "in/image", "out/image", PREDICT2, {}),
    ("predict2_dit_t2i_tiny", "in/video", "out/video", PREDICT2, {}),
    ("predict2_dit_v2w_tiny", "in/image", "out/image", PREDICT2, {}),
    ("predict2_dit_v2w_tiny", "in/video", "out/video", PREDICT2, {}),
    ("predict2_dit_v2w_tiny", "in/video", "out/video_fpsmod", PREDICT2, {"fps_modulation": True}),
    ("predict2_5_dit_tiny", "A_per_frame", "out", PREDICT2_5, {}),
    ("predict1_dit_t2w_tiny", "in", "out", PREDICT1, {}),
    ("predict1_dit_v2w_tiny", "in", "out", PREDICT1, {}),
]
# Compared in tests of their own: whole outputs, angles, learned positions, and sub-layers of a block.
OTHERS = {case[2].split("/", 1)[1] for case in CASES} | {
    "net_output", "rope_angles", "A_rope", "pos_embedder", "extra_pos_embedder", "blocks.block0.blocks.0",
    "blocks.block0.blocks.1",
}  # fmt: skip
IDS = [f"{case[0]}-{case[2]}" for case in INTERMEDIATES]


def in_our_layout(key, value):
    """A tensor of a Predict1 golden as (B, T, H, W, D) or (B, T, D); others have that layout already."""
    layout = next((layout for start, layout in PREDICT1_LAYOUTS.items() if key.startswith(start)), None)
    return value if layout is None else rearrange(value, layout, **({"t": 3, "h": 4} if "(b t)" in layout else {}))


def outputs_of_modules(net, inputs):
    """What every named module of the network gave in one call, by name."""
    seen = {}
    for name, module in net.named_modules():
        module.register_forward_hook(lambda *call, name=name: seen.update({name: call[-1]}))
    net(**inputs)
    return seen


@pytest.mark.parametrize(("name", "case", "prefix", "keys", "changes"), INTERMEDIATES, ids=IDS)
def test_intermediates_equal_the_official_network(name, case, prefix, keys, changes):
    golden = read_golden(name).under(prefix)
    assert set(golden) - OTHERS == set(keys), "an intermediate is not compared"
    seen = outputs_of_modules(tiny_dit(name, **changes), tiny_inputs(name, case))
    for key, module in keys.items():
        expected = in_our_layout(key, golden[key]) if keys is PREDICT1 else golden[key]
        assert relative_error(seen[module], expected) < TOLERANCE, key


@pytest.mark.parametrize(("name", "case", "prefix", "keys", "changes"), INTERMEDIATES, ids=IDS)
def test_angles_equal_the_official_network(name, case, prefix, keys, changes):
    golden, net, inputs = read_golden(name).under(prefix), tiny_dit(name, **changes), tiny_inputs(name, case)
    expected = next(golden[key] for key in ("rope_angles", "A_rope", "pos_embedder") if key in golden)
    grid, config = net.grid(inputs["x"], inputs["timesteps"], inputs["text"]), net.config
    fps = inputs["fps"] if config.fps_modulation else None
    angles = rope_angles(grid=grid, head_dim=config.head_dim, ratio=config.rope_ratio, fps=fps)
    # Recorded with both halves of the head, which are equal.
    assert torch.equal(repeat(angles, "l d -> l 1 1 (twice d)", twice=2), expected)
    turned_by = net.rope(grid, fps=inputs["fps"])
    assert torch.equal(repeat(turned_by.cos, "l 1 d -> l 1 1 (twice d)", twice=2), expected.cos())


@pytest.mark.parametrize("name", ["predict1_dit_t2w_tiny", "predict1_dit_v2w_tiny"])
@pytest.mark.parametrize(("recorded", "silent"), [("0", ("cross_attn", "mlp")), ("1", ("mlp",))])
def test_sub_layers_equal_the_official_network(name, recorded, silent):
    """A block whose last sub-layers add nothing returns what the ones before have made."""
    net, golden = tiny_dit(name), read_golden(name).under("out")
    for part in silent:
        getattr(net.blocks[0], part).register_forward_hook(lambda module, inputs, output: torch.zeros_like(output))
    made = outputs_of_modules(net, tiny_inputs(name, "in"))["blocks.0"]
    key = f"blocks.block0.blocks.{recorded}"
    assert relative_error(made, in_our_layout(key, golden[key])) < TOLERANCE


@pytest.mark.parametrize("name", ["predict1_dit_t2w_tiny", "predict1_dit_v2w_tiny"])
def test_learned_positions_equal_the_official_ones(name):
    net, golden = tiny_dit(name), read_golden(name)
    assert relative_error(net.extra_pos_embedder((3, 4, 6)), golden["out/extra_pos_embedder"]) < 1e-6


# Museum of bugs: shipped mistakes of other systems. Each mutant must be far from the golden that we match.


def test_bug_3_one_sigma_for_clean_and_noisy_latent_frames():
    """Conditioning latent frames carry their own, small noise level; the level of the others is wrong for them."""
    for name, case, output in [
        ("predict2_dit_v2w_tiny", "in/video", "out/video/net_output"),
        ("predict2_5_dit_tiny", "A_per_frame", "out/A_per_frame"),
    ]:
        shared = tiny_inputs(name, case)["timesteps"][:, -1:]
        assert deviation(name, case, output) < TOLERANCE
        assert deviation(name, case, output, timesteps=shared) > 1e-2


def test_bug_4_conditional_timestep_without_the_scale():
    case = ("predict2_5_dit_tiny", "A_per_frame", "out/A_per_frame")
    assert deviation(*case) < TOLERANCE
    assert deviation(*case, {"timestep_scale": 1.0}) > 1e-2


def test_bug_5_fps_modulation_although_trained_without():
    """Predict2 and Predict2.5 get fps and must ignore it; Cosmos-1.0 and Predict1 must not."""
    predict2 = ("predict2_dit_v2w_tiny", "in/video", "out/video/net_output")
    assert deviation(*predict2, fps=torch.tensor([16.0])) < TOLERANCE
    assert deviation(*predict2, {"fps_modulation": True}, fps=torch.tensor([16.0])) > 1e-2
    predict1 = ("predict1_dit_t2w_tiny", "in2", "out2/output")
    assert deviation(*predict1) < TOLERANCE
    assert deviation(*predict1, {"fps_modulation": False}) > 1e-3


def test_mutant_learned_positions_left_out():
    net = tiny_dit("predict1_dit_t2w_tiny")
    without = DiT(replace(CONFIGS["predict1_dit_t2w_tiny"], learned_positions=False))
    without.load_state_dict({k: v for k, v in net.state_dict().items() if not k.startswith("extra_pos")})
    inputs = tiny_inputs("predict1_dit_t2w_tiny", "in")
    with torch.no_grad():
        assert relative_error(without(**inputs), read_golden("predict1_dit_t2w_tiny")["out/output"]) > 1e-2
