"""Clips that the world model draws again: their own content, from some noise, and the same noise for a mistake."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from cosmos_lab.train.mistakes import VISIBLE
from cosmos_lab.train.redrawn import STEPS, drawn_again, redrawing, redrawn
from cosmos_lab.train.world_model import LatentBank


class Drawer(nn.Module):
    """Answers the velocity that leads to `goal`, and remembers what it was asked."""

    config = SimpleNamespace(text_width=8)

    def __init__(self, goal=0.0):
        super().__init__()
        self.goal, self.asked = goal, []

    def forward(self, x, timesteps, text):
        self.asked.append((x, timesteps, text))
        return (x - self.goal) / timesteps.view(-1, 1, 1, 1, 1)


def test_it_begins_in_noise_and_ends_where_the_model_leads(generator):
    latents = torch.randn(50, 4, 2, 4, 4, generator=generator)
    t, noise = torch.rand(50, generator=generator) * 0.6 + 0.1, torch.randn(latents.shape, generator=generator)
    drawer = Drawer(goal=2.0)
    assert torch.allclose(drawn_again(drawer, latents, t, noise), torch.full_like(latents, 2.0), atol=1e-4)
    (seen, times, text), *others = drawer.asked
    at = t.view(-1, 1, 1, 1, 1)
    assert torch.equal(seen, (1 - at) * latents + at * noise) and torch.equal(times, t)
    assert text.shape == (50, 1, 8) and not text.any() and len(others) == STEPS - 1
    assert all(torch.allclose(later[1], t * (1 - (step + 1) / STEPS)) for step, later in enumerate(others))


@pytest.fixture
def bank(generator):
    """Of 200 clips every other one has a mistake that can be seen, in its second latent frame."""
    latents = torch.randn(200, 4, 2, 4, 4, generator=generator).half()
    mistaken = latents.clone()
    mistaken[::2, :, 1] += 4 * VISIBLE
    mistaken[1::2] += 0.9 * VISIBLE
    return LatentBank(latents=latents, mistaken=mistaken, tokens=torch.arange(200).view(200, 1, 1).short())


class Lingering(Drawer):
    """Leads nowhere: what it was shown stays, and a trace of it reaches all latent frames."""

    def forward(self, x, timesteps, text):
        super().forward(x, timesteps, text)
        return 0.01 * x.mean(dim=2, keepdim=True).expand_as(x)


def test_a_share_of_clips_and_mistakes_is_drawn_again_under_one_noise(bank, generator):
    drawer = Lingering()
    made = redrawn(bank, drawer, 0.4, (0.2, 2.0), generator, batch=32)
    other = (made.latents != bank.latents).flatten(1).any(dim=1)
    assert other.sum() == 80 and torch.equal(made.latents[~other], bank.latents[~other])
    assert torch.equal(made.mistaken[~other], bank.mistaken[~other]) and torch.equal(made.tokens, bank.tokens)
    # x_t of the two differ by (1 - t) of what they differ by themselves, where that can be seen, and not at all else.
    times = torch.cat([times for _, times, _ in drawer.asked[:: 2 * STEPS]])
    gap = (made.mistaken - made.latents).float()[other]
    seen = other.nonzero()[:, 0] % 2 == 0
    # Nor in latent frames that showed none.
    assert gap[~seen].abs().max() == 0 and 0 < seen.sum() < 80 and gap[seen][:, :, 0].abs().max() == 0
    share = gap[seen][:, :, 1].mean(dim=(1, 2, 3)) / (4 * VISIBLE)
    sigma = times / (1 - times)
    assert 0.2 <= sigma.min() < 0.3 and 1.5 < sigma.max() <= 2.0
    assert sigma.median() == pytest.approx(0.4**0.5, rel=0.3)
    assert share.min() > 1 / 3 - 0.02 and share.max() < 1 / 1.2 + 0.02


def test_nothing_and_all_may_be_drawn_again(bank, generator):
    none, all_ = (redrawn(bank, Lingering(), share, (0.2, 2.0), generator) for share in (0.0, 1.0))
    assert torch.equal(none.latents, bank.latents)
    assert (all_.latents != bank.latents).flatten(1).any(dim=1).all()


def test_latents_are_drawn_again_each_from_noise_of_its_own(generator):
    latents = torch.randn(400, 4, 2, 4, 4, generator=generator)
    drawer = Lingering()
    made = redrawing(drawer, (0.2, 1.0))(latents, generator)
    times = drawer.asked[0][1]
    sigma = times / (1 - times)
    assert 0.2 <= sigma.min() < 0.21 and 0.95 < sigma.max() <= 1.0
    assert sigma.median() == pytest.approx(0.2**0.5, rel=0.1)
    # What leads nowhere leaves the noise where it is: as much of it as each began with.
    left = (made - (1 - times.view(-1, 1, 1, 1, 1)) * latents).flatten(1).std(dim=1)
    assert torch.allclose(left, times, rtol=0.3, atol=0.02)
