"""What the critic learns from: clips and their mistakes, captions of their own and of others."""

import argparse
import json
import shutil
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from random_nano import CRITIC, random_nano  # noqa: F401 (fixture)
from safetensors.torch import load_file
from torch import nn

from cosmos_lab.cli import train
from cosmos_lab.files import sha256
from cosmos_lab.pipelines.generate import load
from cosmos_lab.runtime.ranks import Ranks
from cosmos_lab.selection.critic import Critic, CriticConfig
from cosmos_lab.train import nano
from cosmos_lab.train.clips import CAPTION_COUNTS, ClipSource, mistakes_of
from cosmos_lab.train.critic import (
    VISIBLE,
    CriticRecipe,
    critic_figures,
    critic_heads,
    critic_loss,
    draw_pairs,
    seen_again,
    shows_mistake,
)
from cosmos_lab.train.loop import Plan
from cosmos_lab.train.meanings import BODY_KINDS, NOBODY, bodies_of
from cosmos_lab.train.meanings import SIZES as SIZES_OF_MEANINGS
from cosmos_lab.train.world_model import Drawn, LatentBank
from cosmos_lab.worlds.mixture import simulate_many
from cosmos_lab.worlds.scene import COLORS, SHAPES, SIZES, Body, Scene

CPU = torch.device("cpu")
CAPTIONS, SHORT = sum(CAPTION_COUNTS.values()), CAPTION_COUNTS["short"]


def scene_of(*looks):
    bodies = [Body(name=f"body {n}", shape=shape, size=SIZES[shape]["small"], color=color)
              for n, (color, shape) in enumerate(looks)]  # fmt: skip
    bodies.append(Body(name="ramp", shape="box", size=(1, 1, 0.1), color="steel", role="prop"))
    return Scene(seed=0, family="roll", motion="roll", bodies=tuple(bodies), floor="wood", light="noon",
                 camera="static")  # fmt: skip


def test_a_color_has_nothing_or_one_body_or_several():
    assert bodies_of(scene_of()) == [0] * len(COLORS)
    for place, color in enumerate(COLORS):
        for number, shape in enumerate(SHAPES):
            for count, answer in ((1, 1 + number), (2, 1 + len(SHAPES) + number), (3, 1 + len(SHAPES) + number)):
                found = bodies_of(scene_of(*[(color, shape)] * count))
                assert found[place] == answer < BODY_KINDS and sum(found) == answer
    mixed = bodies_of(scene_of(("red", "capsule"), ("blue", "sphere"), ("red", "box"), ("red", "cylinder")))
    assert dict(zip(COLORS, mixed)) == dict.fromkeys(COLORS, 0) | {"red": 2 * len(SHAPES), "blue": 1}


def test_a_mistake_changes_what_some_color_has():
    rollouts = list(simulate_many(range(20, 26)))
    found = mistakes_of(rollouts, 1.0)
    assert len(found) > 2
    for place, (wrong, _) in found.items():
        assert bodies_of(wrong.scene) != bodies_of(rollouts[place].scene)


@pytest.fixture
def drawn(generator):
    """Clip n shows n + 1 in 2 latent frames and is told by the word n + 1; by n % 3 its mistake adds 1e4 to both, to
    the second one alone, or less than can be seen. Its colors have n % 8 bodies, in the mistake 8 for the first color.
    Every other caption names the second color and one in four the first one."""
    number = torch.arange(3000)
    latents = (number + 1.0).view(-1, 1, 1, 1, 1).expand(-1, 1, 2, 2, 2).clone()
    mistaken = latents.clone()
    mistaken[number % 3 == 0] += 1e4
    mistaken[number % 3 == 1, :, 1] += 1e4
    mistaken[number % 3 == 2] += 0.9 * VISIBLE
    own = (number % 8)[:, None].expand(-1, len(COLORS))
    changed = own.clone()
    changed[:, 0] = 8
    meanings = torch.full((3000, len(SIZES_OF_MEANINGS)), NOBODY)
    meanings[::2, 1] = meanings[::4, 0] = 0
    which = torch.randint(CAPTIONS, (3000,), generator=generator)
    return Drawn(
        latents=latents, tokens=(number + 1)[:, None].expand(-1, 4), which=which, meanings=meanings, objects=None,
        states=(number + 1.0).view(-1, 1, 1, 1, 1).expand(-1, 2, 14, 1, 1).half(), later=None, mistaken=mistaken,
        bodies=torch.stack([own, changed], dim=1).to(torch.int8),
    )  # fmt: skip


@pytest.mark.parametrize("length", [None, 1])
def test_right_is_what_shows_no_mistake_under_its_own_caption(drawn, generator, length):
    recipe, number = CriticRecipe(), torch.arange(3000)
    pairs = draw_pairs(drawn, length, recipe, generator)
    assert pairs.latents.shape == (3000, 1, length or 2, 2, 2) and pairs.states.shape == (3000, length or 2, 14, 1, 1)
    told_by = pairs.tokens[:, 0] - 1
    foreign, mistaken = told_by != number, pairs.latents.amax(dim=(1, 2, 3, 4)) > 5000
    assert torch.equal(pairs.tokens, (told_by + 1)[:, None].expand(-1, 4))
    assert torch.equal(told_by[foreign], (number[foreign] - 1) % 3000)
    assert torch.equal(pairs.right, (~foreign & ~mistaken).float()) and torch.equal(pairs.clean, (~mistaken).float())
    assert torch.equal(pairs.latents[~mistaken], drawn.latents[~mistaken, :, :length])
    assert torch.equal(pairs.latents[mistaken], drawn.mistaken[mistaken, :, :length])
    # Only where the caption would tell, and where there is something to see.
    can = ((drawn.which >= SHORT) | (number % 4 == 0)) & (number % 3 < (2 if length is None else 1))
    assert not (mistaken & ~can).any() and not (mistaken & foreign).any()
    assert mistaken[can].double().mean() == pytest.approx(recipe.wrong, abs=0.05)
    assert foreign[~mistaken].double().mean() == pytest.approx(recipe.foreign, abs=0.03)
    assert torch.equal(pairs.told, drawn.bodies[told_by, 0].long())
    assert torch.equal(pairs.names_all, (drawn.which[told_by] >= SHORT).float())
    assert torch.equal(pairs.shown, drawn.bodies[number, mistaken.long()].long())
    assert torch.equal(pairs.states, drawn.states[:, :length].float())


def test_without_mistakes_and_foreign_captions_all_is_right(drawn, generator):
    pairs = draw_pairs(drawn, None, CriticRecipe(wrong=0.0, foreign=0.0), generator)
    assert pairs.right.all() and torch.equal(pairs.latents, drawn.latents)
    assert torch.equal(pairs.tokens, drawn.tokens)


def test_one_place_is_enough_to_see_a_mistake():
    latents = torch.zeros(3, 16, 2, 4, 6)
    wrong = latents.clone()
    wrong[1, 5, 1, 2, 3] = -1.1 * VISIBLE
    wrong[2] += 0.9 * VISIBLE
    assert shows_mistake(latents, wrong).tolist() == [False, True, False]
    assert not shows_mistake(latents[:, :, :1], wrong[:, :, :1]).any()


class Drawer(nn.Module):
    """Answers the velocity that leads to `latents` plus `error`, and remembers what it was given."""

    config = SimpleNamespace(text_width=8)

    def __init__(self, latents, error=0.0):
        super().__init__()
        self.latents, self.error = latents, error

    def forward(self, x, timesteps, text):
        self.seen, self.times, self.text = x, timesteps, text
        return (x - self.latents[: len(x)] - self.error) / timesteps.view(-1, 1, 1, 1, 1)


def test_a_share_of_the_clips_is_drawn_again_and_the_rest_stays(generator):
    latents = torch.randn(400, 4, 2, 4, 4, generator=generator)
    recipe, drawer = CriticRecipe(noise=0.0), Drawer(latents, error=1.0)
    seen = seen_again(drawer, latents, recipe, generator)
    # What the model makes of them takes their place.
    assert torch.equal(seen[120:], latents[120:]) and torch.allclose(seen[:120], latents[:120] + 1, atol=1e-4)
    assert drawer.text.shape == (120, 1, 8) and not drawer.text.any()
    sigma = drawer.times / (1 - drawer.times)
    low, high = recipe.sigmas
    assert low < sigma.min() < 1.1 * low and high > sigma.max() > 0.9 * high
    assert sigma.median() == pytest.approx((low * high) ** 0.5, rel=0.2)
    added = drawer.seen - (1 - drawer.times.view(-1, 1, 1, 1, 1)) * latents[:120]
    assert torch.allclose(added.std(dim=(1, 2, 3, 4)), drawer.times, rtol=0.4)


def test_all_are_seen_with_a_trace_of_noise(generator):
    latents = torch.randn(400, 4, 2, 8, 8, generator=generator)
    change = seen_again(Drawer(latents), latents, CriticRecipe(noise=0.3), generator) - latents
    spread = change.std(dim=(1, 2, 3, 4))
    assert 0.28 < spread.max() < 0.33 and spread.min() < 0.02 and spread.mean() == pytest.approx(0.15, abs=0.015)
    assert abs(change.mean()) < 0.01


def test_heads_ask_for_states_and_bodies_and_are_drawn_alike():
    config = CriticConfig(width=24, num_heads=2)
    first, again = (critic_heads(config, CPU) for _ in range(2))
    sizes = {name: head.weight.shape[0] for name, head in first.items()}
    assert sizes == {"states": 14, "told": len(COLORS) * BODY_KINDS, "shown": len(COLORS) * BODY_KINDS}
    for name, head in first.items():
        assert torch.equal(head.weight, again[name].weight) and not head.bias.any()
        assert head.weight.std().item() == pytest.approx(24**-0.5, rel=0.2)


def test_a_part_of_a_bank_holds_what_the_bank_holds():
    bank, whole = toy(10, torch.Generator()), toy(10, torch.Generator())
    some = bank.part(torch.arange(2, 5))
    for name in ("latents", "tokens", "states", "mistaken", "bodies", "meanings"):
        assert torch.equal(getattr(some, name), getattr(whole, name)[2:5])
    assert some.objects is None and some.later is None
    both = LatentBank.joined([bank.part(torch.arange(4)), bank.part(torch.arange(4, len(bank.latents)))])
    assert torch.equal(both.bodies, whole.bodies) and torch.equal(both.mistaken, whole.mistaken)


def test_bodies_are_drawn_with_their_clips(generator):
    bank = toy(6, generator)
    bank = replace(bank, latents=torch.arange(6.0).view(6, 1, 1, 1, 1).expand_as(bank.latents),
                   bodies=torch.arange(6).to(torch.int8).view(6, 1, 1).expand(6, 2, 8))  # fmt: skip
    drawn = bank.draw(50, generator)
    assert torch.equal(drawn.bodies[:, 1, 3].float(), drawn.latents[:, 0, 0, 0, 0])
    assert drawn.bodies.unique().numel() > 3


PLACES = 3
SMALL = CriticConfig(width=24, num_layers=2, num_heads=2, mlp_width=48, text_width=8)
FITTED = CriticRecipe(foreign=0.0, state_depth=1, body_depth=2)


class Words(nn.Module):
    def forward(self, ids, mask):
        return torch.eye(8)[ids] * mask[..., None]


class Still(nn.Module):
    """Leaves what it is given as it is, and counts the latent frames."""

    config = SimpleNamespace(text_width=8)

    def __init__(self):
        super().__init__()
        self.lengths = []

    def forward(self, x, timesteps, text):
        self.lengths.append(x.shape[2])
        return torch.zeros_like(x)


def toy(number, generator):
    """Clips with a patch at one of some places, which their captions name; in their mistakes it is at another one."""
    place = torch.randint(PLACES, (number,), generator=generator)
    off = (place + torch.randint(1, PLACES, (number,), generator=generator)) % PLACES

    def clips(places):
        patch = torch.eye(6)[places].view(number, 1, 1, 2, 3)
        return 2 * patch.repeat_interleave(2, 3).repeat_interleave(2, 4).expand(-1, 16, 3, -1, -1)

    tokens = torch.zeros(number, CAPTIONS, 2, dtype=torch.int16)
    tokens[:, :, 0] = place[:, None] + 1
    states = torch.zeros(number, 3, 14, 2, 3)
    states[:, :, 1] = torch.eye(6)[place].view(number, 1, 2, 3)
    states[:, :, 0], states[:, :, 10] = 1 - states[:, :, 1], 1
    bodies = torch.zeros(number, 2, len(COLORS), dtype=torch.int8)
    bodies[:, :, 0] = torch.stack([place, off], dim=1)
    meanings = torch.full((number, tokens.shape[1], len(SIZES_OF_MEANINGS)), NOBODY)
    return LatentBank(latents=clips(place), tokens=tokens, states=states, mistaken=clips(off), bodies=bodies,
                      meanings=meanings)  # fmt: skip


def modules_of(seed=0):
    with torch.random.fork_rng():
        torch.random.manual_seed(seed)
        return nn.ModuleDict({"critic": Critic(SMALL), **critic_heads(SMALL, CPU)})


def ranked(bank, unseen):
    """How a critic that has learned from the bank tells clips that it has not."""
    modules = modules_of()
    loss = critic_loss(modules, bank, Still(), Words(), 64, FITTED)
    optimizer = torch.optim.Adam(modules.parameters(), lr=1e-2)
    for step in range(140):
        optimizer.zero_grad()
        loss(step, torch.Generator().manual_seed(step))[0].backward()
        nn.utils.clip_grad_norm_(modules.parameters(), 1.0)
        optimizer.step()
    return critic_figures(modules["critic"], unseen, Words())


@pytest.fixture(scope="module")
def unseen():
    return toy(128, torch.Generator().manual_seed(1))


def test_a_critic_learns_to_tell_right_from_wrong(unseen, generator):
    found = ranked(toy(256, generator), unseen)
    assert found["ranked_rightly"] > 0.95 and found["mistakes_refused"] > 0.9


def test_nothing_is_learned_where_right_and_wrong_are_exchanged(unseen, generator):
    """Each clip is there twice, once with its mistake for the clip: what it shows tells nothing about the verdict."""
    bank = toy(256, generator)
    other = replace(bank, latents=bank.mistaken, mistaken=bank.latents, bodies=bank.bodies.flip(1))
    found = ranked(LatentBank.joined([bank, other]), unseen)
    assert found["ranked_rightly"] < 0.8 and found["mistakes_refused"] < 0.6


def test_a_loss_is_that_of_the_verdict_and_of_what_the_heads_are_asked(generator):
    bank, modules, drawer = toy(32, generator), modules_of(), Still()
    weights = {"state_weight": 0.25, "body_weight": 4.0}
    loss = critic_loss(modules, bank, drawer, Words(), 16, replace(FITTED, short_every=3, **weights))
    for step in range(6):
        total, parts = loss(step, torch.Generator().manual_seed(step))
        assert set(parts) == {"verdict", "state", "bodies"} and all(part > 0 for part in parts.values())
        expected = parts["verdict"] + 0.25 * parts["state"] + 4 * parts["bodies"]
        assert total.item() == pytest.approx(expected.item(), rel=1e-5)
        # A new critic guesses: one of 8 colors has one of 9 bodies, in words and clip.
        assert 0.4 < parts["verdict"] < 1.2 and parts["bodies"] > 2
    assert drawer.lengths == [1, 3, 3, 1, 3, 3]
    total.backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in modules.parameters())


def test_states_are_not_asked_of_mistakes_nor_words_of_short_captions(generator):
    def parts(bank, **asked):
        loss = critic_loss(modules_of(), bank, Still(), Words(), 16, replace(FITTED, **asked))
        return loss(1, torch.Generator().manual_seed(0))[1]

    bank = toy(32, generator)
    # Of so many captions hardly one that is drawn is short.
    long = replace(bank, **{name: getattr(bank, name)[:, :1].expand(-1, 5000, -1) for name in ("tokens", "meanings")})
    assert parts(long, wrong=1.0)["state"] == 0 < parts(long, wrong=0.0)["state"]
    short = replace(bank, tokens=bank.tokens[:, :SHORT])
    looked = parts(short, wrong=1.0)
    assert looked["state"] > 0 and looked["bodies"] < 0.6 * parts(long, wrong=0.0)["bodies"]


class Counter(nn.Module):
    """The more of a latent there is, the better."""

    def forward(self, latents, vectors):
        return latents.mean(dim=(1, 2, 3, 4))


def test_a_critic_is_measured_on_mistakes_that_can_be_seen():
    """Of 20 clips with 1, 2, …, 20 in them, the first four mistakes are not seen; the others are 4 less than half."""
    clips = torch.arange(1.0, 21.0).view(20, 1, 1, 1, 1).expand(-1, 16, 3, 4, 6)
    wrong = clips / 2 - 4
    wrong[:4] = clips[:4]
    bank = LatentBank(latents=clips.half(), tokens=torch.ones(20, CAPTIONS, 2).short(), mistaken=wrong.half())
    found = critic_figures(Counter(), bank, Words(), batch=3)
    values, lower = clips[:, 0, 0, 0, 0], wrong[4:, 0, 0, 0, 0]
    assert found["ranked_rightly"] == pytest.approx((values[:, None] > lower).float().mean().item())
    # One right clip of twenty lies below 1.95.
    assert found["mistakes_refused"] == pytest.approx((lower < 1.95).float().mean().item())
    heard = []
    bank = replace(bank, tokens=torch.arange(CAPTIONS).view(1, -1, 1).expand(20, -1, 2).short())
    critic_figures(Counter(), bank, lambda ids, mask: heard.append(ids.unique().tolist()))
    assert heard == [[SHORT]]


@pytest.fixture
def stage_of(random_nano, tmp_path, monkeypatch, generator):  # noqa: F811
    """Stages in folders of their own, and what each one learned from and was measured on."""
    pipe, seen = load(random_nano).model, {"learned": [], "measured": [], "asked": []}
    latents = torch.randn(9, 16, 3, 4, 6, generator=generator).half()
    bank = LatentBank(
        latents=latents, mistaken=-latents, tokens=torch.randint(1, 99, (9, 4, 8), generator=generator).short(),
        states=torch.rand(9, 3, 14, 2, 3, generator=generator), bodies=torch.zeros(9, 2, len(COLORS)).to(torch.int8),
        meanings=torch.full((9, 4, len(SIZES_OF_MEANINGS)), NOBODY),
    )  # fmt: skip

    def new_critic(folder, ranks):
        with torch.random.fork_rng():
            torch.random.manual_seed(0)
            return Critic(CRITIC)

    def loss(modules, bank, *rest):
        seen["learned"].append(bank)
        return critic_loss(modules, bank, *rest)

    def measured(critic, bank, text):
        seen["measured"].append(bank)
        return critic_figures(critic, bank, text)

    for name, part in (("dit", pipe.dit), ("text", pipe.text), ("vae", pipe.vae)):
        monkeypatch.setattr(nano, f"build_{name}", lambda where, ranks, part=part: part)
    monkeypatch.setattr(nano, "build_critic", new_critic)
    monkeypatch.setattr(nano, "world_bank", lambda pools, vae, text, **asked: seen["asked"].append(asked) or bank)
    monkeypatch.setattr(nano, "critic_loss", loss)
    monkeypatch.setattr(nano, "critic_figures", measured)

    def stage(name, steps):
        folder = tmp_path / name
        if not folder.exists():
            shutil.copytree(random_nano, folder)
        plan = Plan(steps=steps, warmup=0, cooldown=0.0, log_every=1)
        return nano.Stage(folder=folder, source=ClipSource(count=9), plan=plan, ranks=Ranks(), batch=4, compile=False)

    return stage, pipe, bank, seen


def test_the_stage_leaves_a_critic_and_all_else_as_it_was(stage_of):
    stage, pipe, bank, seen = stage_of
    asked = stage("run", 2)
    parts = {"dit": pipe.dit, "text": pipe.text.model, "vae": pipe.vae}
    before = {name: {key: weight.clone() for key, weight in part.state_dict().items()} for name, part in parts.items()}
    files = {file.name: sha256(file) for file in asked.folder.iterdir()}
    figures = nano.train_stage("critic", asked, [], None)
    for name, part in parts.items():
        assert all(torch.equal(weight, before[name][key]) for key, weight in part.state_dict().items())
        assert all(parameter.grad is None for parameter in part.parameters())
    assert {name: sha256(asked.folder / name) for name in files} == files
    made = {file.name for file in asked.folder.iterdir()} - set(files)
    assert made == {"critic.safetensors", "critic_training.json", "runs"}
    new, held = Critic(CRITIC), nano.build_critic(None, None).state_dict()
    weights = load_file(asked.folder / "critic.safetensors")
    new.load_state_dict(weights)
    moved = [name for name, weight in weights.items() if not torch.equal(weight, held[name].half())]
    assert "verdict" in moved and "see.weight" in moved and "hear.weight" in moved
    said = json.loads((asked.folder / "critic_training.json").read_text())
    assert said["figures"] == {**figures, "steps": 2, "clips": 7}
    assert set(figures) == {"ranked_rightly", "mistakes_refused"} and said["recipe"]["wrong"] == CriticRecipe().wrong
    (learned,), (recipe,) = seen["learned"], seen["asked"]
    apart, *others = seen["measured"]
    assert len(apart.latents) == 2 and all(torch.equal(part.latents, apart.latents) for part in others)
    both = torch.cat([apart.latents, learned.latents]).flatten(1)
    assert len(both) == 9 and torch.equal(both.unique(dim=0), bank.latents.flatten(1).unique(dim=0))
    assert recipe == {"states": True}
    assert said["recipe"]["text_encoder"] == sha256(asked.folder / "text_encoder.safetensors")


def test_an_interrupted_critic_goes_on(stage_of):
    stage, *_ = stage_of
    nano.train_critic_stage(stage("whole", 4), [])
    nano.train_critic_stage(stage("halves", 2), [])
    halves = stage("halves", 4)
    nano.train_critic_stage(halves, [])
    whole, again = (load_file(halves.folder.parent / name / "critic.safetensors") for name in ("whole", "halves"))
    assert all(torch.equal(weight, again[name]) for name, weight in whole.items())
    rows = [json.loads(row)["step"] for row in (halves.runs / "critic" / "log.jsonl").read_text().splitlines()]
    assert rows == [1, 2, 3, 4]


def parsed(*words):
    parser = argparse.ArgumentParser()
    train.add_arguments(parser)
    return parser.parse_args(words)


@pytest.mark.parametrize("words, said", [
    (("critic",), "the critic is trained alone, and learns from mistakes: add --mistakes 0.9"),
    (("critic", "reader"), "the critic is trained alone"),
    (("world", "critic"), "the critic is trained alone"),
    (("world", "critic", "--mistakes", "0.9"), "--mistakes is for the stage world or critic alone, not world, critic"),
    (("critic", "reader", "--mistakes", "0.9"), "--mistakes is for the stage world or critic alone"),
    (("critic", "--mistakes", "1.5"), "--mistakes is a share of the clips, from 0 to 1, not 1.5"),
    (("critic", "--mistakes", "-0.5"), "--mistakes is a share of the clips"),
    (("critic", "average", "--mistakes", "0.9"), "the critic hears the text encoder, which an average changes"),
])  # fmt: skip
def test_a_critic_that_could_learn_nothing_is_refused_before_any_work(monkeypatch, words, said):
    monkeypatch.setattr(train, "_train", lambda args, trained: pytest.fail("it trains"))
    with pytest.raises(ValueError, match=said):
        train.run(parsed(*words))


def test_a_critic_takes_clips_in_parts_with_their_mistakes(monkeypatch):
    seen = []
    monkeypatch.setattr("cosmos_lab.train.clips.render_parts", lambda source, ranks: seen.append(source) or "parts")
    monkeypatch.setattr(nano, "held_out_pool", lambda ranks, workers: None)
    monkeypatch.setattr(nano, "train_stage",
                        lambda name, stage, pools, held_out: seen.append((name, stage, pools)) or {})  # fmt: skip
    train.run(parsed("critic", "--mistakes", "0.9", "--drums", "0.5", "--clips", "40"))
    source, (name, stage, pools) = seen
    assert (source.mistakes, source.mixture.drums, source.count) == (0.9, 0.5, 40)
    assert (name, pools, stage.source) == ("critic", "parts", source)
    assert (stage.plan.lr, stage.batch, stage.plan.ema, stage.plan.optimizer) == train.DEFAULTS["critic"]
