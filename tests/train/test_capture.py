"""A replayed step must give what calling the function gives, for every shape and every input."""

import pytest
import torch
from torch import nn

from cosmos_lab.train.capture import Captured, Recording, held_inputs


class Rerun:
    """A stand-in for a CUDA graph: reads the held inputs and leaves its results in place, as a graph does."""

    def __init__(self, function, held, parameters):
        self.function, self.held, self.parameters, self.count = function, held, parameters, 0
        self.loss, self.figures = torch.zeros(()), {}
        self.gradients = [torch.zeros_like(parameter) for parameter in parameters]

    def replay(self):
        self.count += 1
        wanted = [*self.parameters, *(tensor for tensor in self.held if tensor.requires_grad)]
        with torch.enable_grad():
            loss, figures = self.function(*self.held)
            found = torch.autograd.grad(loss, wanted)
        self.loss.copy_(loss.detach())
        for name, value in figures.items():
            self.figures.setdefault(name, torch.zeros_like(value)).copy_(value)
        for place, gradient in zip(self.gradients, found):
            place.copy_(gradient)
        for tensor, gradient in zip(wanted[len(self.parameters) :], found[len(self.parameters) :]):
            tensor.grad = gradient


def record(function, inputs, parameters):
    rerun = Rerun(function, held_inputs(inputs), parameters)
    rerun.replay()
    return Recording(rerun, rerun.held, rerun.loss, rerun.figures, rerun.gradients)


@pytest.fixture
def parts():
    torch.manual_seed(0)
    network, words = nn.Linear(6, 3), nn.Embedding(5, 4)

    def step(x, text):
        error = (network(torch.cat([x, text], dim=1)) ** 2).mean()
        return error, {"error": error.detach()}

    return network, words, step


def gradients(network, words):
    found = [parameter.grad.clone() for module in (network, words) for parameter in module.parameters()]
    network.zero_grad(set_to_none=True)
    words.zero_grad(set_to_none=True)
    return found


def test_a_replayed_step_equals_the_plain_one(parts):
    network, words, step = parts
    captured = Captured(step, network, record=record)
    for rows in (2, 3, 2, 3):
        x, ids = torch.randn(rows, 2), torch.randint(5, (rows,))
        plain, figures = step(x, words(ids))
        plain.backward()
        wanted = gradients(network, words)
        loss, replayed = captured(x, words(ids))
        loss.backward()
        assert torch.equal(loss.detach(), plain.detach()) and torch.equal(replayed["error"], figures["error"])
        for found, expected in zip(gradients(network, words), wanted, strict=True):
            assert torch.equal(found, expected)
    assert len(captured.recordings) == 2
    assert all(recording.graph.count == 3 for recording in captured.recordings.values())


def test_a_loss_outlives_the_next_replay(parts):
    network, words, step = parts
    captured = Captured(step, network, record=record)
    first, figures = captured(torch.ones(2, 2), words(torch.tensor([0, 1])))
    kept, told = first.item(), figures["error"].item()
    captured(torch.zeros(2, 2), words(torch.tensor([2, 3])))
    assert first.item() == kept and figures["error"].item() == told


def test_without_a_gpu_the_function_is_called(parts):
    network, words, step = parts
    captured = Captured(step, network)
    loss, _ = captured(torch.ones(2, 2), words(torch.tensor([0, 1])))
    assert not captured.recordings and loss.grad_fn is not None


def test_inputs_that_need_no_gradient(parts):
    network, _, step = parts
    loss, _ = Captured(step, network, record=record)(torch.ones(2, 2), torch.ones(2, 4))
    loss.backward()
    assert all(parameter.grad is not None for parameter in network.parameters())


def test_inputs_that_begin_to_need_a_gradient_are_recorded_anew(parts):
    network, words, step = parts
    captured = Captured(step, network, record=record)
    captured(torch.ones(2, 2), torch.ones(2, 4))[0].backward()
    captured(torch.ones(2, 2), words(torch.tensor([0, 1])))[0].backward()
    assert words.weight.grad is not None and len(captured.recordings) == 2
