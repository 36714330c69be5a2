"""What the critic learns from: clips and their mistakes, captions of their own and of others."""

import argparse
import json
import shutil
from dataclasses import replace

import pytest
import torch
from random_nano import CRITIC, random_nano  # noqa: F401 (fixture)
from safetensors.torch import load_file, save_file
from torch import nn

from cosmos_lab.cli import train
from cosmos_lab.files import sha256
from cosmos_lab.pipelines.generate import load
from cosmos_lab.runtime.ranks import Ranks
from cosmos_lab.selection.critic import Critic, CriticConfig
from cosmos_lab.text.encoders import T5TextEncoder, nano_text_config, train_tokenizer
from cosmos_lab.train import banks, building, clips, judging, nano
from cosmos_lab.train.clips import (
    CAPTION_COUNTS,
    WRONG_CAPTIONS,
    ClipSource,
    Pool,
    mistakes_of,
    wrong_captions_of,
)
from cosmos_lab.train.critic import (
    CriticRecipe,
    critic_figures,
    critic_heads,
    critic_loss,
    draw_pairs,
    noised,
    with_imagined,
)
from cosmos_lab.train.imagined import Imagined
from cosmos_lab.train.loop import Plan
from cosmos_lab.train.meanings import BODY_KINDS, NOBODY, bodies_of
from cosmos_lab.train.meanings import SIZES as SIZES_OF_MEANINGS
from cosmos_lab.train.mistakes import VISIBLE, shows_mistake
from cosmos_lab.train.stage import Stage
from cosmos_lab.train.world_model import Drawn, LatentBank
from cosmos_lab.worlds.families import draw_scene
from cosmos_lab.worlds.mistakes import JUDGED
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
    found = mistakes_of(rollouts, 1.0, JUDGED)
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
    assert torch.equal(pairs.told_known, (drawn.which[told_by] >= SHORT).float())
    assert torch.equal(pairs.shown, drawn.bodies[number, mistaken.long()].long())
    assert torch.equal(pairs.states, drawn.states[:, :length].float())


def test_without_mistakes_and_foreign_captions_all_is_right(drawn, generator):
    pairs = draw_pairs(drawn, None, CriticRecipe(wrong=0.0, foreign=0.0), generator)
    assert pairs.right.all() and torch.equal(pairs.latents, drawn.latents)
    assert torch.equal(pairs.tokens, drawn.tokens)


@pytest.mark.parametrize("share", [0.25, 1.0])
def test_a_share_of_what_would_be_right_has_a_wrong_caption(drawn, share):
    """Every fifth clip has none."""
    number, recipe = torch.arange(3000), CriticRecipe(wrong_words=share)
    drawn = replace(drawn, wrong_tokens=torch.where(number % 5 == 0, 0, number + 5001)[:, None].expand(-1, 4))
    pairs = draw_pairs(drawn, None, recipe, torch.Generator().manual_seed(0))
    misworded, mistaken = pairs.tokens[:, 0] > 5000, pairs.latents.amax(dim=(1, 2, 3, 4)) > 5000
    foreign = ~misworded & (pairs.tokens[:, 0] != number + 1)
    assert (pairs.tokens != 0).all() and torch.equal(pairs.tokens[misworded, 2], number[misworded] + 5001)
    assert not (misworded & (mistaken | (number % 5 == 0))).any() and mistaken.any() and foreign.any()
    assert misworded[~mistaken & ~foreign & (number % 5 > 0)].double().mean() == pytest.approx(share, abs=0.05)
    assert torch.equal(pairs.right, (~mistaken & ~foreign & ~misworded).float())
    # They show what is so: only what the words say is not known.
    assert pairs.clean[misworded].all() and torch.equal(pairs.latents[misworded], drawn.latents[misworded])
    assert torch.equal(pairs.shown[misworded], drawn.bodies[misworded, 0].long())
    assert not pairs.told_known[misworded].any() and pairs.told_known[~misworded].any()
    # What else is drawn stays as it was.
    without = draw_pairs(replace(drawn, wrong_tokens=None), None, recipe, torch.Generator().manual_seed(0))
    assert torch.equal(pairs.latents, without.latents) and torch.equal(pairs.told, without.told)
    assert torch.equal(pairs.tokens[~misworded], without.tokens[~misworded])
    assert torch.equal(without.right, (~mistaken & ~foreign).float())


def test_pictures_and_clips_of_a_bank_without_them_have_no_wrong_captions(drawn, generator):
    recipe = CriticRecipe(wrong=0.0, foreign=0.0, wrong_words=1.0)
    assert draw_pairs(drawn, None, recipe, generator).right.all()
    drawn = replace(drawn, wrong_tokens=drawn.tokens + 5000)
    picture, clip = (draw_pairs(drawn, length, recipe, generator) for length in (1, None))
    assert picture.right.all() and torch.equal(picture.tokens, drawn.tokens)
    assert not clip.right.any() and torch.equal(clip.tokens, drawn.wrong_tokens)


def test_scenes_get_as_many_wrong_captions_each(monkeypatch):
    scenes = [draw_scene(seed) for seed in range(3)]
    found = {0: ["a", "b", "c"], 1: ["d", "e"], 2: []}
    monkeypatch.setattr(clips, "wrong_captions", lambda scene, rng: found[scene.seed])
    assert WRONG_CAPTIONS == 3 and wrong_captions_of(scenes) == ["a", "b", "c", "d", "e", "d", "", "", ""]


def test_wrong_captions_become_tokens_and_empty_ones_none(monkeypatch):
    texts = ["a red ball falls", "a red cube falls", "a red ball rolls", "", "", ""]
    text = T5TextEncoder(nano_text_config(400), train_tokenizer(texts, vocab_size=400), num_tokens=16)
    blank = torch.zeros(2, 1, 1, 1, 3, dtype=torch.uint8)
    pool = Pool(pixels=blank, body_index=blank[..., 0].to(torch.int8), rollouts=[], captions=[],
                meanings=torch.zeros(0, 1), wrong_captions=texts)  # fmt: skip
    tokens = banks.wrong_token_bank(pool, text)
    assert tokens.shape == (2, 3, 16) and tokens.dtype == torch.int16 and not tokens[1].any()
    assert torch.equal(tokens[0].long(), text.tokenize(texts[:3]).ids)
    with pytest.raises(ValueError, match="no wrong captions: they are only made where they are to be `judged`"):
        banks.wrong_token_bank(replace(pool, wrong_captions=None), text)
    bank = LatentBank(latents=torch.zeros(2, 1), tokens=torch.ones(2, 1, 16).short())
    monkeypatch.setattr(banks, "latent_bank", lambda pool, vae, text: bank)
    asked, plain = (banks.world_bank(iter([pool, pool]), None, text, wrong_words=wrong) for wrong in (True, False))
    assert torch.equal(asked.wrong_tokens, torch.cat([tokens, tokens])) and plain.wrong_tokens is None


def test_one_place_is_enough_to_see_a_mistake():
    latents = torch.zeros(3, 16, 2, 4, 6)
    wrong = latents.clone()
    wrong[1, 5, 1, 2, 3] = -1.1 * VISIBLE
    wrong[2] += 0.9 * VISIBLE
    assert shows_mistake(latents, wrong).tolist() == [False, True, False]
    assert not shows_mistake(latents[:, :, :1], wrong[:, :, :1]).any()


def test_all_are_seen_with_a_trace_of_noise(generator):
    latents = torch.randn(400, 4, 2, 8, 8, generator=generator)
    change = noised(latents, 0.3, generator) - latents
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


def test_one_of_the_wrong_captions_is_drawn_with_its_clip(generator):
    wrong = torch.arange(18).to(torch.int16).view(6, 3, 1).expand(-1, -1, 5)
    bank = replace(toy(6, generator), latents=torch.arange(6.0).view(6, 1, 1, 1, 1), wrong_tokens=wrong)
    drawn = bank.draw(300, generator)
    assert drawn.wrong_tokens.shape == (300, 5) and drawn.wrong_tokens.dtype == torch.int64
    assert torch.equal(drawn.wrong_tokens[:, 0] // 3, drawn.latents[:, 0, 0, 0, 0].long())
    assert drawn.wrong_tokens[:, 0].unique().tolist() == list(range(18))
    assert torch.equal(bank.part(torch.tensor([4])).wrong_tokens, wrong[[4]])
    # Where there are none, nothing is drawn for them.
    plain, alike = (replace(bank, wrong_tokens=tokens) for tokens in (None, wrong))
    first, second = (part.draw(30, torch.Generator().manual_seed(0)) for part in (plain, alike))
    assert first.wrong_tokens is None and torch.equal(first.tokens, second.tokens)


PLACES = 3
SMALL = CriticConfig(width=24, num_layers=2, num_heads=2, mlp_width=48, text_width=8)
FITTED = CriticRecipe(foreign=0.0, state_depth=1, body_depth=2)


class Words(nn.Module):
    def forward(self, ids, mask):
        return torch.eye(8)[ids] * mask[..., None]


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


def ranked(bank, unseen, recipe=FITTED):
    """How a critic that has learned from the bank tells clips that it has not."""
    modules = modules_of()
    loss = critic_loss(modules, bank, Words(), 64, recipe)
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


def test_a_critic_learns_from_wrong_captions_alone(generator):
    """No clip shows a mistake: a half, or none, have a caption that names another place."""
    banks = [toy(number, generator) for number in (256, 128)]
    for index, bank in enumerate(banks):
        off = (bank.bodies[:, 1, 0] + 1).to(torch.int16)[:, None, None]
        tokens = torch.cat([off, torch.zeros_like(off)], dim=2).expand(-1, 3, -1)
        banks[index] = replace(bank, wrong_tokens=tokens)
    some, none = (ranked(*banks, replace(FITTED, wrong=0.0, wrong_words=share)) for share in (0.5, 0.0))
    assert some["ranked_rightly"] > 0.8 and none["ranked_rightly"] < 0.65


def test_nothing_is_learned_where_right_and_wrong_are_exchanged(unseen, generator):
    """Each clip is there twice, once with its mistake for the clip: what it shows tells nothing about the verdict."""
    bank = toy(256, generator)
    other = replace(bank, latents=bank.mistaken, mistaken=bank.latents, bodies=bank.bodies.flip(1))
    found = ranked(LatentBank.joined([bank, other]), unseen)
    assert found["ranked_rightly"] < 0.8 and found["mistakes_refused"] < 0.6


def test_a_loss_is_that_of_the_verdict_and_of_what_the_heads_are_asked(generator, monkeypatch):
    bank, modules, lengths = toy(32, generator), modules_of(), set()
    tokens = Critic.tokens
    monkeypatch.setattr(Critic, "tokens", lambda critic, latents, *rest: lengths.add(latents.shape[2])
                        or tokens(critic, latents, *rest))  # fmt: skip
    weights = {"state_weight": 0.25, "body_weight": 4.0}
    loss = critic_loss(modules, bank, Words(), 16, replace(FITTED, short_every=3, **weights))
    for step in range(6):
        total, parts = loss(step, torch.Generator().manual_seed(step))
        assert lengths == {1 if step % 3 == 0 else 3}
        lengths.clear()
        assert set(parts) == {"verdict", "state", "bodies"} and all(part > 0 for part in parts.values())
        expected = parts["verdict"] + 0.25 * parts["state"] + 4 * parts["bodies"]
        assert total.item() == pytest.approx(expected.item(), rel=1e-5)
        # A new critic guesses: one of 8 colors has one of 9 bodies, in words and clip.
        assert 0.4 < parts["verdict"] < 1.2 and parts["bodies"] > 2
    total.backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in modules.parameters())


def test_some_pairs_are_imagined_and_only_their_verdict_counts(generator):
    """Clips of clips alone, under captions that nothing else has."""
    bank = toy(32, generator)
    imagined = Imagined(latents=bank.latents[:, None].expand(-1, 2, -1, -1, -1, -1).half(),
                        paragraphs=torch.full((32, 3, 2), 6).short(), wrong=torch.full((32, 2), 7).short())  # fmt: skip
    heard, words = [], Words()
    words.register_forward_hook(lambda module, given, made: heard.append(given[0][:, 0]))
    loss = critic_loss(modules_of(), bank, words, 20, replace(FITTED, imagined=0.3), imagined)
    for step in range(12):
        _, parts = loss(step, torch.Generator().manual_seed(step))
        added = heard.pop() > 5
        # Pictures do not show all that wrong words may be about.
        assert added.sum() == (0 if step % FITTED.short_every == 0 else 6) and not added[:14].any()
    pairs = draw_pairs(bank.draw(14, generator), None, FITTED, generator)
    both = with_imagined(pairs, *imagined.draw(6, generator))
    assert torch.equal(both.right[:14], pairs.right) and 0 < both.right[14:].sum() < 6
    assert not any(getattr(both, name)[14:].any() for name in ("clean", "told_known", "shown_known"))
    assert both.shown_known[:14].all()
    none = replace(imagined, **{name: getattr(imagined, name)[:0] for name in ("latents", "paragraphs", "wrong")})
    critic_loss(modules_of(), bank, words, 20, FITTED, none)(1, generator)
    assert not (heard.pop() > 5).any()


def test_states_are_not_asked_of_mistakes_nor_words_of_short_captions(generator):
    def parts(bank, **asked):
        loss = critic_loss(modules_of(), bank, Words(), 16, replace(FITTED, **asked))
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
        wrong_tokens=torch.randint(1, 99, (9, 3, 8), generator=generator).short(),
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
        monkeypatch.setattr(judging, f"build_{name}", lambda where, ranks, part=part: part)
    monkeypatch.setattr(judging, "build_critic", new_critic)
    monkeypatch.setattr(judging, "world_bank", lambda pools, vae, text, **asked: seen["asked"].append(asked) or bank)
    monkeypatch.setattr(judging, "critic_loss", loss)
    monkeypatch.setattr(judging, "critic_figures", measured)

    def stage(name, steps):
        folder = tmp_path / name
        if not folder.exists():
            shutil.copytree(random_nano, folder)
        plan = Plan(steps=steps, warmup=0, cooldown=0.0, log_every=1)
        return Stage(folder=folder, source=ClipSource(count=9), plan=plan, ranks=Ranks(), batch=4, compile=False)

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
    new, held = Critic(CRITIC), judging.build_critic(None, None).state_dict()
    weights = load_file(asked.folder / "critic.safetensors")
    new.load_state_dict(weights)
    moved = [name for name, weight in weights.items() if not torch.equal(weight, held[name].half())]
    assert "verdict" in moved and "see.weight" in moved and "hear.weight" in moved
    said = json.loads((asked.folder / "critic_training.json").read_text())
    assert said["figures"] == {**figures, "steps": 2, "clips": 7, "scenes": 7}
    assert set(figures) == {"ranked_rightly", "mistakes_refused", "imagined_ranked_rightly"}
    assert said["recipe"]["wrong"] == CriticRecipe().wrong
    (learned,), (recipe,) = seen["learned"], seen["asked"]
    apart, *others = seen["measured"]
    assert len(apart.latents) == 2 and all(torch.equal(part.latents, apart.latents) for part in others)
    both = torch.cat([apart.tokens, learned.tokens]).flatten(1)
    assert len(both) == 9 and torch.equal(both.unique(dim=0), bank.tokens.flatten(1).unique(dim=0))
    # A half of what it learns from is drawn again, and nothing of what it is measured on.
    drawn = (learned.latents != -learned.mistaken).flatten(1).any(dim=1)
    assert 3 <= drawn.sum() <= 4 and torch.equal(apart.latents, -apart.mistaken)
    assert recipe == {"states": True, "wrong_words": True}
    assert said["recipe"]["text_encoder"] == sha256(asked.folder / "text_encoder.safetensors")


def test_an_interrupted_critic_goes_on(stage_of):
    stage, *_ = stage_of
    judging.train_critic_stage(stage("whole", 4), [])
    judging.train_critic_stage(stage("halves", 2), [])
    halves = stage("halves", 4)
    # An interrupted run has not come to the end, where the critic is written.
    for name in ("critic.safetensors", "critic_training.json"):
        (halves.folder / name).unlink()
    judging.train_critic_stage(halves, [])
    whole, again = (load_file(halves.folder.parent / name / "critic.safetensors") for name in ("whole", "halves"))
    assert all(torch.equal(weight, again[name]) for name, weight in whole.items())
    rows = [json.loads(row)["step"] for row in (halves.runs / "critic" / "log.jsonl").read_text().splitlines()]
    assert rows == [1, 2, 3, 4]


@pytest.mark.parametrize("heard, asked", [("the folder's", True), ("another", False), (None, False)])
def test_imagined_clips_are_sifted_by_a_critic_of_this_text_encoder(stage_of, monkeypatch, heard, asked):
    stage, _, _, seen = stage_of
    few = stage("sifted", 1)
    digest = sha256(few.folder / "text_encoder.safetensors") if heard == "the folder's" else heard
    save_file(Critic(CRITIC).state_dict(), few.folder / "critic.safetensors")
    (few.folder / "critic_training.json").write_text(json.dumps({"recipe": {"text_encoder": digest}}))
    monkeypatch.setattr(building, "Critic", lambda _: Critic(CRITIC))
    sifted = []

    def none(imagined, critic, text, least):
        sifted.append((critic.training, least))
        return replace(imagined, **{name: getattr(imagined, name)[:0] for name in ("latents", "paragraphs", "wrong")})

    monkeypatch.setattr(judging, "trusted", none)
    judging.train_critic_stage(few, [])
    assert sifted == ([(False, CriticRecipe().trusted)] if asked else [])
    figures = json.loads((few.folder / "critic_training.json").read_text())["figures"]
    assert figures["scenes"] == (0 if asked else 7)


def test_too_few_clips_are_refused(stage_of, monkeypatch):
    stage, _, bank, _ = stage_of
    monkeypatch.setattr(judging, "world_bank", lambda *parts, **asked: bank.part(torch.arange(3)))
    with pytest.raises(ValueError, match="a critic learns from 4 clips or more, a quarter of which is held out; not 3"):
        judging.train_critic_stage(stage("few", 1), [])


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


def test_a_critic_may_be_averaged_in_the_command_that_trains_it(monkeypatch):
    done = []
    monkeypatch.setattr(train, "_train", lambda args, trained: done.extend(trained))
    monkeypatch.setattr("cosmos_lab.train.average.check_average", lambda *asked: None)
    monkeypatch.setattr("cosmos_lab.train.average.average", lambda *asked: done.append(asked[-1]))
    train.run(parsed("critic", "average", "--averaged", "critic", "--mistakes", "0.9"))
    assert done == ["critic", "critic"]


def test_a_critic_takes_clips_in_parts_with_their_mistakes(monkeypatch):
    seen = []
    monkeypatch.setattr("cosmos_lab.train.clips.render_parts", lambda source, ranks: seen.append(source) or "parts")
    monkeypatch.setattr(nano, "held_out_pool", lambda ranks, workers: None)
    monkeypatch.setattr(nano, "train_stage",
                        lambda name, stage, pools, held_out: seen.append((name, stage, pools)) or {})  # fmt: skip
    train.run(parsed("critic", "--mistakes", "0.9", "--drums", "0.5", "--clips", "40"))
    source, (name, stage, pools) = seen
    assert (source.mistakes, source.mixture.drums, source.count, source.judged) == (0.9, 0.5, 40, True)
    assert (name, pools, stage.source) == ("critic", "parts", source)
    assert (stage.plan.lr, stage.batch, stage.plan.ema, stage.plan.optimizer) == train.DEFAULTS["critic"]
