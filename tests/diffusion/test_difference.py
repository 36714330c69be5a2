"""FlowEdit between worlds whose edit is known, in the coordinates of both kinds of solvers."""

import pytest
import torch
from diffusion.analytic import GaussianFlow, GaussianWorld
from torch.testing import assert_close

from cosmos_lab.diffusion import Difference, euler, karras, sample

SHAPE = (1, 2, 3, 4, 5)


def edited(target, source, latents, grid, noised, start=0):
    change = Difference(target=target, source=source, latents=latents, noised=noised)
    return sample(euler(change, latents, grid, start=start))


@pytest.fixture
def latents(generator):
    return torch.randn(SHAPE, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("start", [0, 1500])
def test_between_gaussians_it_moves_the_clip_by_the_difference_of_their_means(latents, generator, start):
    """With spread p, d = x - latents obeys dd/ds = (d - m) s / (p^2 + s^2), m the difference of the means: from
    sigma S it ends at m (1 - p / sqrt(p^2 + S^2)), whatever the noise."""
    here, there = (torch.randn(SHAPE, generator=generator, dtype=torch.float64) for _ in range(2))
    grid = torch.cat([karras(3000, sigma_max=20.0), torch.zeros(1, dtype=torch.float64)])

    def noised(sigma, number):
        return latents + sigma * torch.randn(SHAPE, generator=generator, dtype=torch.float64)

    found = edited(GaussianWorld(there), GaussianWorld(here), latents, grid, noised, start)
    share = 1 - 0.7 / (0.7**2 + grid[start] ** 2) ** 0.5
    assert_close(found - latents, share * (there - here), rtol=0, atol=2e-3)


def test_on_the_flow_axis_it_moves_it_likewise(latents, generator):
    """From t = 0.95 on, checked against a thousand times finer steps of the same equation, solved for its number."""
    here, there = (torch.full(SHAPE, mean, dtype=torch.float64) for mean in (-0.4, 0.8))
    grid = torch.linspace(0.95, 0, 2001, dtype=torch.float64)

    def noised(t, number):
        return (1 - t) * latents + t * torch.randn(SHAPE, generator=generator, dtype=torch.float64)

    found = edited(GaussianFlow(there), GaussianFlow(here), latents, grid, noised)
    d, fine = 0.0, torch.linspace(0.95, 0, 200_001, dtype=torch.float64).tolist()
    for t, u in zip(fine, fine[1:]):
        # x0 of (y + d) minus x0 of y, with sigma = t / (1 - t) and p = 0.7.
        sigma2 = (t / (1 - t)) ** 2
        x0 = (d / (1 - t) * 0.49 + 1.2 * sigma2) / (0.49 + sigma2)
        d += (d - x0) / t * (u - t)
    assert_close(found - latents, torch.full_like(latents, d), rtol=0, atol=2e-3)


def test_between_equals_nothing_changes(latents):
    world = GaussianWorld(torch.zeros(SHAPE, dtype=torch.float64))
    assert torch.equal(edited(world, world, latents, karras(5), lambda sigma, number: latents + sigma), latents)


def test_with_a_source_that_is_known_exactly_it_is_sdedit(latents):
    """If the source's denoiser always finds the clip and the noise stays the same, x + sigma eps is SDEdit's state."""
    world, eps, grid = GaussianWorld(torch.ones(SHAPE, dtype=torch.float64)), torch.randn_like(latents), karras(8)
    found = edited(world, lambda x, sigma: latents, latents, grid, lambda sigma, number: latents + sigma * eps)
    plain = sample(euler(world, latents + grid[0] * eps, grid))
    assert_close(found + grid[-1] * eps, plain)


def test_it_averages_what_each_noise_says(latents, generator):
    """Of a denoiser that bends, so that the noise matters; one noise is what it would be alone, bit for bit."""
    noises = [torch.randn(SHAPE, generator=generator, dtype=torch.float64) for _ in range(3)]
    sigma, x = torch.tensor(0.5, dtype=torch.float64), latents + 0.1

    def change(numbers):
        return Difference(target=lambda y, s: y.tanh(), source=lambda y, s: y.sin(), latents=latents,
                          noised=lambda s, n: latents + s * noises[numbers[n]], draws=len(numbers))(x, s)  # fmt: skip

    s = sigma
    alone = [change([number]) for number in range(3)]
    seen = latents + s * noises[1]
    assert torch.equal(alone[1], latents + ((seen + (x - latents)).tanh() - seen.sin()))
    assert_close(change([0, 1, 2]), sum(alone) / 3, rtol=0, atol=1e-14)
    assert (alone[0] - alone[1]).abs().max() > 0.1
