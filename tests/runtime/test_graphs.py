"""A replayed evaluation must be the network's own, and nothing that was hung into a network may be passed over."""

import pytest
import torch
from torch import nn

from cosmos_lab.nn.attention import Attention, reference_attention
from cosmos_lab.nn.dit import DiT, DiTConfig
from cosmos_lab.runtime.graphs import MOST_RECORDINGS, Graphed, Recording, quick

CONFIG = DiTConfig(width=24, num_blocks=2, num_heads=2, adaln_rank=4, text_width=8, condition_mask=True)


class Rerun:
    """A stand-in for a CUDA graph: reads the held inputs and leaves its result in place, as a graph does."""

    def __init__(self, net, held):
        self.net, self.held, self.count = net, held, 0
        self.output = net(**held)

    def replay(self):
        self.count += 1
        self.output.copy_(self.net(**self.held))


def record(net, inputs):
    rerun = Rerun(net, {name: None if tensor is None else tensor.clone() for name, tensor in inputs.items()})
    return Recording(rerun, rerun.held, rerun.output)


@pytest.fixture
def net():
    net, generator = DiT(CONFIG), torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
    return net


def inputs(seed=0, length=2, masked=True):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(1, 16, length, 4, 4, generator=generator)
    mask = torch.rand(1, 1, length, 4, 4, generator=generator).round() if masked else None
    return {"x": x, "timesteps": torch.rand(1, length, generator=generator),
            "text": torch.randn(1, 3, 8, generator=generator), "condition_mask": mask}


@torch.no_grad()
def test_replays_equal_plain_evaluations(net):
    graphed, shown = Graphed(net, record), []
    for seed in range(3):
        for length in (1, 2):
            given = inputs(seed, length, masked=length == 2)
            shown.append((graphed(**given), net(**given)))
    # Compared at the end: a later replay must not change what an earlier one returned.
    assert all(torch.equal(replayed, plain) for replayed, plain in shown)
    assert [recording.graph.count for recording in graphed.recordings.values()] == [3, 3]
    assert not torch.equal(shown[0][0], shown[2][0])


@torch.no_grad()
def test_what_hangs_in_the_network_is_not_passed_over(net):
    graphed, seen = Graphed(net, record), []
    graphed(**inputs())
    handle = net.blocks[0].register_forward_hook(lambda *_: seen.append("hook"))
    for _ in range(2):
        graphed(**inputs())
    handle.remove()

    def watching(q, k, v):
        seen.append("attend")
        return reference_attention(q, k, v)

    attention = next(module for module in net.modules() if isinstance(module, Attention))
    own, attention.attend = attention.attend, watching
    for _ in range(2):
        graphed(**inputs())
    attention.attend = own
    net.forward = lambda **_: seen.append("forward")
    graphed(**inputs())
    assert seen == ["hook", "hook", "attend", "attend", "forward"] and len(graphed.recordings) == 1


@torch.no_grad()
def test_other_weights_and_other_kernels_are_recorded_anew(net):
    graphed = Graphed(net, record)
    before = graphed(**inputs())
    net.final_layer.linear.weight = nn.Parameter(2 * net.final_layer.linear.weight)
    after = graphed(**inputs())
    torch.testing.assert_close(after, 2 * before)
    for module in net.modules():
        if isinstance(module, Attention):
            module.attend = reference_attention
    torch.testing.assert_close(graphed(**inputs()), after)
    assert len(graphed.recordings) == 3


def test_gradients_pass_through_the_network_itself(net):
    given = inputs()
    Graphed(net, record)(**given).square().sum().backward()
    assert all(parameter.grad is not None for parameter in net.blocks[0].mlp.parameters())


@torch.no_grad()
def test_only_a_few_recordings_are_kept(net):
    graphed = Graphed(net, record)
    for length in range(1, MOST_RECORDINGS + 3):
        graphed(**inputs(length=length))
    lengths = [recording.inputs["x"].shape[2] for recording in graphed.recordings.values()]
    assert lengths == list(range(3, MOST_RECORDINGS + 3))


def test_a_network_on_a_cpu_is_left_as_it_is(net):
    assert quick(net) is net
