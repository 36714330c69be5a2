from functools import partial
from types import SimpleNamespace

import pytest
import torch
from golden_files import relative_error
from tiny_dit import tiny_dit, tiny_inputs
from torch.nn.attention import _cur_sdpa_kernel_backends, sdpa_kernel

from cosmos_lab.nn import attention
from cosmos_lab.nn.attention import (
    ATTENTIONS,
    Attention,
    attend_by,
    fused_attention,
    named_attention,
    reference_attention,
)
from cosmos_lab.nn.layers import RMSNorm
from cosmos_lab.nn.rope import rope_angles, rope_from_angles


def draw(generator, *shape):
    return torch.randn(shape, generator=generator)


def filled_attention(generator, **sizes):
    attention = Attention(**sizes)
    with torch.no_grad():
        for parameter in attention.parameters():
            parameter.copy_(draw(generator, *parameter.shape) * parameter.shape[-1] ** -0.5)
    return attention


@pytest.mark.parametrize(("batch", "queries", "keys", "heads", "head_dim"), [(1, 5, 5, 1, 16), (2, 33, 7, 3, 32)])
def test_fused_attention_equals_the_reference(generator, batch, queries, keys, heads, head_dim):
    q = draw(generator, batch, queries, heads, head_dim)
    k, v = (draw(generator, batch, keys, heads, head_dim) for _ in range(2))
    # float32 sums of up to 33 terms of order one
    torch.testing.assert_close(fused_attention(q, k, v), reference_attention(q, k, v), rtol=0, atol=2e-6)


def test_fused_attention_in_bfloat16(generator):
    q, k, v = (draw(generator, 1, 20, 2, 32).bfloat16() for _ in range(3))
    # results below 2 in bfloat16 are 2^-7 apart
    torch.testing.assert_close(fused_attention(q, k, v), reference_attention(q, k, v), rtol=0, atol=2**-7)


@pytest.mark.parametrize(("capability", "first"), [((9, 0), "CUDNN_ATTENTION"), ((10, 0), "CUDNN_ATTENTION")])
def test_cudnn_comes_first_from_hopper_on(monkeypatch, capability, first):
    """626 against 355 TFLOP/s on an H200; elsewhere PyTorch's own order stays."""
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    on_gpu = SimpleNamespace(is_cuda=True, requires_grad=False, device="cuda:0")
    with attention.preferred_kernels(on_gpu):
        kernels = _cur_sdpa_kernel_backends(with_priority=True)
    assert kernels[0].name == first and {kernel.name for kernel in kernels} >= {"FLASH_ATTENTION", "MATH"}
    before = _cur_sdpa_kernel_backends(with_priority=True)
    trained = SimpleNamespace(is_cuda=True, requires_grad=True, device="cuda:0")
    with attention.preferred_kernels(trained):
        assert _cur_sdpa_kernel_backends(with_priority=True) == before
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (8, 0))
    for x in (on_gpu, torch.zeros(1)):
        with attention.preferred_kernels(x):
            assert _cur_sdpa_kernel_backends(with_priority=True) == before


def test_an_order_of_kernels_changes_nothing_and_compiles(generator, monkeypatch):
    q, k, v = (draw(generator, 1, 9, 2, 16) for _ in range(3))
    expected = fused_attention(q, k, v)
    forced = partial(sdpa_kernel, list(attention.KERNELS), set_priority=True)
    monkeypatch.setattr(attention, "preferred_kernels", lambda x: forced())
    assert torch.equal(fused_attention(q, k, v), expected)
    assert torch.equal(torch.compile(fused_attention, fullgraph=True, backend="eager")(q, k, v), expected)
    assert attention.chosen_kernel(q, k, v) in {kernel.name for kernel in attention.KERNELS}


def test_gradients_of_fused_attention_equal_the_references(generator):
    inputs = [draw(generator, 1, 9, 2, 16).requires_grad_() for _ in range(3)]
    upstream = draw(generator, 1, 9, 2, 16)
    fast = torch.autograd.grad(fused_attention(*inputs), inputs, upstream)
    slow = torch.autograd.grad(reference_attention(*inputs), inputs, upstream)
    torch.testing.assert_close(fast, slow, rtol=0, atol=5e-6)


def test_equal_keys_average_the_values(generator):
    q, v = draw(generator, 1, 4, 2, 16), draw(generator, 1, 6, 2, 16)
    mixed = reference_attention(q, torch.ones(1, 6, 2, 16), v)
    torch.testing.assert_close(mixed, v.mean(dim=1, keepdim=True).expand(1, 4, 2, 16))


def test_the_attend_function_can_be_replaced(generator):
    attention = filled_attention(generator, width=32, num_heads=2)
    x = draw(generator, 1, 6, 32)
    with torch.no_grad():
        expected = attention(x)
        attention.attend = reference_attention
        torch.testing.assert_close(attention(x), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", ATTENTIONS)
def test_every_named_attention_equals_the_reference_in_a_network(generator, name):
    net, asked = tiny_dit("predict2_dit_v2w_tiny"), []
    inputs = tiny_inputs("predict2_dit_v2w_tiny", "in/video")

    def counted(attend):
        return lambda *qkv: asked.append(attend) or attend(*qkv)

    made = []
    for attend in (named_attention(name), reference_attention):
        attend_by(net, counted(attend))
        made.append(net(**inputs))
    # Self- and cross-attention of two blocks, once in each form.
    assert asked == [ATTENTIONS[name]] * 4 + [reference_attention] * 4
    assert relative_error(*made) < 1e-5
    with pytest.raises(ValueError, match="one of auto, reference, not 'sage'"):
        named_attention("sage")


def test_self_attention_without_rotation_ignores_the_order_of_tokens(generator):
    attention = filled_attention(generator, width=32, num_heads=2)
    x, order = draw(generator, 1, 6, 32), torch.tensor([3, 0, 5, 1, 4, 2])
    rope = rope_from_angles(rope_angles(grid=(6, 1, 1), head_dim=16, ratio=(1.0, 1.0, 1.0)))
    with torch.no_grad():
        torch.testing.assert_close(attention(x[:, order]), attention(x)[:, order])
        assert not torch.allclose(attention(x[:, order], rope=rope), attention(x, rope=rope)[:, order], atol=1e-3)


def test_rows_of_zeros_in_the_text_take_part(generator):
    """Text is not masked: a padded row has logit 0 and value 0 and so takes weight from the others."""
    attention = filled_attention(generator, width=32, num_heads=2, context_width=24)
    x, text = draw(generator, 1, 6, 32), draw(generator, 1, 5, 24)
    padded = torch.cat([text, torch.zeros(1, 3, 24)], dim=1)
    with torch.no_grad():
        short, long = attention(x, context_B_S_D=text), attention(x, context_B_S_D=padded)
    assert (short - long).abs().max() > 0.01 * short.abs().max()


def test_rms_norm_rounds_once_in_bfloat16(generator):
    """Statistics and the product with the weight are float32; rounding before the product gives other numbers."""
    norm = RMSNorm(128)
    with torch.no_grad():
        norm.weight.copy_(draw(generator, 128))
    norm.to(torch.bfloat16)
    x = draw(generator, 64, 128).bfloat16()
    normalised = x.float() * torch.rsqrt(x.float().square().mean(dim=-1, keepdim=True) + 1e-6)
    assert torch.equal(norm(x), (normalised * norm.weight.float()).bfloat16())
    assert not torch.equal(norm(x), normalised.bfloat16() * norm.weight)


def test_heads_are_normalised_apart_with_one_weight(generator):
    attention = filled_attention(generator, width=32, num_heads=2)
    heads = attention.split_heads(draw(generator, 1, 3, 32))
    assert heads.shape == (1, 3, 2, 16)
    both = attention.q_norm(heads)
    torch.testing.assert_close(both[:, :, 1], attention.q_norm(heads[:, :, 1]))
