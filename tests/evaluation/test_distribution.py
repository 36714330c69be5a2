"""Fréchet distances against closed forms."""

import pytest
import torch

from cosmos_lab.evaluation.distribution import frechet_distance, halves_distance, symmetric_root


@pytest.fixture
def features(generator):
    return torch.randn(400, 6, generator=generator) @ torch.randn(6, 6, generator=generator)


def test_a_set_is_at_no_distance_from_itself(features):
    assert frechet_distance(features, features) == pytest.approx(0, abs=1e-6)


def test_a_shift_costs_its_square(features):
    shift = torch.tensor([3.0, 0, 4.0, 0, 0, 0])
    assert frechet_distance(features, features + shift) == pytest.approx(25, rel=1e-4)


def test_stretching_costs_the_squared_difference_of_deviations():
    line = torch.linspace(-1, 1, 101)[:, None]
    deviation = float(line.double().std())
    assert frechet_distance(line, 3 * line) == pytest.approx((2 * deviation) ** 2, rel=1e-6)


def test_it_is_symmetric_and_blind_to_order(features, generator):
    other = torch.randn(300, 6, generator=generator)
    forth, back = frechet_distance(features, other), frechet_distance(other.flip(0), features)
    assert forth == pytest.approx(back, rel=1e-6) and forth > 1


def test_root_squares_back(features):
    matrix = torch.cov(features.double().T)
    assert torch.allclose(symmetric_root(matrix) @ symmetric_root(matrix), matrix, atol=1e-8)


def test_real_against_real_is_nearer_than_another_set(features, generator):
    real, spread = halves_distance(features, features, generator)
    other, _ = halves_distance(features * 2 + 1, features, generator)
    assert 0 < real < other and spread < other


def test_too_few_or_unlike_clips_are_refused(features, generator):
    with pytest.raises(ValueError, match="at least two"):
        frechet_distance(features[:1], features)
    with pytest.raises(ValueError, match="same scenes"):
        halves_distance(features[:10], features[:9], generator)
