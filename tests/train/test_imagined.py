"""Clips that the world model makes from right and wrong captions: which belong together, and which are trusted."""

import torch
from random_nano import random_nano  # noqa: F401 (fixture)
from torch import nn

from cosmos_lab.pipelines.generate import load
from cosmos_lab.train import imagined
from cosmos_lab.train.clips import CAPTION_COUNTS
from cosmos_lab.train.imagined import Imagined, _sampled, imagine, imagined_figures, trusted
from cosmos_lab.train.world_model import LatentBank

CAPTIONS = sum(CAPTION_COUNTS.values())


def scenes(number):
    """Of scene n, the first clip holds n and the second -n; paragraphs are the words 1 to 3, the wrong one is n + 8."""
    sign = torch.tensor([1.0, -1.0])
    latents = (torch.arange(1.0, number + 1)[:, None] * sign).view(number, 2, 1, 1, 1, 1).half()
    paragraphs = torch.arange(1, 4).view(1, 3, 1).expand(number, -1, 2).short()
    wrong = torch.arange(9, number + 9)[:, None].expand(-1, 2).short()
    return Imagined(latents=latents, paragraphs=paragraphs, wrong=wrong)


def test_pairs_are_right_where_a_clip_meets_the_caption_that_it_was_made_from(generator):
    latents, tokens, right = scenes(5).draw(4000, generator)
    first, paragraph = latents.flatten() > 0, tokens[:, 0] < 9
    assert torch.equal(right, (first == paragraph).float())
    assert all(0.22 < share < 0.28 for share in (
        (first & paragraph).float().mean(), (first & ~paragraph).float().mean(), (~first & paragraph).float().mean(),
    ))  # fmt: skip
    assert tokens[paragraph, 0].unique().tolist() == [1, 2, 3]
    # A wrong caption comes with the scene that it is wrong of.
    assert torch.equal(tokens[~paragraph, 0] - 8, latents.flatten().abs()[~paragraph].long())


class Words(nn.Module):
    def forward(self, ids, mask):
        return ids.float()[..., None]


class Believer(nn.Module):
    """Believes in what begins with a paragraph and is positive, in what does not and is negative, and in odd scenes
    more than in even ones."""

    def forward(self, latents, vectors):
        value, paragraph = latents.flatten(), vectors[:, 0, 0] < 9
        sure = torch.where(value.abs() % 2 == 1, 4.0, 1.0)
        return torch.where((value > 0) == paragraph, sure, -sure)


class Doubter(Believer):
    def forward(self, latents, vectors):
        return -super().forward(latents, vectors)


def test_scenes_are_trusted_where_both_clips_are():
    kept = trusted(scenes(5), Believer(), Words(), 0.9)
    assert kept.latents[:, 0].flatten().tolist() == [1, 3, 5] and kept.wrong[:, 0].tolist() == [9, 11, 13]
    assert len(trusted(scenes(5), Believer(), Words(), 0.7).latents) == 5
    assert len(trusted(scenes(5), Doubter(), Words(), 0.5).latents) == 0


def test_a_critic_is_measured_by_which_of_two_clips_it_prefers():
    assert imagined_figures(Believer(), scenes(5), Words()) == {"imagined_ranked_rightly": 1.0}
    assert imagined_figures(Doubter(), scenes(5), Words()) == {"imagined_ranked_rightly": 0.0}


def bank_of(model):
    """Three scenes: the first has no wrong caption, the second one, the third three."""
    texts = [f"a {color} ball rolls over a floor" for color in ("red", "blue", "green", "pink", "cyan", "gray")]
    ids = model.text.tokenize(texts + [text.replace("ball", "box") for text in texts]).ids.short()
    tokens, wrong = ids[:CAPTIONS][None].expand(3, -1, -1).clone(), ids[-3:][None].expand(3, -1, -1).clone()
    wrong[0] = wrong[1, ::2] = 0
    return LatentBank(latents=torch.zeros(3, 16, 3, 4, 6), tokens=tokens, wrong_tokens=wrong)


def test_scenes_that_have_a_wrong_caption_are_imagined_from_it_and_from_a_paragraph(random_nano, generator):  # noqa: F811
    model = load(random_nano).model
    bank = bank_of(model)
    made = imagine(bank, model.dit, model.text, 9, generator, batch=3)
    assert made.latents.shape == (2, 2, 16, 3, 4, 6) and made.latents.dtype == torch.float16
    assert torch.isfinite(made.latents).all() and made.latents.flatten(0, 1).flatten(1).unique(dim=0).shape[0] == 4
    assert torch.equal(made.paragraphs, bank.tokens[1:, -CAPTION_COUNTS["dense"] :])
    told = [(row == bank.wrong_tokens[2]).all(dim=1).nonzero().item() for row in made.wrong]
    assert 1 in told
    assert len(imagine(bank, model.dit, model.text, 1, generator).latents) == 1


def test_the_first_clip_is_of_the_paragraph_and_the_second_of_the_wrong_caption(random_nano, generator, monkeypatch):  # noqa: F811
    model = load(random_nano).model
    bank = bank_of(model)
    # A clip that is filled with what its text says first.
    monkeypatch.setattr(imagined, "_sampled", lambda dit, text, shape, seeds: text[:, 3, 0].half().view(-1, 1, 1, 1, 1)
                        .expand(-1, *shape[1:]))  # fmt: skip
    made = imagine(bank, model.dit, model.text, 9, generator)
    for place, tokens in enumerate((made.paragraphs[:, 0], made.wrong)):
        said = model.text(tokens.long(), tokens != 0)[:, 3, 0].half()
        assert torch.equal(made.latents[:, place, 0, 0, 0, 0], said)
    assert (made.latents[:, 0] != made.latents[:, 1]).all()


def test_without_wrong_captions_nothing_is_imagined_or_measured(random_nano, generator):  # noqa: F811
    model = load(random_nano).model
    bank = bank_of(model).part(torch.tensor([0]))
    made = imagine(bank, model.dit, model.text, 9, generator)
    assert made.latents.shape == (0, 2, 16, 3, 4, 6) and imagined_figures(Believer(), made, Words()) == {}


def test_a_clip_is_the_one_that_the_pipeline_makes(random_nano):  # noqa: F811
    pipe, prompts, seeds = load(random_nano), ["a red ball rolls over a floor", "a green ball"], [3, 4]
    text = pipe.model.text.encode(prompts)
    expected = [list(pipe.denoise(prompt, seed=seed, num_pixel_frames=9, progress=False))[-1].x0
                for prompt, seed in zip(prompts, seeds)]  # fmt: skip
    made = _sampled(pipe.model.dit, text, expected[0].shape, seeds).float()
    # Computed in bfloat16, where the pipeline has float32 on a CPU.
    assert torch.allclose(made, torch.cat(expected), atol=0.05 * expected[0].std().item(), rtol=0.05)
    swapped = _sampled(pipe.model.dit, text, expected[0].shape, seeds[::-1]).float()
    assert (swapped - torch.cat(expected)).std() > 0.5 * expected[0].std()
