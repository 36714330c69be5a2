"""Trials: pairs of one prompt, judged by the ruler, and a step that moves a model from what fails to what obeys."""

import shutil
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from made_worlds import ball, cube, reading, scene, track
from random_nano import random_nano, write_random_nano  # noqa: F401
from torch import nn

from cosmos_lab.evaluation.obedience import asked
from cosmos_lab.pipelines.generate import load
from cosmos_lab.runtime.ranks import Ranks
from cosmos_lab.train import nano
from cosmos_lab.train import trials as module
from cosmos_lab.train.clips import ClipSource
from cosmos_lab.train.loop import Plan
from cosmos_lab.train.states import StateHead
from cosmos_lab.train.trial_loss import by_turns, trial_loss, wanted_velocity
from cosmos_lab.train.trials import Trials, ask, fingerprint, make_trials, shows, training_prompts
from cosmos_lab.train.world_model import LatentBank, WorldRecipe, flow_error
from cosmos_lab.worlds.captions import describe
from cosmos_lab.worlds.families import draw_scene
from cosmos_lab.worlds.split import is_withheld

NANO = Path(__file__).parents[2] / "assets" / "nano"


def test_prompts_are_those_of_training_alone_and_say_enough():
    source = ClipSource(count=60, first_seed=500)
    prompts = list(training_prompts(source))
    withheld = sum(is_withheld(draw_scene(seed)) for seed in range(500, 560))
    assert 0 < withheld == 60 - len(prompts)
    assert all(prompt.shapes and prompt.motion and not prompt.withheld and text for text, prompt in prompts)
    towers = [prompt for _, prompt in training_prompts(ClipSource(count=20, odds=dict.fromkeys(
        ("fall", "roll", "ramp", "dominoes", "pendulum", "arm", "hide"), 0.0)))]  # fmt: skip
    assert towers and all(prompt.motion.startswith("tower") for prompt in towers)


def test_a_clip_shows_a_prompt_if_all_is_right_and_nothing_vanishes():
    made = scene([ball(), cube()], resting=["cube"])
    prompt = asked(made, describe(made, "sentence"))
    still = np.tile([[60.0, 50.0]], (33, 1))
    red, blue = track(still), track(still + 50, color="blue", shape="box")
    right = {"count": "2", "camera": made.camera, "floor": made.floor, "light": made.light, "motion": made.motion}
    assert shows(reading([red, blue], **right), prompt)
    assert not shows(reading([red, replace(blue, color="green")], **right), prompt)
    assert not shows(reading([red, blue], **right | {"motion": "fall"}), prompt)
    area = np.where(np.arange(33) < 20, 300.0, 0.0)
    vanishing = reading([replace(red, area=area), blue], classes=np.zeros((33, 56, 96), np.uint8), **right)
    assert not shows(vanishing, prompt)


class Answering:
    """A model whose clips are single numbers, their seeds, and a judge who knows what the seeds should give."""

    def __init__(self, monkeypatch, verdicts):
        self.seeds, self.verdicts = [], verdicts
        monkeypatch.setattr(module, "denoise_batches", self.denoise)
        monkeypatch.setattr(module, "decode_batch", lambda pipe, latents: list(latents[:, 0].numpy()))
        monkeypatch.setattr(module, "read", lambda reader, clips: [int(clip.item()) for clip in clips])
        text = SimpleNamespace(tokenize=lambda texts: SimpleNamespace(ids=torch.tensor([[ord(t[0])] for t in texts])))
        self.pipe = SimpleNamespace(card=SimpleNamespace(sampling=SimpleNamespace(sigma_data=1.0)),
                                    model=SimpleNamespace(text=text))  # fmt: skip

    def denoise(self, pipe, texts, seeds):
        """Small numbers, which float16 holds."""
        self.seeds += seeds
        yield torch.tensor([seed - module.FIRST_NOISE for seed in seeds]).float()[:, None, None, None, None]

    def judge(self, function, cases):
        assert function is shows
        return [self.verdicts[row][attempt] for row, attempt in (divmod(seen, module.TRIES) for seen, _ in cases)]


@pytest.fixture
def rounds(monkeypatch):
    """Runs `ask` over rounds of two prompts; the judge is no other process."""

    def run(verdicts):
        model = Answering(monkeypatch, verdicts)
        texts = [(chr(ord("a") + row), None) for row in range(len(verdicts))]
        monkeypatch.setattr(module, "training_prompts", lambda source: iter(texts))
        monkeypatch.setattr(module, "PROMPTS_AT_ONCE", 2)
        judges = SimpleNamespace(starmap=model.judge)
        context = SimpleNamespace(Pool=lambda workers: nullcontext(judges))
        monkeypatch.setattr(module.multiprocessing, "get_context", lambda kind: context)
        return list(ask(model.pipe, None, ClipSource(count=len(verdicts)), progress=False)), model

    return run


def test_what_failed_is_asked_again_until_it_obeys(rounds):
    """Of five prompts the first obeys at once, the second and the last in the third attempt, the others never."""
    late, never = (False, False, True), (False,) * 4
    found, model = rounds([(True,), late, never, never, late])
    assert [counts for _, counts in found] == [
        {"asked": 2, "failed": 1, "pairs": 1}, {"asked": 4, "failed": 3, "pairs": 1},
        {"asked": 5, "failed": 4, "pairs": 2},
    ]  # fmt: skip
    trials = found[-1][0]
    assert trials.failed.flatten().tolist() == [1 * module.TRIES, 4 * module.TRIES]
    assert trials.obeyed.flatten().tolist() == [1 * module.TRIES + 2, 4 * module.TRIES + 2]
    assert trials.tokens.flatten().tolist() == [ord("b"), ord("e")]
    assert len(found[0][0].tokens) == 1
    # Each attempt has a noise of its own, and none that an evaluation has.
    assert len(set(model.seeds)) == len(model.seeds) == 1 + 3 + 4 + 4 + 3 and min(model.seeds) >= module.FIRST_NOISE


def test_nothing_is_asked_twice_where_all_obey(rounds):
    found, model = rounds([(True,), (True,)])
    assert found[0][1] == {"asked": 2, "failed": 0, "pairs": 0} and len(model.seeds) == 2
    assert len(found[0][0].tokens) == 0


def test_a_random_model_obeys_nowhere_and_leaves_no_file(random_nano, tmp_path, monkeypatch):  # noqa: F811
    """Through pipeline, tokenizer, reader and a judging process."""
    monkeypatch.setattr(module, "TRIES", 2)
    model = shutil.copytree(random_nano, tmp_path / "model")
    shutil.copy(NANO / "reader.safetensors", model)
    with pytest.raises(ValueError, match="none of 1 prompts failed and obeyed by turns"):
        make_trials(tmp_path / "run", model, ClipSource(count=1, workers=1), torch.device("cpu"))
    assert not (tmp_path / "run" / module.TRIALS).exists()


def test_made_trials_lie_in_the_folder_with_their_origin(random_nano, tmp_path, monkeypatch, generator):  # noqa: F811
    model = shutil.copytree(random_nano, tmp_path / "model")
    shutil.copy(NANO / "reader.safetensors", model)
    counts = {"asked": 9, "failed": 3, "pairs": 2}
    monkeypatch.setattr(module, "ask", lambda pipe, reader, source: iter([(made(2, generator), counts)]))
    assert make_trials(tmp_path / "run", model, ClipSource(count=9), torch.device("cpu")) == counts
    held = Trials.load(tmp_path / "run" / module.TRIALS)
    assert held.fingerprint == fingerprint(model) and len(held.tokens) == 2


def test_a_fingerprint_tells_models_apart_and_misses_parts(random_nano, tmp_path):  # noqa: F811
    write_random_nano(tmp_path / "other", seed=1)
    shutil.copytree(random_nano, tmp_path / "same")
    assert fingerprint(random_nano) == fingerprint(tmp_path / "same") != fingerprint(tmp_path / "other")
    (tmp_path / "same" / "dit.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match="trials need a whole model: .* lacks dit.safetensors"):
        fingerprint(tmp_path / "same")


def made(count, generator):
    shape = (count, 2, 3, 4, 6)
    return Trials(obeyed=torch.randn(shape, generator=generator).half(), tokens=torch.arange(count * 5).view(count, 5),
                  failed=torch.randn(shape, generator=generator).half())  # fmt: skip


def test_trials_are_drawn_in_pairs_and_survive_a_file(tmp_path, generator):
    trials = made(7, generator)
    trials.save(tmp_path / "trials.safetensors")
    held = Trials.load(tmp_path / "trials.safetensors")
    assert all(torch.equal(getattr(trials, name), getattr(held, name)) for name in ("obeyed", "failed", "tokens"))
    latents, tokens, verdict = held.draw(8, generator)
    assert verdict.tolist() == [1] * 4 + [-1] * 4 and torch.equal(tokens[:4], tokens[4:])
    for row in range(4):
        pair = int(tokens[row, 0]) // 5
        assert torch.equal(latents[row], trials.obeyed[pair].float())
        assert torch.equal(latents[row + 4], trials.failed[pair].float())
    with pytest.raises(FileNotFoundError, match="train trials"):
        Trials.load(tmp_path / "none.safetensors")


@pytest.mark.parametrize("beta", [0.5, 1.0, 2.0])
def test_the_wanted_velocity_is_where_the_published_loss_is_least(generator, beta):
    """Its terms are |(1 - beta) v_old + beta v - flow|^2 and |(1 + beta) v_old - beta v - flow|^2."""
    old, flow = (torch.randn(2, 1, 2, 2, 2, generator=generator) for _ in range(2))
    good, bad = wanted_velocity(old, flow, torch.tensor([1.0, -1.0]), beta)
    assert torch.allclose((1 - beta) * old[0] + beta * good, flow[0], atol=1e-5)
    assert torch.allclose((1 + beta) * old[1] - beta * bad, flow[1], atol=1e-5)


class Line(nn.Module):
    """A flow of single numbers."""

    def __init__(self, generator):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(2, 64), nn.SiLU(), nn.Linear(64, 64), nn.SiLU(), nn.Linear(64, 1))
        for parameter in self.parameters():
            parameter.data = torch.randn(parameter.shape, generator=generator) * parameter.shape[-1] ** -0.5

    def forward(self, x, timesteps, text, *, condition_mask):
        return self.layers(torch.cat([x.flatten(1), timesteps], dim=1)).view_as(x)


class Silent(nn.Module):
    def forward(self, tokens, heard):
        return torch.zeros(*tokens.shape, 1)


def fitted(dit, loss, steps, generator):
    optimizer = torch.optim.Adam(dit.parameters(), lr=2e-3)
    for step in range(steps):
        optimizer.zero_grad()
        loss(step, generator)[0].backward()
        optimizer.step()


@torch.no_grad()
def above(dit, generator, count=1000, steps=40):
    """The share of samples above 0."""
    x, mask = torch.randn(count, 1, 1, 1, 1, generator=generator), torch.zeros(count, 1, 1, 1, 1)
    for step in range(steps, 0, -1):
        x = x - dit(x, torch.full((count, 1), step / steps), None, condition_mask=mask) / steps
    return (x > 0).float().mean().item()


def test_a_model_learns_to_obey_from_pairs(generator):
    """Half of its samples lie near -1, where they fail; after one round of trials six in seven lie near 1."""
    spread = 0.2 * torch.randn(2, 400, 1, 1, 1, 1, generator=generator)
    pairs = Trials(obeyed=spread[0] + 1, failed=spread[1] - 1, tokens=torch.ones(400, 2).long())
    recipe, dit = WorldRecipe(batch=256, sigma_mean=0.0, sigma_std=1.5, trial_every=4), Line(generator)

    def usual(step, generator):
        latents, _, _ = pairs.draw(recipe.batch, generator)
        t = torch.rand(len(latents), generator=generator)
        mask, noise = torch.zeros(len(latents), 1, 1, 1, 1), torch.randn(latents.shape, generator=generator)
        return flow_error(dit, latents, None, t, mask, noise).mean(), {}

    fitted(dit, usual, 800, generator)
    before = above(dit, generator)
    assert 0.4 < before < 0.6
    reference = Line(generator)
    reference.load_state_dict(dit.state_dict())
    modules, old = (nn.ModuleDict({"dit": part, "text": Silent()}) for part in (dit, reference))
    learning = trial_loss(modules, old.requires_grad_(False), pairs, recipe)
    fitted(dit, learning, 400, generator)
    assert above(dit, generator) > 0.8
    assert above(reference, generator) == pytest.approx(before, abs=0.06)


def test_trials_have_the_last_of_so_many_steps_and_both_are_logged():
    usual = lambda step, generator: (torch.tensor(10.0 + step), {"state": 1.0})  # noqa: E731
    other = lambda step, generator: (torch.tensor(float(step)), {"trial": float(step)})  # noqa: E731
    loss = by_turns(usual, other, 3)
    seen = [loss(step, None) for step in range(6)]
    assert [value.item() for value, _ in seen] == [10, 11, 2, 13, 14, 5]
    assert seen[0][1] == {"flow": 10, "state": 1.0} and seen[5][1] == {"flow": 14, "state": 1.0, "trial": 5.0}


@pytest.mark.parametrize("wrong, said", [
    ({"trial_every": -1}, "beta is above 0"), ({"trial_beta": 0.0}, "beta is above 0"),
    ({"trial_every": 4, "batch": 5}, "give an even --batch, not 5"), ({"sigma_std": -1.0}, "ln sigma has"),
    ({"sigma_mean": float("nan")}, "ln sigma has"),
])  # fmt: skip
def test_a_recipe_that_cannot_be_is_refused(wrong, said):
    with pytest.raises(ValueError, match=said):
        WorldRecipe(**wrong)


def test_a_trial_keeps_no_tokens_for_the_states(generator):
    class Block(nn.Module):
        def forward(self, x):
            return 2 * x

    class Dit(nn.Module):
        def __init__(self):
            super().__init__()
            self.block, self.weight = Block(), nn.Parameter(torch.ones(()))

        def forward(self, x, timesteps, text, *, condition_mask):
            return self.block(self.weight * x)

    dit = Dit()
    modules = nn.ModuleDict({"dit": dit, "text": Silent(), "states": StateHead(8, dit.block)})
    reference = nn.ModuleDict({"dit": Dit(), "text": Silent()})
    value, figures = trial_loss(modules, reference, made(3, generator), WorldRecipe(batch=2))(0, generator)
    value.backward()
    assert dit.weight.grad is not None and figures["trial"] == value and modules["states"].tokens is None


def learning(text):
    """A loaded text encoder whose weights may change."""
    text.model.requires_grad_()
    return text


def test_the_stage_learns_from_trials_of_its_own_model_alone(random_nano, tmp_path, monkeypatch, generator):  # noqa: F811
    """Two steps, the second of which is a trial's; then with trials that another model made."""
    folder = shutil.copytree(random_nano, tmp_path / "run")
    pipe = load(random_nano)
    monkeypatch.setattr(nano, "build_dit", lambda where, ranks: load(random_nano).model.dit.requires_grad_())
    monkeypatch.setattr(nano, "build_text", lambda where, ranks: learning(load(random_nano).model.text))
    monkeypatch.setattr(nano, "build_vae", lambda where, ranks: pipe.model.vae)
    latents = torch.randn(2, 16, 3, 4, 6, generator=generator).half()
    bank = LatentBank(latents=latents, tokens=torch.ones(2, 1, 8).short())
    monkeypatch.setattr(nano, "latent_bank", lambda pool, vae, text: bank)
    monkeypatch.setattr(nano, "world_bank", lambda pools, vae, text, recipe: bank)
    monkeypatch.setattr(nano, "caption_shuffle_ratio", lambda modules, bank: {"validation_loss": 0.0})
    pairs = Trials(obeyed=latents, failed=-latents, tokens=torch.ones(2, 8).short(), fingerprint=fingerprint(folder))
    pairs.save(folder / module.TRIALS)
    recipe = WorldRecipe(batch=2, short_every=0, trial_every=2)
    stage = nano.Stage(folder=folder, source=ClipSource(count=2), plan=Plan(steps=2, warmup=0, log_every=2),
                       ranks=Ranks(), batch=2, compile=False, world=recipe)  # fmt: skip
    nano.train_world_stage(stage, [], None, recipe)
    row = (folder / "runs" / "world" / "log.jsonl").read_text()
    assert '"trial"' in row and '"flow"' in row
    shutil.rmtree(folder / "runs")
    replace(pairs, fingerprint="another").save(folder / module.TRIALS)
    with pytest.raises(ValueError, match="another model than the one in .* made the trials"):
        nano.train_world_stage(stage, [], None, recipe)
