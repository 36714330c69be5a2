"""What the world model is asked while it learns."""

import pytest
import torch
from torch import nn

from cosmos_lab.train.world_model import (
    CONDITIONAL_TIME,
    LatentBank,
    WorldRecipe,
    draw_mask,
    draw_time,
    flow_error,
    world_loss,
)


class Oracle(nn.Module):
    """Knows latents and noise, answers the exact velocity plus `error`, and remembers what it was given."""

    def __init__(self, latents, noise, error=0.0):
        super().__init__()
        self.velocity = noise - latents + error

    def forward(self, x, timesteps, text, *, condition_mask):
        self.seen, self.timesteps, self.mask = x, timesteps, condition_mask
        return self.velocity


@pytest.fixture
def clip(generator):
    latents, noise = (torch.randn(2, 16, 3, 4, 6, generator=generator) for _ in range(2))
    mask = torch.tensor([[0.0, 0, 0], [1, 0, 0]])[:, None, :, None, None]
    return latents, noise, mask, torch.tensor([0.3, 0.7])


def test_the_exact_velocity_has_no_error(clip):
    latents, noise, mask, t = clip
    assert flow_error(Oracle(latents, noise), latents, None, t, mask, noise).abs().max() < 1e-10
    wrong = flow_error(Oracle(latents, noise, error=0.5), latents, None, t, mask, noise)
    assert torch.allclose(wrong, torch.full((2,), 0.25))


def test_given_latent_frames_are_clean_timed_and_free_of_loss(clip):
    latents, noise, mask, t = clip
    oracle = Oracle(latents, noise)
    with torch.no_grad():
        oracle.velocity[1, :, 0] += 100.0
    assert flow_error(oracle, latents, None, t, mask, noise).abs().max() < 1e-10
    assert torch.equal(oracle.seen[1, :, 0], latents[1, :, 0])
    assert not torch.equal(oracle.seen[0, :, 0], latents[0, :, 0])
    assert torch.allclose(oracle.timesteps, torch.tensor([[0.3, 0.3, 0.3], [CONDITIONAL_TIME, 0.7, 0.7]]))
    assert oracle.mask.shape == (2, 1, 3, 4, 6)
    assert oracle.mask[1, 0, 0].eq(1).all() and oracle.mask[:, :, 1:].eq(0).all()


def test_noise_levels_and_masks_follow_the_recipe(generator):
    recipe = WorldRecipe()
    log_sigma = torch.logit(draw_time(recipe, 20_000, generator).double())
    usual = log_sigma[log_sigma.abs() < 4]
    # Above 3.5 lie 2.3 % of the normal, and half of the 6 % from the high range between ln 8 and ln 160: 5.3 %.
    assert abs(usual.median() - recipe.sigma_mean) < 0.12 and 0.04 < (log_sigma > 3.5).double().mean() < 0.066
    counts = draw_mask(recipe, torch.zeros(8_000, 1, 9, 1, 1), generator).sum(dim=(1, 2, 3, 4))
    shares = [(counts == number).double().mean().item() for number in (0, 1, 2)]
    assert shares == pytest.approx(recipe.conditional, abs=0.02)
    assert draw_mask(recipe, torch.zeros(4, 1, 1, 1, 1), generator).eq(0).all()


def test_odds_must_add_up():
    with pytest.raises(ValueError, match="add up to 1"):
        WorldRecipe(conditional=(0.5, 0.5, 0.5))


class Listener(nn.Module):
    def __init__(self):
        super().__init__()
        self.shapes, self.silent = [], []

    def forward(self, x, timesteps, text, *, condition_mask):
        self.shapes.append(tuple(x.shape))
        self.silent.append((text == 0).all(dim=(1, 2)).double().mean().item())
        return torch.zeros_like(x, requires_grad=True)


class Ones(nn.Module):
    def forward(self, ids, mask):
        return torch.ones(*ids.shape, 4) * mask[..., None]


def test_short_clips_and_dropped_text(generator):
    latents = torch.randn(6, 16, 4, 4, 6, generator=generator).half()
    bank, dit = LatentBank(latents=latents, tokens=torch.ones(6, 2, 5).short()), Listener()
    modules = nn.ModuleDict({"dit": dit, "text": Ones()})
    loss = world_loss(modules, bank, WorldRecipe(batch=50, short_every=2, short=((1, 2), (3, 1)), text_dropout=0.5))
    for step in range(8):
        loss(step, generator)
    lengths = [shape[2] for shape in dit.shapes]
    assert lengths == [1, 4, 3, 4, 1, 4, 3, 4] and dit.shapes[0][0] == 100 and dit.shapes[1][0] == 50
    assert 0.4 < sum(dit.silent) / 8 < 0.6
    with pytest.raises(ValueError, match="1 latent frame, or 3 and more"):
        WorldRecipe(short=((2, 1),))
