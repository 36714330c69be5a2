"""A clip that its critic does not accept is made again, and the best try is kept."""

import argparse
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from random_nano import CRITIC, pipe, random_critic, random_nano, write_random_nano  # noqa: F401 (fixtures)

import cosmos_lab as lab
from cosmos_lab.cli.making import finish
from cosmos_lab.config import Sampling
from cosmos_lab.diffusion.denoiser import Denoiser
from cosmos_lab.evaluation.batch import generate_batch
from cosmos_lab.noise import Keyed
from cosmos_lab.pipelines.generate import Pipeline, load
from cosmos_lab.selection.tries import best_of_tries

QUICK = {"num_steps": 2, "num_pixel_frames": 9, "progress": False}
PROMPT = "a red ball rolls to the left"
CLIP = np.random.default_rng(0).integers(0, 255, (9, 112, 192, 3), dtype=np.uint8)


def judged(pipe, *, accept, tries=3, **sampling):  # noqa: F811
    """The pipeline with a critic of random weights, which does not accept below these odds."""
    rules = replace(pipe.card.sampling, tries=tries, accept=accept, **sampling)
    card = replace(pipe.card, critic=CRITIC, sampling=rules)
    return Pipeline(replace(pipe.model, card=card, critic=random_critic()), pipe.name)


@pytest.fixture(scope="module")
def strict(pipe):  # noqa: F811
    """Nothing is good enough."""
    return judged(pipe, accept=1.0)


@pytest.fixture(scope="module")
def best(strict):
    return strict.text2world(PROMPT, seed=3, **QUICK)


def of_sample(pipe, sample):  # noqa: F811
    return pipe.text2world(PROMPT, noise=Keyed(3, sample), **QUICK)


def test_the_rule():
    """Clip 0 is accepted at once, clip 1 at its second try, clip 2 never: its second try is the best one."""
    said = {0: [0.6], 1: [0.1, 0.5], 2: [0.2, 0.4, 0.3]}
    asked = []

    def make(sample, rows):
        asked.append((sample, list(rows)))
        return torch.stack([torch.full((1, 1, 1, 1), 10.0 * row + sample) for row in rows])

    def judge(latents, rows):
        return torch.tensor([said[row][int(value) % 10] for row, value in zip(rows, latents.flatten())])

    found = best_of_tries(make, judge, tries=3, accept=0.5, count=3)
    assert asked == [(0, [0, 1, 2]), (1, [1, 2]), (2, [2])]
    assert [clip.latents.item() for clip in found] == [0, 11, 21]
    assert [clip.odds for clip in found] == [tuple(map(pytest.approx, odds)) for odds in said.values()]


def test_with_one_try_nobody_is_asked():
    def judge(latents, rows):
        raise AssertionError

    (only,) = best_of_tries(lambda sample, rows: torch.ones(1, 2), judge, tries=1, accept=1.0)
    assert torch.equal(only.latents, torch.ones(1, 2)) and only.odds == ()


def test_what_is_accepted_at_once_is_made_once(pipe):  # noqa: F811
    lenient = judged(pipe, accept=0.0)
    made, plain = lenient.text2world(PROMPT, seed=3, **QUICK), pipe.text2world(PROMPT, seed=3, **QUICK)
    assert np.array_equal(made.frames, plain.frames) and torch.equal(made.latents, plain.latents)
    assert len(made.odds) == 1 and plain.odds == ()
    assert "judge" in made.timing and "judge" not in plain.timing
    assert made.provenance["settings"]["tries"] == 3 and "tries" not in plain.provenance["settings"]


def test_the_best_of_all_tries_is_kept(pipe, strict, best):  # noqa: F811
    assert len(set(best.odds)) == 3
    # Each try has initial noise, and noise that is put back, of its own.
    tries = [of_sample(pipe, sample) for sample in range(3)]
    assert len({float(clip.latents.sum()) for clip in tries}) == 3
    for clip, odds in zip(tries, best.odds):
        assert strict.odds(clip.latents, [PROMPT]).item() == pytest.approx(odds)
    assert torch.equal(best.latents, tries[int(np.argmax(best.odds))].latents)
    assert best.kept == int(np.argmax(best.odds)) + 1 and tries[1].kept == 1
    steps = list(strict.denoise(PROMPT, seed=3, num_steps=2, num_pixel_frames=9))
    assert torch.equal(steps[-1].x0, tries[0].latents)


def test_trying_ends_with_the_first_clip_that_is_accepted(pipe, best):  # noqa: F811
    for number in range(1, 3):
        accept = max(best.odds[:number]) + 1e-6
        until = next((place for place, odds in enumerate(best.odds) if odds >= accept), 2)
        assert len(judged(pipe, accept=accept).text2world(PROMPT, seed=3, **QUICK).odds) == until + 1


def test_the_number_of_tries_can_be_asked_for(pipe, strict):  # noqa: F811
    assert len(strict.text2world(PROMPT, tries=2, **QUICK).odds) == 2
    assert len(strict.text2image(PROMPT, tries=4, num_steps=1, progress=False).odds) == 4
    made = strict.text2world(PROMPT, tries=1, **QUICK)
    assert made.odds == () and made == pipe.text2world(PROMPT, **QUICK)
    for wrong in (0, 1.5, True):
        for model in (strict, pipe):
            with pytest.raises(ValueError, match="tries is a whole number from 1 on"):
                model.text2world(PROMPT, tries=wrong, **QUICK)


def test_all_else_is_made_once(pipe, strict):  # noqa: F811
    noise, embeds = Keyed(3), pipe.model.text.encode([PROMPT])
    ways = {
        "continues given": lambda p, **o: p.image2world(CLIP[0], PROMPT, **QUICK, **o),
        "continues": lambda p, **o: p.video2world(CLIP, PROMPT, **QUICK, **o),
        "given by hand": lambda p, **o: p.text2world(PROMPT, noise=noise, **QUICK, **o),
        "prompt_embeds": lambda p, **o: p.text2world("", prompt_embeds=embeds, **QUICK, **o),
        "an edit is": lambda p, **o: lab.edit(p, CLIP, PROMPT, strength=0.7, **QUICK, **o),
        "a long video": lambda p, **o: lab.long_video(p, None, PROMPT, num_chunks=2, **QUICK, **o),
    }
    for said, make in ways.items():
        made = make(strict)
        assert made.odds == () and made == make(pipe), said
        assert make(strict, tries=1) == made
        with pytest.raises(ValueError, match=f"{said}.*: leave tries away"):
            make(strict, tries=2)


def test_official_noise_is_a_single_one(pipe):  # noqa: F811
    official = judged(pipe, accept=1.0, noise="official")
    assert official.text2world(PROMPT, **QUICK).odds == ()
    with pytest.raises(ValueError, match="the official noise of a seed is a single one: leave tries away"):
        official.text2world(PROMPT, tries=2, **QUICK)


def test_without_a_critic_there_is_one_try(pipe):  # noqa: F811
    # The folder's card names several, for the model that has a critic.
    assert pipe.card.critic is None and pipe.card.sampling.tries > 1
    assert pipe.text2world(PROMPT, **QUICK).odds == ()
    with pytest.raises(ValueError, match="nano has no critic to choose among several tries: leave tries away"):
        pipe.text2world(PROMPT, tries=2, **QUICK)
    with pytest.raises(ValueError, match="has no critic; generate with tries=1"):
        pipe.odds(torch.zeros(1, 16, 3, 14, 24), [PROMPT])


def test_a_critic_that_is_missing_is_missed_before_any_clip_is_made(pipe, strict, monkeypatch):  # noqa: F811
    monkeypatch.setattr(Pipeline, "generate", lambda *_, **__: pytest.fail("it generates"))
    bare = Pipeline(replace(strict.model, critic=None), "bare")
    with pytest.raises(ValueError, match="bare has no critic; generate with tries=1, or load a model that has one"):
        bare.call("text2world", PROMPT)
    assert bare.call("text2world", PROMPT, tries=1).settings.tries == 1
    monkeypatch.setattr("cosmos_lab.evaluation.batch._denoise", lambda *_, **__: pytest.fail("it denoises"))
    with pytest.raises(ValueError, match="bare has no critic"):
        generate_batch(bare, [PROMPT], seeds=[0])


def test_a_saved_clip_tells_its_odds_and_is_made_again(tmp_path):
    write_random_nano(tmp_path / "model", critic=random_critic(bias=-4))
    model = load(tmp_path / "model")
    made = model.text2world(PROMPT, seed=3, **QUICK)
    tries = model.card.sampling.tries
    assert len(made.odds) == tries > 1
    said = json.loads(made.save(tmp_path / "clip.mp4").with_suffix(".json").read_text())
    assert said["odds"] == list(made.odds) and said["settings"]["tries"] == tries and "odds" not in made.provenance
    for again in (lab.replay(made, progress=False), lab.replay(tmp_path / "clip.mp4", progress=False)):
        assert again == made and again.odds == made.odds
    once = lab.replay(model.text2world(PROMPT, tries=1, **QUICK).save(tmp_path / "once.mp4"), progress=False)
    assert once.odds == () and "odds" not in json.loads((tmp_path / "once.json").read_text())


def test_a_notebook_shows_which_try_was_kept(best):
    number = int(np.argmax(best.odds)) + 1
    assert f"fits {100 * max(best.odds):.0f} % (try {number})" in best._repr_html_()
    assert "fits" not in replace(best, odds=())._repr_html_()


def test_the_command_line_says_which_try_was_kept(best, tmp_path, capsys):
    finish(best, tmp_path / "clip.mp4", argparse.Namespace(contact_sheet=False))
    number = int(np.argmax(best.odds)) + 1
    said = f"{100 * max(best.odds):.0f} % that it shows the prompt, try {number} of {len(best.odds)}"
    assert said in capsys.readouterr().out
    finish(replace(best, odds=()), tmp_path / "clip.mp4", argparse.Namespace(contact_sheet=False))
    assert "shows the prompt" not in capsys.readouterr().out


def test_a_batch_equals_single_calls(pipe, strict, monkeypatch):  # noqa: F811
    prompts = ["a red ball rolls to the left", "a blue box rolls to the right", "a green ball rolls to the left"]
    options, seeds = {"num_steps": 2, "num_pixel_frames": 9}, [5, 6, 7]
    first = [strict.text2world(prompt, seed=seed, **QUICK).odds[0] for prompt, seed in zip(prompts, seeds)]
    # Between two of them: rounding may not decide what is accepted.
    picky = judged(pipe, accept=sum(sorted(first)[:2]) / 2)
    alone = [picky.text2world(prompt, seed=seed, progress=False, **options) for prompt, seed in zip(prompts, seeds)]
    made = [len(clip.odds) for clip in alone]
    assert made.count(1) >= 2 and max(made) > 1
    sizes = []
    clips = generate_batch(picky, prompts, seeds=seeds, batch=2, **options,
                           progress=lambda parts: sizes.append([len(part) for part in parts]) or parts)  # fmt: skip
    # Other batch sizes take other kernels: a level of rounding.
    assert all(np.abs(clip.astype(int) - one.frames).max() <= 1 for clip, one in zip(clips, alone))
    assert sizes == [[2, 1]] + [[1]] * (max(made) - 1)
    plain = generate_batch(pipe, prompts, seeds=seeds, batch=2, **options)
    assert np.array_equal(generate_batch(picky, prompts, seeds=seeds, batch=2, tries=1, **options), plain)
    given = CLIP[None, :5]
    calls = []
    monkeypatch.setattr(Denoiser, "__call__", _counting(Denoiser.__call__, calls))
    generate_batch(strict, prompts[:1], seeds=[5], given=given, tries=3, **options)
    assert len(calls) == 3


def _counting(real, calls):
    return lambda self, *arguments, **options: calls.append(1) or real(self, *arguments, **options)


def test_tries_are_checked_at_construction():
    for wrong in ({"tries": 0}, {"accept": 1.1}, {"accept": -0.1}):
        with pytest.raises(ValueError, match="tries is 1 or more and accept from 0 to 1"):
            Sampling(**wrong)
