from dataclasses import replace

import pytest
import torch
from golden_files import read_golden, relative_error
from tiny_dit import CONFIGS, tiny_dit, tiny_inputs

from cosmos_lab.nn.dit import DiT

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


@pytest.mark.parametrize(
    ("name", "case", "prefix"),
    [("predict2_dit_v2w_tiny", "in/video", "out/video"), ("predict2_dit_t2i_tiny", "in/video", "out/video")],
)
def test_intermediates_equal_the_official_network(name, case, prefix):
    net, inputs, golden = tiny_dit(name), tiny_inputs(name, case), read_golden(name).under(prefix)
    seen = {}
    net.x_embedder.register_forward_hook(lambda *call: seen.update(x_embed=call[-1]))
    for index, block in enumerate(net.blocks):
        block.register_forward_hook(lambda *call, index=index: seen.update({f"block{index}": call[-1]}))
    seen["t_embedding_normed"], seen["adaln_lora"] = net.embed_timesteps(inputs["timesteps"])
    net(**inputs)
    assert set(seen) == set(golden) - {"net_output", "rope_angles", "t_sinusoid"}
    for key, value in seen.items():
        assert relative_error(value, golden[key]) < TOLERANCE, key


def test_learned_positions_equal_the_official_ones():
    net, golden = tiny_dit("predict1_dit_t2w_tiny"), read_golden("predict1_dit_t2w_tiny")
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
