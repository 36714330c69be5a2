"""Noise put back: the state stays what its level says, samples stay right, and early errors are mended."""

from math import sqrt

import pytest
import torch
from diffusion.analytic import GaussianWorld

from cosmos_lab.config import Sampling
from cosmos_lab.diffusion import Churn, ab2, heun, karras, sample
from cosmos_lab.noise import Keyed, keyed
from cosmos_lab.pipelines import assembly

SHAPE = (1, 4, 3, 40, 40)
MEAN, SPREAD = 0.3, 0.7


def drawn(step):
    return keyed(1, SHAPE, purpose="churn", step=step)


def churn(noise=drawn, **changed):
    return Churn(**{"amount": 0.3, "low": 2.0, "high": 60.0, "noise": noise} | changed)


def test_the_raised_state_has_the_raised_level():
    x = 1.0 + 5.0 * keyed(2, SHAPE)
    raised, level = churn().raised(x, torch.tensor(5.0), 4)
    assert level == 6.5
    torch.testing.assert_close(raised, x + sqrt(6.5**2 - 5**2) * drawn(4))
    assert raised.std().item() == pytest.approx(6.5, rel=0.02) and raised.dtype == x.dtype
    for outside in (1.9, 61.0):
        same, level = churn().raised(x, torch.tensor(outside), 4)
        assert same is x and level == outside


@pytest.mark.parametrize("solver", [ab2, heun])
def test_a_perfect_denoiser_samples_the_data_with_churn_as_without(solver):
    world = GaussianWorld(mean=torch.full(SHAPE, MEAN), spread=SPREAD)
    for noisy in (None, churn()):
        found = sample(solver(world, 80 * keyed(3, SHAPE), karras(40), final_step="none", churn=noisy))
        # 19,200 numbers: standard errors of 0.005 and 0.0036, and what 40 steps leave.
        assert found.mean().item() == pytest.approx(MEAN, abs=0.02)
        assert found.std().item() == pytest.approx(SPREAD, rel=0.04)

    class Untold(Churn):
        """Adds the noise and does not say so."""

        def raised(self, x, sigma, index):
            return super().raised(x, sigma, index)[0], sigma

    silent = Untold(amount=0.3, low=0.2, high=60.0, noise=drawn)
    found = sample(solver(world, 80 * keyed(3, SHAPE), karras(40), final_step="none", churn=silent))
    assert found.std().item() > 1.1 * SPREAD


@pytest.mark.parametrize("solver", [ab2, heun])
def test_churn_mends_what_an_early_step_got_wrong(solver):
    """A denoiser that is wrong above sigma 20: the flow carries its error along, noise makes the sample forget it."""
    world = GaussianWorld(mean=torch.full(SHAPE, MEAN), spread=SPREAD)

    def wrong(x, sigma):
        return world(x, sigma) + (4.0 if sigma > 20 else 0.0)

    errors = [abs(sample(solver(wrong, 80 * keyed(3, SHAPE), karras(40), churn=noisy)).mean().item() - MEAN)
              for noisy in (None, churn(amount=0.4))]  # fmt: skip
    assert errors[0] > 0.1 and errors[1] < 0.3 * errors[0]


def test_a_churned_step_begins_anew():
    """What ab2 remembers from before the noise does not count: such a step is Euler's."""
    world, x, grid = GaussianWorld(mean=torch.zeros(SHAPE)), 80 * keyed(3, SHAPE), karras(8)
    steps = list(ab2(world, x, grid, churn=churn(low=1e-3, high=100.0)))
    assert [step.sigma for step in steps[:-1]] == pytest.approx([1.3 * level for level in grid[:-1].tolist()])
    for before, after in zip(steps[1:-2], steps[2:-1]):
        u = float(grid[after.index])
        euler = before.x0.double() + (before.x.double() - before.x0.double()) * u / before.sigma
        expected, _ = churn(low=1e-3, high=100.0).raised(euler.float(), grid[after.index], after.index)
        torch.testing.assert_close(after.x, expected, rtol=1e-5, atol=1e-5)


def test_a_card_says_when_and_an_edit_from_the_middle_has_none():
    sampling = Sampling(churn=0.3, churn_range=(2.0, 60.0), noise="keyed")
    noisy = assembly.churn(sampling, SHAPE, [Keyed(5), Keyed(6)])
    expected = torch.cat([keyed(seed, SHAPE, purpose="churn", step=3) for seed in (5, 6)])
    assert torch.equal(noisy.noise(3), expected)
    assert assembly.churn(Sampling(), SHAPE, [Keyed(5)]) is None
    world, x, grid = GaussianWorld(mean=torch.zeros(SHAPE)), 80 * keyed(3, SHAPE), karras(8)
    walked = [[step.sigma for step in assembly.walk(sampling, world, x, grid, start=start, churn=churn())][0]
              for start in (0, 2)]  # fmt: skip
    assert walked[0] == grid[0] and walked[1] == grid[2]
    plain, noised = (sample(assembly.walk(sampling, world, x, grid, churn=noisy)) for noisy in (None, churn()))
    assert not torch.equal(plain, noised)


@pytest.mark.parametrize("changed", [{"amount": 0.0}, {"amount": 1.5}, {"low": 0.0}, {"low": 60.0}])
def test_impossible_churn_is_refused(changed):
    with pytest.raises(ValueError, match="churn raises the noise"):
        churn(**changed)


def test_a_solver_without_churn_refuses_a_card_with_it():
    with pytest.raises(ValueError, match="know churn, euler does not"):
        Sampling(solver="euler", churn=0.3, churn_range=(2.0, 60.0))


def test_a_card_with_impossible_churn_is_refused():
    with pytest.raises(ValueError, match="not by 0.3 between 0 and 0"):
        Sampling(churn=0.3)
