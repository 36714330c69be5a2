import pytest
import torch
from golden_files import read_golden

from cosmos_lab.nn.rope import (
    BASE_THETA,
    apply_rope,
    axis_angles,
    axis_frequencies,
    axis_sizes,
    rope_angles,
    rope_from_angles,
)

PREDICT2 = {
    "t2i_0p6b_1024": (64, (1.0, 4.0, 4.0)),
    "t2i_2b_1024": (128, (1.0, 4.0, 4.0)),
    "v2w_2b_720p": (128, (1.0, 3.0, 3.0)),
    "v2w_14b_720p": (128, (20 / 24, 2.0, 2.0)),
}
PREDICT1 = {"7b": (2.0, 1.0, 1.0), "14b": (2.0, 2.0, 2.0)}


@pytest.mark.parametrize("rope_dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("model", PREDICT2)
def test_predict2_tables_are_exact(model, rope_dtype):
    golden, (head_dim, ratios) = read_golden("predict2_rope"), PREDICT2[model]
    for axis, size, ratio in zip("thw", axis_sizes(head_dim), ratios, strict=True):
        expected = golden[f"out/{model}/{rope_dtype}/angle_{axis}"]
        assert torch.equal(axis_angles(length=len(expected), size=size, ratio=ratio, rope_dtype=rope_dtype), expected)


@pytest.mark.parametrize(("rope_dtype", "short"), [("float32", "fp32"), ("bfloat16", "bf16")])
@pytest.mark.parametrize("model", PREDICT1)
def test_predict1_tables_are_exact(model, rope_dtype, short):
    golden, ratios, sizes = read_golden("predict1_rope"), PREDICT1[model], axis_sizes(128)
    for axis, size, ratio in zip("hw", sizes[1:], ratios[1:], strict=True):
        expected = golden[f"out/{model}/{short}/{axis}"]
        assert torch.equal(axis_angles(length=len(expected), size=size, ratio=ratio, rope_dtype=rope_dtype), expected)
    for fps in (12, 24, 30):
        expected = golden[f"out/{model}/{short}/fps{fps}/t"]
        angles = axis_angles(
            length=len(expected), size=sizes[0], ratio=ratios[0], rope_dtype=rope_dtype, fps=torch.tensor([float(fps)])
        )
        assert torch.equal(angles, expected)


@pytest.mark.parametrize(("rope_dtype", "short"), [("float32", "fp32"), ("bfloat16_exponents", "bf16buf")])
def test_predict2_5_tables_are_exact(rope_dtype, short):
    golden, ratio = read_golden("predict2_5_rope"), (1.0, 3.0, 3.0)
    # stored with both halves of the head, which are equal
    expected = golden[f"out/{short}_emb_T3_H5_W7"][:, 0, 0]
    angles = rope_angles(grid=(3, 5, 7), head_dim=128, ratio=ratio, rope_dtype=rope_dtype)
    assert torch.equal(angles.repeat(1, 2), expected)
    last = golden[f"out/{short}_emb_T24_H44_W80_last_token"].flatten()
    assert torch.equal(
        rope_angles(grid=(24, 44, 80), head_dim=128, ratio=ratio, rope_dtype=rope_dtype)[-1].repeat(2), last
    )


@pytest.mark.parametrize(("rope_dtype", "short"), [("float32", "fp32"), ("bfloat16_exponents", "bf16buf")])
@pytest.mark.parametrize(("size", "ratio", "axis"), [(44, 1.0, "temporal"), (42, 3.0, "spatial")])
def test_predict2_5_exponents_are_exact(rope_dtype, short, size, ratio, axis):
    exponents = read_golden("predict2_5_rope")[f"out/{short}_dim_{axis}_range"]
    frequencies = axis_frequencies(size=size, ratio=ratio, rope_dtype=rope_dtype, device=torch.device("cpu"))
    assert torch.equal(frequencies, 1.0 / (BASE_THETA * ratio ** (size / (size - 2))) ** exponents)


@pytest.mark.parametrize("rope_dtype", ["bfloat16", "bfloat16_exponents"])
def test_rounding_is_visible(rope_dtype):
    """The three roundings are three different tables: none may stand for another."""
    arguments = dict(grid=(24, 44, 80), head_dim=128, ratio=(1.0, 3.0, 3.0))
    exact = rope_angles(**arguments)
    difference = (rope_angles(**arguments, rope_dtype=rope_dtype) - exact).abs().max()
    # the fact: 0.19 rad where everything is rounded, 0.05 where the exponents are
    assert {"bfloat16": 0.15, "bfloat16_exponents": 0.04}[rope_dtype] < difference < 0.3


@pytest.mark.parametrize(("head_dim", "sizes"), [(128, (44, 42, 42)), (64, (24, 20, 20)), (16, (8, 4, 4))])
def test_axis_sizes(head_dim, sizes):
    assert axis_sizes(head_dim) == sizes


def test_tokens_are_ordered_time_height_width():
    ratio = (1.0, 3.0, 2.0)
    angles = rope_angles(grid=(2, 3, 4), head_dim=64, ratio=ratio).reshape(2, 3, 4, 32)
    parts = angles.split([size // 2 for size in axis_sizes(64)], dim=-1)
    for axis, (length, size) in enumerate(zip((2, 3, 4), axis_sizes(64), strict=True)):
        table = axis_angles(length=length, size=size, ratio=ratio[axis])
        for index in range(length):
            assert (parts[axis].select(axis, index) == table[index]).all()


@pytest.mark.parametrize("shift", [(1, 0, 0), (0, 2, 0), (0, 0, 3), (2, 1, 4)])
def test_products_depend_on_offsets_only(generator, shift):
    """q at one place and k at another have the product of the same two vectors moved together."""
    grid, head_dim = (4, 7, 9), 64
    rope = rope_from_angles(rope_angles(grid=grid, head_dim=head_dim, ratio=(1.0, 3.0, 3.0)))
    q, k = (torch.randn(head_dim, generator=generator) for _ in range(2))
    length = grid[0] * grid[1] * grid[2]
    turned_q = apply_rope(q.expand(1, length, 1, head_dim), rope).reshape(*grid, head_dim)
    turned_k = apply_rope(k.expand(1, length, 1, head_dim), rope).reshape(*grid, head_dim)
    here, there = (0, 1, 2), (1, 3, 0)
    moved_here, moved_there = (tuple(a + s for a, s in zip(place, shift, strict=True)) for place in (here, there))
    product = turned_q[here] @ turned_k[there]
    # float32 rounding of 64 products of order one
    torch.testing.assert_close(turned_q[moved_here] @ turned_k[moved_there], product, rtol=0, atol=2e-5)
    assert (turned_q[here] @ turned_k[moved_there] - product).abs() > 1e-3


def test_rotation_is_float32_and_keeps_the_dtype(generator):
    rope = rope_from_angles(rope_angles(grid=(2, 3, 4), head_dim=32, ratio=(1.0, 1.0, 1.0)))
    x = torch.randn(1, 24, 2, 32, generator=generator).bfloat16()
    turned = apply_rope(x, rope)
    assert turned.dtype == torch.bfloat16
    assert torch.equal(turned, apply_rope(x.float(), rope).bfloat16())
    torch.testing.assert_close(apply_rope(x.float(), rope).norm(dim=-1), x.float().norm(dim=-1))


def test_time_at_24_fps_is_the_index():
    arguments = dict(length=16, size=44, ratio=2.0)
    at_24 = axis_angles(**arguments, fps=torch.tensor([24.0]))
    torch.testing.assert_close(at_24, axis_angles(**arguments), rtol=1e-6, atol=0)
    at_12 = axis_angles(**arguments, fps=torch.tensor([12.0]))
    torch.testing.assert_close(at_12[:8], axis_angles(**arguments)[::2], rtol=1e-6, atol=0)
