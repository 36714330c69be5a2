"""How far apart two sets of clips lie, as a Fréchet distance between the reader's clip features."""

import torch
from torch import Tensor


def frechet_distance(a: Tensor, b: Tensor) -> float:
    """|m_a - m_b|^2 + tr(C_a + C_b - 2 (C_a C_b)^{1/2}), the squared 2-Wasserstein distance of two fitted Gaussians.

    `a` (N, D) and `b` (M, D) are features of clips. The last trace is the sum of singular values of
    C_a^{1/2} C_b^{1/2}, which needs no matrix root of a product that is not symmetric. ValueError below two clips.
    """
    if min(len(a), len(b)) < 2:
        raise ValueError(f"a covariance needs at least two clips on each side, not {len(a)} and {len(b)}")
    a, b = a.double(), b.double()
    roots = [symmetric_root(torch.atleast_2d(torch.cov(features.T))) for features in (a, b)]
    cross = torch.linalg.matrix_norm(roots[0] @ roots[1], ord="nuc")
    spread = sum(root.square().sum() for root in roots) - 2 * cross
    return float((a.mean(dim=0) - b.mean(dim=0)).square().sum() + spread)


def symmetric_root(matrix: Tensor) -> Tensor:
    """The positive semi-definite square root of a symmetric positive semi-definite matrix (D, D)."""
    values, vectors = torch.linalg.eigh(matrix)
    return (vectors * values.clamp(min=0).sqrt()) @ vectors.T


def halves_distance(a: Tensor, b: Tensor, generator: torch.Generator, repeats: int = 5) -> tuple[float, float]:
    """Fréchet distance of a random half of `a` (N, D) from the other half of `b` (N, D): mean and spread over splits.

    Row i of both shows the same scene, so the halves share none. With `b` equal to `a` it is real against real: a
    finite sample is never at distance zero from another, and a model's figure means something only beside that one.
    """
    if len(a) != len(b):
        raise ValueError(f"both sides must show the same scenes, but there are {len(a)} and {len(b)} clips")
    distances = []
    for _ in range(repeats):
        order = torch.randperm(len(a), generator=generator)
        first, second = order.chunk(2)
        distances.append(frechet_distance(a[first], b[second]))
    spread = torch.tensor(distances)
    return float(spread.mean()), float(spread.std())
