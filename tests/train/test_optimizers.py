"""Muon: equal to PyTorch's on matrices, the same for kernels, and only where it belongs."""

import pytest
import torch
from torch import nn

from cosmos_lab.train.optimizers import Muon, make_optimizers, orthogonalize


def test_singular_values_move_near_one(generator):
    for shape in ((3, 8, 20), (2, 20, 8)):
        values = torch.linalg.svdvals(orthogonalize(torch.randn(shape, generator=generator)).float())
        assert values.min() > 0.6 and values.max() < 1.3


@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_equals_the_one_of_pytorch(generator, decay):
    start = [torch.randn(shape, generator=generator) for shape in ((6, 9), (6, 9), (12, 5))]
    ours, theirs = ([nn.Parameter(value.clone()) for value in start] for _ in range(2))
    mine = Muon(ours, lr=0.02, weight_decay=decay)
    other = torch.optim.Muon(theirs, lr=0.02, weight_decay=decay, adjust_lr_fn="match_rms_adamw")
    for _ in range(4):
        for a, b in zip(ours, theirs):
            a.grad = torch.randn(a.shape, generator=generator)
            b.grad = a.grad.clone()
        mine.step()
        other.step()
    # bfloat16 iterations differ in the last bit between a batch and one matrix; an update is about 0.02 * 0.2.
    moved = max((b - value).abs().max() for b, value in zip(theirs, start))
    error = max((a - b).abs().max() for a, b in zip(ours, theirs))
    assert error < 0.02 * moved


def test_a_kernel_is_the_matrix_of_its_inputs(generator):
    kernel = nn.Parameter(torch.randn(6, 4, 1, 3, 3, generator=generator))
    matrix = nn.Parameter(kernel.detach().flatten(1).clone())
    kernel.grad = torch.randn(kernel.shape, generator=generator)
    matrix.grad = kernel.grad.flatten(1).clone()
    Muon([kernel], lr=0.1).step()
    Muon([matrix], lr=0.1).step()
    assert torch.equal(kernel.flatten(1), matrix)


def test_tables_and_vectors_stay_with_adamw():
    modules = nn.ModuleDict({"table": nn.Embedding(5, 4), "map": nn.Linear(4, 3), "kernel": nn.Conv3d(2, 3, 1)})
    settings = {"lr": 1e-3, "weight_decay": 0.1, "betas": (0.9, 0.99)}
    adam, muon = make_optimizers(modules, kind="muon", **settings)
    held = [parameter for group in muon.param_groups for parameter in group["params"]]
    assert [p.shape for p in held] == [modules["map"].weight.shape, modules["kernel"].weight.shape]
    assert [[p.shape for p in group["params"]] for group in adam.param_groups] == [[(5, 4)], [(3,), (3,)]]
    assert [group["weight_decay"] for group in adam.param_groups] == [0.1, 0.0]
    (alone,) = make_optimizers(modules, kind="adamw", **settings)
    assert sum(len(group["params"]) for group in alone.param_groups) == 5
