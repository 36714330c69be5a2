import math
from dataclasses import replace

import pytest
import torch
from golden_files import read_manifest, read_manifest_meta, relative_error
from tiny_dit import CONFIGS, FIRST_CASE, tiny_dit, tiny_inputs

from cosmos_lab.nn.block import Block
from cosmos_lab.nn.dit import DiT, DiTConfig
from cosmos_lab.nn.dit_configs import DIT_CONFIGS
from cosmos_lab.nn.layers import Linear, Modulation
from cosmos_lab.nn.timestep import Sinusoid
from cosmos_lab.runtime.key_maps import carries_weights, dit_key_from_predict1

MANIFESTS = {
    "predict1-7b-text2world": "predict1_7b_text2world",
    "predict1-7b-video2world": "predict1_7b_video2world",
    "predict1-14b-text2world": "predict1_14b_text2world",
    "predict1-14b-video2world": "predict1_14b_video2world",
    "predict2-0.6b-text2image": "predict2_0p6b_text2image",
    "predict2-2b-text2image": "predict2_2b_text2image",
    "predict2-14b-text2image": "predict2_14b_text2image",
    "predict2-2b-video2world": "predict2_2b_video2world",
    "predict2-14b-video2world": "predict2_14b_video2world",
    "predict2.5-2b": "predict2_5_2b",
    "predict2.5-14b": "predict2_5_14b",
}
PREDICT1_WITHOUT_WEIGHTS = {"net.pos_embedder.seq", "logvar.0.freqs", "logvar.0.phases", "logvar.1.weight"}
PREDICT2_WITHOUT_WEIGHTS = {
    "accum_video_sample_counter",
    "accum_image_sample_counter",
    "accum_iteration",
    "accum_train_in_hours",
    "pos_embedder.seq",
    "pos_embedder.dim_spatial_range",
    "pos_embedder.dim_temporal_range",
}
PARAMETERS = {
    "predict2-0.6b-text2image": 0.5975e9,
    "predict2-2b-text2image": 1.9564e9,
    "predict2-14b-text2image": 14.265e9,
    "predict2-2b-video2world": 1.9564e9,
    "predict2-14b-video2world": 14.265e9,
}
SMALL = DiTConfig(width=48, num_blocks=2, num_heads=2, adaln_rank=8, text_width=20, condition_mask=True)


def random_dit(generator, config=SMALL):
    """A network whose every weight is drawn, so that nothing is hidden behind a closed gate."""
    net = DiT(config)
    with torch.no_grad():
        for name, parameter in net.named_parameters():
            draw = torch.randn(parameter.shape, generator=generator)
            parameter.copy_(1 + 0.1 * draw if name.endswith("norm.weight") else draw * parameter.shape[-1] ** -0.5)
    return net


def random_inputs(generator, config=SMALL, batch=1, frames=3, height=8, width=12, per_frame=True):
    shape = (batch, 1, frames, height, width)
    return {
        "x": torch.randn(batch, 16, frames, height, width, generator=generator),
        "timesteps": torch.rand(batch, frames, generator=generator),
        "text": torch.randn(batch, 5, config.text_projection or config.text_width, generator=generator),
        "condition_mask": (torch.rand(shape, generator=generator) < 0.5).float() if config.condition_mask else None,
    }


# Full-size configurations against the key lists of the official files


@pytest.mark.parametrize("model", MANIFESTS)
def test_every_key_of_the_official_file_is_consumed(model):
    manifest = read_manifest(MANIFESTS[model])
    without_weights = {key for key in manifest if not carries_weights(key)}
    predict1 = model.startswith("predict1")
    assert without_weights == (PREDICT1_WITHOUT_WEIGHTS if predict1 else PREDICT2_WITHOUT_WEIGHTS)
    expected = {key.removeprefix("net."): shape for key, shape in manifest.items() if key not in without_weights}
    if predict1:
        expected = {dit_key_from_predict1(key): shape for key, shape in expected.items()}
    with torch.device("meta"):
        net = DiT(DIT_CONFIGS[model]())
    assert {key: tuple(value.shape) for key, value in net.state_dict().items()} == expected


@pytest.mark.parametrize("model", MANIFESTS)
def test_parameter_counts(model):
    with torch.device("meta"):
        count = sum(parameter.numel() for parameter in DiT(DIT_CONFIGS[model]()).parameters())
    meta = read_manifest_meta(MANIFESTS[model])
    exact = meta.get("num_params_net", meta.get("num_params"))
    assert count == exact if exact else math.isclose(count, PARAMETERS[model], rel_tol=1e-4)


def test_shapes_follow_on_the_meta_device():
    """Memory and arithmetic of a full-size network can be estimated without weights."""
    with torch.device("meta"):
        net, x = DiT(DIT_CONFIGS["predict2.5-14b"]()), torch.empty(1, 16, 24, 88, 160)
        assert net(x, torch.empty(1, 24), torch.empty(1, 512, 100352)).shape == x.shape


def test_nano_is_small_enough():
    with torch.device("meta"):
        net = DiT(DIT_CONFIGS["nano"]())
    # 64 MiB in 16 bits hold 33.5 million parameters, tokenizer and text encoder beside
    assert sum(parameter.numel() for parameter in net.parameters()) < 28e6


@pytest.mark.parametrize(("model", "modulated"), [(model, model.startswith("predict1")) for model in DIT_CONFIGS])
def test_only_cosmos_1_and_predict1_measure_time_in_seconds(model, modulated):
    assert DIT_CONFIGS[model]().fps_modulation == modulated


# The rules of half precision


def test_timesteps_are_rounded_with_the_weights():
    """Predict1 and Predict2 cast c_noise to bfloat16 before the sinusoid; Predict2.5 keeps it in float32."""
    fine = torch.tensor([[0.7001, 0.3003, 0.5005]])
    assert not torch.equal(fine, fine.bfloat16().float())
    for name in ("predict2_dit_v2w_tiny", "predict1_dit_t2w_tiny"):
        embedded = tiny_dit(name).to(torch.bfloat16).embed_timesteps(fine)
        rounded = tiny_dit(name).to(torch.bfloat16).embed_timesteps(fine.bfloat16())
        assert embedded[0].dtype == embedded[1].dtype == torch.bfloat16
        assert all(torch.equal(*pair) for pair in zip(embedded, rounded, strict=True))
    net = tiny_dit("predict2_5_dit_tiny").to(torch.bfloat16)
    embedded, rounded = net.embed_timesteps(1000 * fine), net.embed_timesteps((1000 * fine).bfloat16())
    assert embedded[0].dtype == embedded[1].dtype == torch.float32
    assert not torch.equal(embedded[0], rounded[0])


def test_integer_timesteps_are_scaled_in_float32():
    net = tiny_dit("predict2_5_dit_tiny")
    as_integer = net.embed_timesteps(torch.tensor([995]))
    as_float = net.embed_timesteps(torch.tensor([995.0]))
    assert torch.equal(as_integer[0], as_float[0]) and torch.equal(as_integer[1], as_float[1])


def test_the_sinusoid_is_float32_inside():
    timesteps = torch.tensor([[0.7]]).bfloat16()
    sinusoid = Sinusoid(64)
    assert torch.equal(sinusoid(timesteps), sinusoid(timesteps.float()).bfloat16())


@pytest.mark.parametrize(
    ("name", "modulation", "output"),
    [
        ("predict1_dit_v2w_tiny", torch.bfloat16, torch.bfloat16),
        ("predict2_dit_v2w_tiny", torch.bfloat16, torch.bfloat16),
        ("predict2_5_dit_tiny", torch.float32, torch.float32),
    ],
)
def test_dtypes_of_a_bfloat16_network(name, modulation, output):
    net = tiny_dit(name).to(torch.bfloat16)
    seen = {}
    for path, module in net.named_modules():
        if isinstance(module, Modulation | Block | Linear):
            module.register_forward_hook(lambda module, _, result, path=path: seen.update({path: result}))
    result = net(**tiny_inputs(name, FIRST_CASE[name]))
    assert result.dtype == output
    for path, value in seen.items():
        dtypes = {part.dtype for part in value} if isinstance(value, tuple) else {value.dtype}
        assert dtypes == {modulation if "adaln_modulation" in path else torch.bfloat16}, path


@pytest.mark.parametrize("name", CONFIGS)
def test_bfloat16_stays_near_float32(name):
    """A gross mistake of dtype (a wrong cast, a lost scale) is far larger than the rounding of two blocks."""
    inputs = tiny_inputs(name, FIRST_CASE[name])
    exact, half = tiny_dit(name)(**inputs), tiny_dit(name).to(torch.bfloat16)(**inputs)
    assert 1e-4 < relative_error(half.float(), exact) < 0.05


def test_float32_modulation_differs_from_rounded_modulation():
    name = "predict2_5_dit_tiny"
    kept = tiny_dit(name).to(torch.bfloat16)(**tiny_inputs(name, FIRST_CASE[name]))
    rounded = tiny_dit(name, timestep_dtype="weights").to(torch.bfloat16)(**tiny_inputs(name, FIRST_CASE[name]))
    assert (kept - rounded.float()).abs().max() > 0


def test_rope_rounding_reaches_the_output():
    name = "predict2_dit_v2w_tiny"
    inputs = tiny_inputs(name, "in/video")
    exact = tiny_dit(name)(**inputs)
    # a small grid: angles below 12 rad; five times the tolerance of the golden tests nevertheless
    assert relative_error(tiny_dit(name, rope_dtype="bfloat16")(**inputs), exact) > 3e-5


def test_autocast_training_step(generator):
    """bfloat16 autocast over float32 weights: gradients of every parameter, float32 and finite."""
    net, inputs = random_dit(generator), random_inputs(generator)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = net(**inputs)
    output.float().square().mean().backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad.dtype == torch.float32 and parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().max() > 0, name


# Properties


def test_a_new_network_passes_tokens_on_and_returns_zeros(generator):
    net, inputs = DiT(SMALL), random_inputs(generator)
    tokens = torch.randn(1, 3, 4, 6, 48, generator=generator)
    emb, shared = net.embed_timesteps(inputs["timesteps"])
    rope = net.rope((3, 4, 6))
    for block in net.blocks:
        assert torch.equal(block(tokens, emb, shared, inputs["text"], rope), tokens)
    assert not net(**inputs).any()


def test_a_new_network_learns_from_its_output_first(generator):
    """With closed gates the first gradient reaches the output map; once that is open, the gates."""
    net, inputs = DiT(SMALL), random_inputs(generator)
    net(**inputs).sub(1).square().mean().backward()
    assert net.final_layer.linear.weight.grad.abs().max() > 0
    assert not net.blocks[0].mlp.layer1.weight.grad.any()
    torch.nn.init.normal_(net.final_layer.linear.weight, generator=generator)
    net.zero_grad()
    net(**inputs).sub(1).square().mean().backward()
    for block in net.blocks:
        for sub_layer in ("self_attn", "cross_attn", "mlp"):
            gate_rows = getattr(block, f"adaln_modulation_{sub_layer}")[2].weight.grad[-48:]
            assert gate_rows.abs().max() > 0


def test_gate_zero_closes_each_sub_layer(generator):
    """With one sub-layer's gate at zero its weights have no say."""
    net, inputs = random_dit(generator).requires_grad_(False), random_inputs(generator)
    block, tokens = net.blocks[0], torch.randn(1, 3, 4, 6, 48, generator=generator)
    emb, _ = net.embed_timesteps(inputs["timesteps"])
    shared, rope = torch.zeros(1, 3, 144), net.rope((3, 4, 6))
    for sub_layer in ("self_attn", "cross_attn", "mlp"):
        modulation = getattr(block, f"adaln_modulation_{sub_layer}")
        kept = modulation[2].weight.clone()
        before = block(tokens, emb, shared, inputs["text"], rope)
        modulation[2].weight[-48:] = 0
        closed = block(tokens, emb, shared, inputs["text"], rope)
        last = list(getattr(block, sub_layer).parameters())[-1]
        last.mul_(3)
        assert torch.equal(block(tokens, emb, shared, inputs["text"], rope), closed)
        assert not torch.allclose(before, closed, atol=1e-3)
        modulation[2].weight.copy_(kept)


def test_init_weights_is_deterministic():
    first, second = DiT(SMALL), DiT(SMALL)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
    second.init_weights(torch.Generator().manual_seed(7))
    assert not torch.equal(first.x_embedder.proj[1].weight, second.x_embedder.proj[1].weight)
    std = first.blocks[0].mlp.layer2.weight.std() * 192**0.5
    assert 0.95 < std < 1.02  # cut at three deviations: 0.987


def test_construction_draws_nothing_from_the_global_generator():
    before = torch.random.get_rng_state()
    DiT(SMALL)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_samples_of_a_batch_do_not_mix(generator):
    net, inputs = random_dit(generator).requires_grad_(False), random_inputs(generator, batch=3)
    together = net(**inputs)
    for index in range(3):
        alone = net(**{key: value[index : index + 1] for key, value in inputs.items()})
        assert relative_error(alone, together[index : index + 1]) < 1e-5


def test_one_timestep_stands_for_all_latent_frames(generator):
    net, inputs = random_dit(generator).requires_grad_(False), random_inputs(generator, batch=2)
    one = inputs["timesteps"][:, :1]
    expected = net(**(inputs | {"timesteps": one.expand(2, 3)}))
    for timesteps in (one, one.flatten()):
        assert relative_error(net(**(inputs | {"timesteps": timesteps})), expected) < 1e-5


def test_masks_left_out_are_zeros(generator):
    net, inputs = random_dit(generator).requires_grad_(False), random_inputs(generator, batch=2)
    zeros = {"condition_mask": torch.zeros(2, 1, 3, 8, 12), "padding_mask": torch.zeros(1, 1, 64, 96)}
    assert torch.equal(net(**(inputs | {"condition_mask": None})), net(**(inputs | zeros)))
    ones = {"padding_mask": torch.ones(2, 1, 64, 96)}
    assert relative_error(net(**(inputs | ones)), net(**inputs)) > 1e-3


def test_patches_are_put_back_where_they_came_from(generator):
    """Only the patch that was changed comes out changed, when tokens are kept from mixing."""
    config = replace(SMALL, num_blocks=1)
    net = random_dit(generator, config).requires_grad_(False)
    net.blocks[0].self_attn.output_proj.weight.zero_()
    inputs = random_inputs(generator, config)
    changed = inputs["x"].clone()
    changed[:, :, 1, 4:6, 8:10] += 1
    difference = (net(**(inputs | {"x": changed})) - net(**inputs)).abs().amax(dim=(0, 1))
    inside = torch.zeros(3, 8, 12, dtype=torch.bool)
    inside[1, 4:6, 8:10] = True
    assert (difference[inside] > 1e-3).all() and not difference[~inside].any()


def test_a_block_compiles_into_one_graph(generator):
    net, inputs = random_dit(generator).requires_grad_(False), random_inputs(generator)
    expected = net(**inputs)
    for block in net.blocks:
        block.compile(backend="eager", fullgraph=True)
    assert torch.equal(net(**inputs), expected)


# Input that does not fit


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"x": torch.zeros(1, 3, 3, 8, 12)}, r"\(B, 16, T, H, W\)"),
        ({"x": torch.zeros(1, 16, 3, 7, 12)}, "multiples of the patch"),
        ({"x": torch.zeros(1, 16, 3, 8, 400)}, "more than"),
        ({"timesteps": torch.zeros(2)}, "timesteps are"),
        ({"timesteps": torch.zeros(1, 2)}, "timesteps are"),
        ({"text": torch.zeros(1, 5, 21)}, r"\(B, N, 20\)"),
    ],
)
def test_inputs_that_do_not_fit_are_named(generator, changes, message):
    with pytest.raises(ValueError, match=message):
        DiT(SMALL)(**(random_inputs(generator) | changes))


def test_a_mask_that_the_network_does_not_know_is_an_error(generator):
    net, inputs = DiT(replace(SMALL, condition_mask=False)), random_inputs(generator)
    with pytest.raises(ValueError, match="no condition mask"):
        net(**inputs)


def test_missing_fps_is_an_error_where_time_is_in_seconds(generator):
    net = DiT(replace(SMALL, fps_modulation=True))
    with pytest.raises(ValueError, match="pass fps"):
        net(**random_inputs(generator))
    net(**random_inputs(generator, frames=1))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_heads": 5}, "no multiple"),
        ({"num_heads": 6}, "12 or more"),
        ({"rope_dtype": "float16"}, "rope_dtype"),
        ({"timestep_dtype": "bfloat16"}, "timestep_dtype"),
        ({"num_blocks": 0}, "at least 1"),
    ],
)
def test_impossible_configurations_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        replace(SMALL, **changes)
