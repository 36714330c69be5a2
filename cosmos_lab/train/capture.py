"""Forward and backward pass of a training step as one launch: a CUDA graph, recorded once for each shape, replayed.

A small model's kernels are so short that the CPU cannot start them fast enough; replaying starts them all at once.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

StepFunction = Callable[..., tuple[Tensor, dict[str, Tensor]]]
WARM_UP = 3


class Replayed(Protocol):
    """What a recording needs of a CUDA graph."""

    def replay(self) -> None: ...


@dataclass
class Recording:
    """One recorded pass: the tensors it reads, and what a replay leaves in place."""

    graph: Replayed
    inputs: list[Tensor]
    loss: Tensor
    figures: dict[str, Tensor]
    gradients: list[Tensor | None]


class Captured:
    """`function(*inputs) -> (loss, figures)` and its backward pass, replayed for every kind of inputs it has met.

    Gives the gradients of `function` and `loss.backward()`, but those of `modules` are there as soon as it is called
    and take the place of earlier ones: nothing accumulates. Inputs that need gradients (a text encoder's output) get
    theirs when the returned loss is sent backward, once, with weight 1, before the next call. `function` must enter
    autocast itself, return detached figures, draw no random numbers and ask the GPU for no value. On a CPU, where
    there is nothing to record, it is simply called.
    """

    def __init__(self, function: StepFunction, modules: nn.Module, record: Callable[..., Recording] | None = None):
        self.function, self.modules, self.record = function, modules, record
        self.recordings: dict[tuple, Recording] = {}
        self.pool: tuple[int, int] | None = None

    def __call__(self, *inputs: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        if self.record is None and not inputs[0].is_cuda:
            return self.function(*inputs)
        parameters = [parameter for parameter in self.modules.parameters() if parameter.requires_grad]
        kind = tuple((tensor.shape, tensor.dtype, tensor.requires_grad) for tensor in inputs)
        if kind not in self.recordings:
            self.recordings[kind] = (self.record or self._record_graph)(self.function, inputs, parameters)
        recording = self.recordings[kind]
        loss = _Replay.apply(recording, inputs[0].new_zeros((), dtype=torch.float32).requires_grad_(), *inputs)
        for parameter, gradient in zip(parameters, recording.gradients, strict=True):
            parameter.grad = gradient
        return loss, {name: value.clone() for name, value in recording.figures.items()}

    def _record_graph(self, *what: object) -> Recording:
        # One replay is over before another begins, so all share the memory in which activations lie.
        self.pool = self.pool or torch.cuda.graph_pool_handle()
        return record_graph(*what, pool=self.pool)


def held_inputs(inputs: tuple[Tensor, ...]) -> list[Tensor]:
    """Tensors of their own that a recording reads; those that need a gradient get one."""
    return [tensor.detach().clone().requires_grad_(tensor.requires_grad) for tensor in inputs]


def record_graph(
    function: StepFunction, inputs: tuple[Tensor, ...], parameters: list[nn.Parameter],
    pool: tuple[int, int] | None = None,
) -> Recording:  # fmt: skip
    """Records forward and backward pass of `function` on a GPU, in a memory pool that other recordings may share."""
    held = held_inputs(inputs)
    aside = torch.cuda.Stream()
    aside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(aside):
        # Compilation and the choice of kernels happen here; neither can be recorded.
        for _ in range(WARM_UP):
            function(*held)[0].backward()
            _forget([*parameters, *held])
    torch.cuda.current_stream().wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    # Other threads (the watchdog of collectives) may go on asking the GPU meanwhile.
    with torch.cuda.graph(graph, pool=pool, capture_error_mode="thread_local"):
        loss, figures = function(*held)
        loss.backward()
    return Recording(graph, held, loss.detach(), figures, [parameter.grad for parameter in parameters])


def _forget(tensors: list[Tensor]) -> None:
    for tensor in tensors:
        tensor.grad = None


class _Replay(torch.autograd.Function):
    """Replays a recording on new inputs; their gradients are those that the replay found.

    `anchor` needs a gradient, so that the loss can be sent backward where no input does.
    """

    @staticmethod
    def forward(ctx, recording: Recording, anchor: Tensor, *inputs: Tensor) -> Tensor:
        torch._foreach_copy_(recording.inputs, list(inputs))
        recording.graph.replay()
        ctx.recording = recording
        return recording.loss.clone()

    @staticmethod
    def backward(ctx, weight: Tensor) -> tuple:
        return (None, None, *(tensor.grad for tensor in ctx.recording.inputs))
