"""What captions say: the answers are those of the scene, and an encoder is taught to bind words."""

import pytest
import torch
from torch import nn

from cosmos_lab.train.clips import CAPTION_COUNTS, Pool, captions_of
from cosmos_lab.train.meanings import SIZES, MeaningHead, meaning_of
from cosmos_lab.train.world_model import LatentBank, WorldRecipe, world_loss
from cosmos_lab.worlds import vocabulary
from cosmos_lab.worlds.captions import SIDES, describe
from cosmos_lab.worlds.families import MOTIONS, draw_scene
from cosmos_lab.worlds.scene import CAMERAS, COLORS, SHAPES

NONE, UNSAID = 2 * len(SHAPES), len(SIDES)


def answers(scene, length):
    """`meaning_of` by name: body and side of each color, motion, camera."""
    told = describe(scene, length, seed=3)
    found = meaning_of(scene, told)
    assert len(found) == len(SIZES) and all(0 <= answer < size for answer, size in zip(found, SIZES))
    number = len(COLORS)
    bodies, sides = (dict(zip(COLORS, part)) for part in (found[:number], found[number : 2 * number]))
    return told, bodies, sides, *found[2 * number :]


@pytest.mark.parametrize("seed", range(40))
def test_paragraphs_tell_every_body_with_its_shape_role_and_side(seed):
    scene = draw_scene(seed)
    told, bodies, sides, motion, camera = answers(scene, "dense")
    for body in scene.objects:
        answer = bodies[body.color]
        assert SHAPES[answer % len(SHAPES)] == body.shape
        assert (answer >= len(SHAPES)) == (body.name in scene.facts["actors"])
    assert sum(answer != NONE for answer in bodies.values()) == len({body.color for body in scene.objects})
    assert list(MOTIONS)[motion] == scene.motion and CAMERAS[camera] == scene.camera
    words = {"left": "left", "right": "right", "center": "center|middle"}
    for color, side in sides.items():
        hung = scene.family == "pendulum" and bodies[color] >= len(SHAPES) and bodies[color] != NONE
        assert (side == UNSAID) == (bodies[color] == NONE or hung)
        if side != UNSAID:
            assert any(word in told.text.lower() for word in words[SIDES[side]].split("|"))


def test_a_side_is_that_of_its_own_sentence():
    """By the text alone: the first sentence that names a lone body of a color also names its side."""
    checked = 0
    for seed in range(60):
        scene = draw_scene(seed)
        told, _, sides, *_ = answers(scene, "dense")
        if len(scene.objects) != 2 or scene.family in ("pendulum", "tower", "dominoes", "hide"):
            continue
        for body in scene.objects:
            kinds = vocabulary.COLOR_WORDS[body.color].strip("[]").split("|")
            sentence = next((s for s in told.text.split(". ") if any(f" {kind} " in s for kind in kinds)), "")
            said = [side for side in ("left", "right") if f" {side}" in sentence.split(" and ")[0]]
            if len(said) == 1 and SIDES[sides[body.color]] != "center":
                checked += 1
                assert SIDES[sides[body.color]] == said[0], (told.text, body)
    assert checked > 10


def test_short_captions_pass_over_what_rests():
    silent = [answers(draw_scene(seed), "short") for seed in range(60)]
    assert all(side == UNSAID for _, _, sides, *_ in silent for side in sides.values())
    assert all(camera == len(CAMERAS) for *_, camera in silent)
    for told, bodies, *_ in silent:
        assert sum(answer != NONE for answer in bodies.values()) <= max(1, len(told.mentioned))


def test_a_pool_keeps_meanings_beside_their_captions():
    scenes = [draw_scene(seed) for seed in (1, 2, 3)]
    texts, meanings = zip(*captions_of(scenes))
    count = sum(CAPTION_COUNTS.values())
    assert len(texts) == 3 * count
    assert list(meanings[count]) == meaning_of(scenes[1], describe(scenes[1], "short", seed=0))
    blank = torch.zeros(3, 1, 2, 2, 3, dtype=torch.uint8)
    pool = Pool(pixels=blank, body_index=blank[..., 0].to(torch.int8), rollouts=[1, 2, 3], captions=list(texts),
                meanings=torch.tensor(meanings, dtype=torch.int8))
    both = pool.first(1).joined(pool.first(2))
    assert both.rollouts == [1, 1, 2] and both.captions == [*texts[:count], *texts[: 2 * count]]
    assert torch.equal(both.meanings, torch.cat([pool.meanings[:count], pool.meanings[: 2 * count]]))
    assert len(both.pixels) == len(both.body_index) == 3


def planted(generator, number, bound):
    """Vectors of 8 words: colors in a random order, each with its shape written in it where `bound`, else in a word
    of its own whose place tells nothing; and the shapes."""
    shapes = torch.randint(len(SHAPES), (number, len(COLORS)), generator=generator)
    order = torch.rand(number, len(COLORS), generator=generator).argsort(dim=1)
    text = torch.zeros(number, 2 * len(COLORS), 16)
    colors = torch.eye(len(COLORS))[order]
    nouns = torch.eye(len(SHAPES))[shapes.gather(1, order)]
    text[:, : len(COLORS), : len(COLORS)] = colors
    text[:, : len(COLORS) if bound else 2 * len(COLORS), 8:12][:, -len(COLORS) :] = nouns
    meanings = torch.zeros(number, len(SIZES), dtype=torch.int8)
    meanings[:, : len(COLORS)] = shapes
    return text, meanings


@pytest.mark.parametrize("bound", [True, False])
def test_the_head_can_tell_bound_words_and_no_others(generator, bound):
    """It looks once: words that the encoder has not brought together stay apart, so the encoder has to do it."""
    torch.manual_seed(0)
    head = MeaningHead(16)
    optimizer = torch.optim.Adam(head.parameters(), lr=1e-2)
    mask = torch.ones(64, 2 * len(COLORS), dtype=torch.bool)
    for _ in range(250):
        text, meanings = planted(generator, 64, bound)
        optimizer.zero_grad()
        head.error(text, mask, meanings).backward()
        optimizer.step()
    text, meanings = planted(generator, 64, bound)
    right = (head(text, mask).argmax(dim=2) == meanings)[:, : len(COLORS)].float().mean().item()
    assert right > 0.95 if bound else right < 0.6


def test_answers_past_the_last_are_impossible_and_padding_is_not_read(generator):
    head, text = MeaningHead(16), torch.randn(2, 6, 16, generator=generator)
    mask = torch.arange(6) < torch.tensor([[6], [3]])
    logits = head(text, mask)
    assert [int(row.isfinite().sum()) for row in logits[0]] == SIZES
    other = text.clone()
    other[1, 3:] = 99.0
    assert torch.equal(head(other, mask)[1], logits[1])


class Words(nn.Module):
    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(9, 16)

    def forward(self, ids, mask):
        return self.table(ids) * mask[..., None]


class Deaf(nn.Module):
    def forward(self, x, timesteps, text, *, condition_mask):
        return x + 0 * text.sum()


def test_the_loss_teaches_the_encoder_even_where_the_prompt_is_dropped(generator):
    torch.manual_seed(0)
    bank = LatentBank(latents=torch.randn(6, 16, 3, 4, 6, generator=generator).half(),
                      tokens=torch.randint(1, 9, (6, 2, 5), generator=generator).short(),
                      meanings=torch.zeros(6, 2, len(SIZES), dtype=torch.int8))
    modules = nn.ModuleDict({"dit": Deaf(), "text": Words(), "meanings": MeaningHead(16)})
    plain, _ = world_loss(modules, bank, WorldRecipe(batch=4, text_dropout=1.0))(1, generator.manual_seed(5))
    total, figures = world_loss(modules, bank, WorldRecipe(batch=4, text_dropout=1.0, meaning_weight=0.5))(
        1, generator.manual_seed(5)
    )
    assert total.item() == pytest.approx(plain.item() + 0.5 * figures["meaning"].item(), rel=1e-5)
    total.backward()
    assert modules["text"].table.weight.grad.abs().sum() > 0 and modules["meanings"].queries.grad.abs().sum() > 0
