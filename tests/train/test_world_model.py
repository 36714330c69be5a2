"""What the world model is asked while it learns."""

from dataclasses import replace

import pytest
import torch
from einops import repeat
from torch import nn

from cosmos_lab.train.world_model import (
    CONDITIONAL_TIME,
    LatentBank,
    WorldRecipe,
    draw_mask,
    draw_time,
    flow_error,
    place_weight,
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
    # Above 3.5 lie 4.3 % of the normal, and half of the 10 % from the high range between ln 8 and ln 160: 9.1 %.
    assert abs(usual.median() - recipe.sigma_mean) < 0.15 and 0.078 < (log_sigma > 3.5).double().mean() < 0.104
    counts = draw_mask(recipe, torch.zeros(8_000, 1, 9, 1, 1), generator).sum(dim=(1, 2, 3, 4))
    shares = [(counts == number).double().mean().item() for number in (0, 1, 2)]
    assert shares == pytest.approx(recipe.conditional, abs=0.02)
    assert draw_mask(recipe, torch.zeros(4, 1, 1, 1, 1), generator).eq(0).all()


def test_errors_count_more_where_objects_are(clip):
    """Of an error on a sixth of the places, a weight of 1 + 16 / 4 there makes 5 / (5 + 5) of the mean, not 1 / 6."""
    latents, noise, mask, _ = clip
    t = torch.tensor([0.5, 0.5])
    objects = torch.zeros(2, 3, 2, 3)
    objects[:, :, 0, 1] = 1
    weight = place_weight(objects, 16.0, t)
    assert weight.shape == (2, 1, 3, 4, 6) and weight[0, 0, 0, :2, 2:4].eq(5).all()
    assert weight.sum() == 2 * 3 * (24 + 4 * 4)
    oracle = Oracle(latents, noise)
    oracle.velocity = oracle.velocity + repeat(objects, "b t h w -> b 1 t (h i) (w j)", i=2, j=2)
    plain, weighted = (flow_error(oracle, latents, None, t, mask, noise, w) for w in (None, weight))
    assert torch.allclose(plain, torch.full((2,), 1 / 6)) and torch.allclose(weighted, torch.full((2,), 0.5))
    assert torch.equal(place_weight(objects, 0.0, t), torch.ones(2, 1, 3, 4, 6))


def test_where_noise_hides_objects_their_weight_is_that_of_all_else():
    """Of objects that are there or not by chance, the best guess must stay the mean, half an object."""
    there = torch.tensor([0.0, 1.0])[:, None, None, None]
    for t, guess in ((0.01, 5 / 6), (0.99, 0.5)):
        weight = place_weight(there, 4.0, torch.full((2,), t)).flatten(1)[:, 0]
        assert (weight * there.flatten()).sum() / weight.sum() == pytest.approx(guess, abs=0.005)


def test_clips_from_mid_motion_are_continued_never_begun(generator):
    """They have 2 given latent frames whatever the odds, and no single picture is taken from them."""
    later = torch.tensor([True, False, False, True])
    mask = draw_mask(WorldRecipe(conditional=(1.0, 0.0, 0.0)), torch.zeros(4, 1, 9, 1, 1), generator, later)
    assert mask.sum(dim=(1, 2, 3, 4)).tolist() == [2, 0, 0, 2]
    assert draw_mask(WorldRecipe(), torch.zeros(4, 1, 1, 1, 1), generator, later).eq(0).all()
    latents = torch.arange(4.0)[:, None, None, None, None].expand(4, 16, 3, 4, 6).half()
    bank = LatentBank(latents=latents, tokens=torch.ones(4, 1, 5).short(), later=later)
    drawn = bank.draw(200, generator)
    assert set(drawn.latents[:, 0, 0, 0, 0].tolist()) == {0, 1, 2, 3}
    assert torch.equal(drawn.later, (drawn.latents[:, 0, 0, 0, 0] % 3) == 0)
    assert set(bank.draw(200, generator, beginnings=True).latents[:, 0, 0, 0, 0].tolist()) == {1, 2}


def test_odds_must_add_up():
    with pytest.raises(ValueError, match="add up to 1"):
        WorldRecipe(conditional=(0.5, 0.5, 0.5))


class Listener(nn.Module):
    def __init__(self):
        super().__init__()
        self.shapes, self.silent = [], []

    def forward(self, x, timesteps, text, *, condition_mask):
        self.shapes.append(tuple(x.shape))
        self.x, self.mask = x, condition_mask
        self.silent.append((text == 0).all(dim=(1, 2)).double().mean().item())
        return torch.zeros_like(x, requires_grad=True)


class Ones(nn.Module):
    def forward(self, ids, mask):
        return torch.ones(*ids.shape, 4) * mask[..., None]


def test_a_step_weighs_objects_and_continues_later_clips(generator):
    """Clips 4 and 5 begin later and lie at 1e5; of the others, a sixth of the places lies at 100 and is an object's."""
    objects = torch.zeros(6, 4, 2, 3, dtype=torch.bool)
    objects[:, :, 0, 1] = True
    latents = 100.0 * repeat(objects.float(), "b t h w -> b 16 t (h i) (w j)", i=2, j=2)
    latents[4:] = 1e5
    later = torch.arange(6) >= 4
    bank = LatentBank(latents=latents, tokens=torch.ones(6, 2, 5).short(), objects=objects, later=later)
    dit = Listener()
    modules = nn.ModuleDict({"dit": dit, "text": Ones()})
    # All at t = 0.5, where errors on objects count 1 + 16 / 4 times.
    recipe = WorldRecipe(batch=60, conditional=(1.0, 0.0, 0.0), short_every=2, short=((1, 2),), object_weight=16.0,
                         sigma_mean=0.0, sigma_std=0.0, high_noise=0.0)  # fmt: skip
    loss = world_loss(modules, bank, recipe)
    picture, _ = loss(0, generator)
    # An untrained network's error is noise - latents: 1 on the background, 1e4 on objects, which make half of the mean.
    assert picture.item() == pytest.approx(0.5 * 1e4, rel=0.01) and dit.x.abs().max() < 1e3
    loss(1, generator)
    given, starts_far = dit.mask[:, 0, :, 0, 0].sum(dim=1), dit.x[:, 0, 0, 0, 0] == 1e5
    assert torch.equal(given, 2.0 * starts_far) and 0 < starts_far.sum() < 60
    with pytest.raises(ValueError, match="add some"):
        replace(bank, later=torch.ones(6, dtype=torch.bool)).draw(2, generator, beginnings=True)
    with pytest.raises(ValueError, match="object_weight is 0 or more"):
        WorldRecipe(object_weight=-1.0)


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
