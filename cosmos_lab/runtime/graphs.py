"""A network as one launch: its kernels are recorded once for each kind of input, as a CUDA graph, and then replayed.

The kernels of a small network are over before the CPU has started the next one; a replay starts them all at once.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from cosmos_lab.diffusion.denoiser import Network
from cosmos_lab.nn.attention import ATTENTIONS

# Above this many parameters a GPU is busy longer than the CPU that starts its kernels: replaying gains nothing, and
# each recording keeps its activations.
SMALL = 200_000_000
MOST_RECORDINGS = 8
WARM_UP = 3
Inputs = dict[str, Tensor | None]


class Replayed(Protocol):
    """What a recording needs of a CUDA graph."""

    def replay(self) -> None: ...


@dataclass
class Recording:
    """One recorded evaluation: the tensors that it reads and the one that a replay leaves in place."""

    graph: Replayed
    inputs: Inputs
    output: Tensor


class Graphed:
    """`net`, replayed for every kind of inputs that it has met; a network like any other to a denoiser.

    What a replay would pass over, it does not: where gradients or autocast are on, or where something was hung into
    the network (a hook, another `forward`, an attention of one's own), `net` is simply called. New weights in new
    places are recorded anew. `record` stands in for `record_graph` in tests.
    """

    def __init__(self, net: nn.Module, record: Callable[[nn.Module, Inputs], Recording] | None = None):
        self.net, self.record = net, record or record_graph
        self.recordings: dict[tuple, Recording] = {}

    def __call__(
        self,
        x: Tensor,
        timesteps: Tensor,
        text: Tensor,
        *,
        condition_mask: Tensor | None = None,
        padding_mask: Tensor | None = None,
        fps: Tensor | float | None = None,
    ) -> Tensor:
        fps = None if fps is None else torch.as_tensor(fps, device=x.device)
        inputs = {"x": x, "timesteps": timesteps, "text": text, "condition_mask": condition_mask,
                  "padding_mask": padding_mask, "fps": fps}
        if torch.is_grad_enabled() or torch.is_autocast_enabled(x.device.type) or not is_plain(self.net):
            return self.net(**inputs)
        recording = self._recording(inputs)
        for name, held in recording.inputs.items():
            if held is not None:
                held.copy_(inputs[name])
        recording.graph.replay()
        return recording.output.clone()

    def _recording(self, inputs: Inputs) -> Recording:
        kind = (_kind_of(inputs), _foundations(self.net))
        if kind not in self.recordings:
            while len(self.recordings) >= MOST_RECORDINGS:
                del self.recordings[next(iter(self.recordings))]
            self.recordings[kind] = self.record(self.net, inputs)
        return self.recordings[kind]


def quick(net: nn.Module) -> Network:
    """The network, `Graphed` where that is faster: a small one on a GPU."""
    parameters = list(net.parameters())
    small = sum(parameter.numel() for parameter in parameters) <= SMALL
    return Graphed(net) if small and all(parameter.is_cuda for parameter in parameters) else net


def is_plain(net: nn.Module) -> bool:
    """Whether calling the network does no more than its kernels: nothing hooks in, nothing was put in its place."""
    return all(
        not module._forward_hooks and not module._forward_pre_hooks and "forward" not in vars(module)
        and vars(module).get("attend") in (None, *ATTENTIONS.values())
        for module in net.modules()
    )  # fmt: skip


def record_graph(net: nn.Module, inputs: Inputs) -> Recording:
    """Records one evaluation on a GPU, after a few that choose its kernels."""
    held = {name: None if tensor is None else tensor.clone() for name, tensor in inputs.items()}
    aside = torch.cuda.Stream()
    aside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(aside):
        for _ in range(WARM_UP):
            net(**held)
    torch.cuda.current_stream().wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        output = net(**held)
    return Recording(graph, held, output)


def _kind_of(inputs: Inputs) -> tuple:
    return tuple(None if tensor is None else (tensor.shape, tensor.dtype) for tensor in inputs.values())


def _foundations(net: nn.Module) -> tuple:
    """What a recording stands on besides its inputs: where the weights lie, and how tokens attend."""
    attends = tuple(vars(module).get("attend") for module in net.modules())
    return tuple(parameter.data_ptr() for parameter in net.parameters()), attends
