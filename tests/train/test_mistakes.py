"""Clips that are seen with a trace of a mistake and have to be mended."""

import json
import shutil
from dataclasses import replace

import pytest
import torch
from random_nano import random_nano  # noqa: F401
from torch import nn

from cosmos_lab.pipelines.generate import load
from cosmos_lab.runtime.ranks import Ranks
from cosmos_lab.train import nano, world_model
from cosmos_lab.train.clips import ClipSource, Pool, mistakes_of, render_parts
from cosmos_lab.train.loop import Plan
from cosmos_lab.train.mistakes import MOST, traced
from cosmos_lab.train.stage import Stage
from cosmos_lab.train.states import object_bank
from cosmos_lab.train.world_model import LatentBank, WorldRecipe, flow_error, world_loss
from cosmos_lab.worlds.families import sample_rollout
from cosmos_lab.worlds.mistakes import JUDGED, MENDED
from cosmos_lab.worlds.mixture import simulate_many
from cosmos_lab.worlds.render import render


def test_half_of_the_clips_carry_a_trace_that_fades_with_the_noise(generator):
    right, wrong = torch.zeros(4000, 1, 1, 1, 1), torch.ones(4000, 1, 1, 1, 1)
    for t, most in ((0.9, MOST), (0.5, MOST), (0.2, MOST / 4)):
        shares = traced(right, wrong, torch.full((4000,), t), generator).flatten()
        assert abs((shares > 0).double().mean() - 0.5) < 0.03
        assert shares.max() <= most + 1e-6 and abs(shares.double().mean() - most / 4) < 0.05 * most
    assert torch.equal(traced(wrong, wrong, torch.full((4000,), 0.5), generator), wrong)


@pytest.mark.parametrize("time", [0.05, 0.5, 0.95])
def test_the_velocity_asked_for_leads_from_what_is_shown_to_the_clip_without_it(generator, time):
    """x_t - t v = x0 for the only v without error, whatever lay under the noise."""
    latents, shown, noise = (torch.randn(2, 16, 3, 4, 6, generator=generator).double() for _ in range(3))
    t, mask = torch.full((2,), time).double(), torch.zeros(2, 1, 3, 1, 1)

    class Mender(nn.Module):
        def forward(self, x, timesteps, text, *, condition_mask):
            return (x - latents) / time

    assert flow_error(Mender(), latents, None, t, mask, noise, shown=shown).max() < 1e-6
    off = flow_error(Mender(), latents + 1, None, t, mask, noise, shown=shown)
    assert off.tolist() == pytest.approx([1 / time**2] * 2, rel=1e-4)


class Keeper(nn.Module):
    """Remembers what it saw."""

    def forward(self, x, timesteps, text, *, condition_mask):
        self.seen, self.mask = x, condition_mask
        return torch.zeros_like(x, requires_grad=True)


class Ones(nn.Module):
    def forward(self, ids, mask):
        return torch.ones(*ids.shape, 4) * mask[..., None]


@pytest.mark.parametrize("length", [None, 3])
def test_a_step_shows_mistakes_but_never_in_given_latent_frames(generator, length):
    """Clips are 0, their mistakes 1e4, at t = 0.5; those of the last two clips are as the clips."""
    latents = torch.zeros(6, 16, 4, 4, 6).half()
    mistaken = latents.clone()
    mistaken[:4] = 1e4
    bank = LatentBank(latents=latents, tokens=torch.ones(6, 2, 5).short(), mistaken=mistaken)
    dit = Keeper()
    recipe = WorldRecipe(batch=200, conditional=(0.0, 1.0, 0.0), short_every=1 if length else 0, short=((3, 1),),
                         sigma_mean=0.0, sigma_std=0.0, high_noise=0.0)  # fmt: skip
    world_loss(nn.ModuleDict({"dit": dit, "text": Ones()}), bank, recipe)(1 if length else 0, generator)
    assert dit.seen.shape[2] == (length or 4) and dit.seen[:, :, 0].abs().max() == 0
    marked = dit.seen[:, :, 1:].amax(dim=(1, 2, 3, 4)) > 20
    # Two thirds of the clips have a mistake, half of these show it.
    assert 0.2 < marked.double().mean() < 0.47 and dit.seen.max() <= 0.5 * MOST * 1e4 + 5


@pytest.mark.parametrize("judged, odds", [(False, MENDED), (True, JUDGED)])
def test_a_share_of_clips_is_rendered_once_more_with_its_mistake(judged, odds):
    source = ClipSource(count=3, first_seed=20, workers=1, mistakes=1.0, judged=judged)
    (pool,) = render_parts(source, Ranks(), progress=False)
    wrong = mistakes_of(pool.rollouts, 1.0, odds)
    other = mistakes_of(pool.rollouts, 1.0, JUDGED if odds is MENDED else MENDED)
    assert any(wrong[place][0].scene.bodies != other[place][0].scene.bodies for place in wrong)
    assert sorted(wrong) == sorted(pool.mistaken_from.tolist()) and wrong
    for place, pixels in zip(pool.mistaken_from.tolist(), pool.mistaken.pixels, strict=True):
        rollout, part = wrong[place]
        assert torch.equal(pixels[part], render(rollout).pixels[0, part])
        others = [number for number in range(33) if not part.start <= number < part.stop]
        assert torch.equal(pixels[others], pool.pixels[place, others])
        assert not torch.equal(pixels[part], pool.pixels[place, part])
    (plain,) = render_parts(ClipSource(count=3, first_seed=20, workers=1), Ranks(), progress=False)
    assert plain.mistaken is None and torch.equal(plain.pixels, pool.pixels)
    assert plain.wrong_captions is None and len(pool.wrong_captions or []) == (9 if judged else 0)


def test_which_clips_get_which_mistake_is_a_matter_of_their_seeds():
    rollouts = list(simulate_many(range(20, 26)))
    whole, half = mistakes_of(rollouts, 1.0, MENDED), mistakes_of(rollouts, 0.5, MENDED)
    assert len(whole) > len(half) > 0 and mistakes_of(rollouts, 0.0, MENDED) == {}
    for place, (rollout, part) in half.items():
        assert (rollout.scene, part) == (whole[place][0].scene, whole[place][1])


def test_a_mistake_counts_as_much_as_what_is_right():
    """An object of the mistake alone weighs like one of the clip."""
    rollout = sample_rollout(7, family="fall")
    pixels, index = torch.zeros(1, 33, 112, 192, 3, dtype=torch.uint8), torch.full((1, 33, 112, 192), -1)
    told = {"rollouts": [rollout], "captions": [], "meanings": torch.zeros(0, 1)}
    empty = Pool(pixels=pixels, body_index=index.to(torch.int8), **told)
    index[:, 10:, 40:60, 40:60] = rollout.scene.index(rollout.scene.objects[0].name)
    shown = Pool(pixels=pixels, body_index=index.to(torch.int8), **told)
    objects = object_bank(shown)
    assert not object_bank(empty).any() and 0 < objects.sum() < objects.numel()
    wrong = replace(empty, mistaken=shown, mistaken_from=torch.tensor([0]))
    assert torch.equal(object_bank(wrong), objects)
    none = replace(shown, mistaken=shown.first(0), mistaken_from=torch.zeros(0, dtype=torch.int64))
    assert torch.equal(object_bank(none), objects)


def test_the_stage_learns_from_clips_with_mistakes(random_nano, tmp_path, monkeypatch, generator):  # noqa: F811
    folder = shutil.copytree(random_nano, tmp_path / "run")
    pipe = load(random_nano)
    dit, text = load(random_nano).model.dit.requires_grad_(), pipe.model.text
    text.model.requires_grad_()
    before = {name: weight.clone() for name, weight in dit.state_dict().items()}
    monkeypatch.setattr(nano, "build_dit", lambda where, ranks: dit)
    monkeypatch.setattr(nano, "build_text", lambda where, ranks: text)
    monkeypatch.setattr(nano, "build_vae", lambda where, ranks: pipe.model.vae)
    latents = torch.randn(2, 16, 3, 4, 6, generator=generator).half()
    bank = LatentBank(latents=latents, tokens=torch.ones(2, 1, 8).short(), mistaken=-latents)
    seen = []
    monkeypatch.setattr(world_model, "traced", lambda right, wrong, t, generator: seen.append(wrong) or right)
    monkeypatch.setattr(nano, "latent_bank", lambda pool, vae, text: bank)
    monkeypatch.setattr(nano, "world_bank", lambda pools, vae, text, **asked: bank)
    monkeypatch.setattr(nano, "caption_shuffle_ratio", lambda modules, bank: {"validation_loss": 0.0})
    stage = Stage(folder=folder, source=ClipSource(count=2), plan=Plan(steps=2, warmup=0, log_every=1),
                       ranks=Ranks(), batch=2, compile=False)  # fmt: skip
    nano.train_world_stage(stage, [], None, WorldRecipe(batch=2, short_every=0))
    assert len(seen) == 2 and all(torch.isin(wrong, -latents.float()).all() for wrong in seen)
    assert any(not torch.equal(weight, before[name]) for name, weight in dit.state_dict().items())
    assert json.loads((folder / "world_training.json").read_text())["figures"]["steps"] == 2
