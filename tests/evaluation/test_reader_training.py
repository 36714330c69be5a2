"""Training the ruler: what it sees, what it is scored on, and that a few steps teach it something."""

import json
import math
from dataclasses import replace

import pytest
import torch
from made_worlds import drop

from cosmos_lab.evaluation.labels import COLOR_NAMES, dense_targets, label_table
from cosmos_lab.evaluation.reader import Reader, ReaderConfig
from cosmos_lab.runtime.checkpoints import save_weights
from cosmos_lab.runtime.ranks import Ranks
from cosmos_lab.train.clips import Pool
from cosmos_lab.train.loop import Plan
from cosmos_lab.train.reader import (
    ReaderRecipe,
    corrupt,
    draw,
    settle_statistics,
    share_entropy,
    smear,
    train_reader,
    vote_entropy,
)  # fmt: skip
from cosmos_lab.train.reader_accuracy import centroid_error, reader_accuracy
from cosmos_lab.train.reader_pool import ReaderPool, reader_pool, with_withheld


@pytest.fixture(scope="module")
def pool(dropped):
    """Four clips of five pixel frames: parts of one render."""
    rollout, pixels, body_index = dropped
    starts = (0, 4, 8, 12)
    return Pool(
        pixels=torch.cat([pixels[:, start : start + 5] for start in starts]),
        body_index=torch.cat([body_index[:, start : start + 5] for start in starts]),
        rollouts=[rollout] * 4, captions=[], meanings=torch.zeros(0, 1, dtype=torch.int8),
    )  # fmt: skip


class Halving:
    """A tokenizer that darkens: its reconstructions are easy to tell from renders."""

    def encode(self, video):
        return video / 2 - 0.5

    def decode(self, latents):
        return latents


def test_reconstructions_join_the_pool_under_the_labels_of_their_renders(pool):
    both = reader_pool(pool, Halving(), share=0.5, noise=0.0)
    assert len(both) == 6 and both.render[:4].tolist() == [0, 1, 2, 3]
    shown, clean = both.pixels(torch.tensor([5, 1, 4])).float(), pool.pixels.float()
    assert torch.equal(shown[1], clean[1])
    for row, clip in ((0, 5), (2, 4)):
        assert (shown[row] - clean[both.render[clip]] / 2).abs().max() <= 1


class Darkening:
    """Draws again what is a quarter of a picture's range darker, and remembers how many clips it drew."""

    drawn = 0

    def __call__(self, latents, generator):
        self.drawn += len(latents)
        return latents - 0.25


def test_a_share_of_the_reconstructions_is_of_what_was_drawn_again(pool):
    plain = reader_pool(pool, Halving(), share=1.0, noise=0.0)
    for share, least, most in ((0.0, 0, 0), (0.5, 1, 3), (1.0, 4, 4)):
        redraw = Darkening()
        made = reader_pool(pool, Halving(), share=1.0, noise=0.0, redraw=redraw, redrawn=share)
        assert least <= redraw.drawn <= most and sorted(made.render.tolist()) == sorted(plain.render.tolist())
        for place, render in enumerate(made.render[4:].tolist()):
            clean = plain.decoded[plain.render[4:].tolist().index(render)].float()
            # Those that were drawn again come first; what is black already stays so.
            expected = (clean - 0.25 * 127.5).clamp(min=0) if place < redraw.drawn else clean
            assert (made.decoded[place].float() - expected).abs().max() <= 1


def test_withheld_combinations_are_not_drawn_again(pool):
    """The model might turn them into what it knows, and the ruler would learn to excuse it."""
    withheld = replace(pool, rollouts=[*pool.rollouts[:2], *[drop(color="green")] * 2])
    redraw = Darkening()
    made = reader_pool(withheld, Halving(), share=1.0, noise=0.0, redraw=redraw, redrawn=1.0)
    assert redraw.drawn == 2 and sorted(made.render[4:6].tolist()) == [0, 1]


def test_training_sees_what_was_drawn_again(pool, tmp_path):
    redraw, plan = Darkening(), Plan(steps=1, warmup=0)
    recipe = ReaderRecipe(batch=1, dense=1, settle=1, withheld=0, redrawn=1.0)
    train_reader(pool, plan, Ranks(), tmp_path, vae=Halving(), redraw=redraw, recipe=recipe, num_held_out=1,
                 progress=False)  # fmt: skip
    assert redraw.drawn == 2


def test_held_out_renders_are_never_trained_on_in_any_form(pool):
    training, held_out = reader_pool(pool, Halving(), share=1.0, noise=0.0).split(1)
    # Evenly spaced: one of one is the first.
    assert sorted(training.render.tolist()) == [1, 1, 2, 2, 3, 3] and held_out.render.tolist() == [0, 0]
    last = pool.pixels[0].float()
    assert [(clip.float() - last * share).abs().max() <= 1 for clip, share in
            zip(held_out.pixels(torch.arange(2)), (1.0, 0.5))] == [True, True]  # fmt: skip


def test_a_batch_pairs_pixel_frames_with_their_masks(pool, generator):
    made = reader_pool(pool)
    video, at, body_index, labels = draw(made, ReaderRecipe(batch=3, dense=2, augment=0.0), generator)
    assert video.shape == (3, 3, 5, 112, 192) and at.shape == (3, 2) and body_index.shape == (3, 2, 112, 192)
    assert all(len(set(row.tolist())) == 2 for row in at) and len(labels) == 3
    # The ball is where its mask says: red within it, not red around it.
    colors, _ = dense_targets(body_index, labels)
    assert colors.shape == (3, 2, 10, 56, 96)
    for row in range(3):
        picture = video[row, :, at[row, 0]]
        inside = body_index[row, 0] == 0
        assert picture[0][inside].mean() > picture[2][inside].mean() + 0.2


def test_corruption_is_mild_and_keyed(pool, generator):
    video = torch.rand(2, 3, 3, 16, 16, generator=generator) * 2 - 1
    first, again = (corrupt(video, 1.0, torch.Generator().manual_seed(4)) for _ in range(2))
    assert torch.equal(first, again) and torch.allclose(corrupt(video, 0.0, generator), video, atol=1e-6)
    assert first.abs().max() <= 1 and 0.005 < (first - video).abs().mean() < 0.3


def test_smearing_spreads_color_and_keeps_brightness():
    video = torch.zeros(2, 3, 1, 16, 16)
    video[:, 0, :, 6:10, 6:10] = 0.9
    smeared = smear(video, torch.tensor([0.0, 1.0]).reshape(2, 1, 1, 1, 1))
    assert torch.allclose(smeared[0], video[0]) and torch.allclose(smeared.mean(dim=1), video.mean(dim=1), atol=1e-6)
    # Red leaks out of the square: beside it, red now exceeds blue.
    assert smeared[1, 0, 0, 4, 8] > smeared[1, 2, 0, 4, 8] + 0.05


def test_votes_are_scored_by_object_and_not_by_cell():
    colors, shapes, logits = torch.zeros(1, 1, 10, 8, 8), torch.zeros(1, 1, 4, 8, 8), torch.zeros(1, 1, 4, 8, 8)
    colors[0, 0, 2, :4, :4] = shapes[0, 0, 1, :4, :4] = 1
    assert vote_entropy(logits, shapes, colors).item() == pytest.approx(math.log(4), abs=1e-4)
    # Three cells in four know the shape, the fourth is sure of another one.
    logits[0, 0, 1], logits[0, 0, 3, :4, 0] = 20, 40
    assert vote_entropy(logits, shapes, colors).item() == pytest.approx(-math.log(0.75), abs=1e-4)
    # Too small to be asked about.
    assert vote_entropy(logits, shapes * 0, colors * 0).item() == 0


def test_the_recipe_is_checked():
    assert ReaderRecipe().clips >= 12_000
    with pytest.raises(ValueError, match="at least 1"):
        ReaderRecipe(clips=0)


def test_share_entropy_is_least_at_the_shares_themselves():
    shares = torch.tensor([0.25, 0.75]).reshape(1, 1, 2, 1, 1)
    best = -(0.25 * math.log(0.25) + 0.75 * math.log(0.75))
    assert share_entropy(shares.log(), shares).item() == pytest.approx(best, abs=1e-6)
    assert share_entropy(torch.zeros(1, 1, 2, 1, 1), shares).item() > best


def test_centroid_error_is_in_pixels():
    mass = torch.zeros(1, 1, 10, 20, 30)
    mass[0, 0, 2, 5:10, 5:10] = 1
    assert centroid_error(mass.roll((1, 2), dims=(3, 4)), mass).tolist() == pytest.approx([2 * math.hypot(1, 2)])


def test_settled_statistics_are_those_of_the_data(pool):
    reader = Reader(ReaderConfig.default())
    reader.initialize(torch.Generator().manual_seed(0))
    first = reader.stem[0][1]
    settle_statistics(reader, reader_pool(pool), ReaderRecipe(batch=2, dense=1, settle=2, withheld=0))
    assert not reader.training and first.momentum == 0.1 and int(first.num_batches_tracked) == 2
    assert first.running_mean.abs().max() > 0


def test_a_few_steps_teach_something_and_resume(pool, tmp_path):
    plan = Plan(steps=6, lr=2e-3, warmup=1, log_every=1, ema=0.5, cooldown=0.1)
    recipe = ReaderRecipe(batch=2, dense=2, settle=2, withheld=0)
    _, figures = train_reader(pool, plan, Ranks(), tmp_path, recipe=recipe, num_held_out=1, progress=False)
    rows = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert len(rows) == 6 and rows[-1]["loss"] < 0.8 * rows[0]["loss"]
    assert {"motion", "floor", "color_cells", "centroid", "pitch_degrees"} <= set(figures)
    longer = replace(plan, steps=7)
    train_reader(pool, longer, Ranks(), tmp_path, recipe=recipe, num_held_out=1, progress=False)
    rows = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert rows[-1]["step"] == 7 and len(rows) == 7


def test_few_clips_are_not_all_held_out_and_too_few_are_refused(pool, tmp_path):
    plan, recipe = Plan(steps=1, warmup=0), ReaderRecipe(batch=1, dense=1, settle=1, withheld=0)
    _, figures = train_reader(pool, plan, Ranks(), tmp_path, recipe=recipe, progress=False)
    assert "colors" in figures
    few = replace(pool, rollouts=pool.rollouts[:3], pixels=pool.pixels[:3], body_index=pool.body_index[:3])
    with pytest.raises(ValueError, match="from 4 clips or more, a quarter of which is held out; not 3"):
        train_reader(few, plan, Ranks(), tmp_path, recipe=recipe, progress=False)


def test_training_goes_on_from_weights(pool, tmp_path):
    """With a learning rate of all but nothing, what comes out is what went in."""
    made = Reader(ReaderConfig.default())
    made.initialize(torch.Generator().manual_seed(9))
    save_weights(tmp_path / "reader.safetensors", made, dtype=torch.float32)
    plan = Plan(steps=1, lr=1e-9, warmup=0, ema=0.5, weight_decay=0.0)
    recipe = ReaderRecipe(batch=1, dense=1, settle=1, withheld=0)
    found, _ = train_reader(pool, plan, Ranks(), tmp_path, recipe=recipe, weights=tmp_path / "reader.safetensors",
                            num_held_out=1, progress=False)  # fmt: skip
    assert torch.allclose(found.dense.weight, made.dense.weight, atol=1e-6)


def test_a_pool_without_withheld_combinations_gets_some(pool, monkeypatch):
    """A ruler that never saw a red cylinder might call it a box: that would be the ruler's fault, not the model's."""
    asked = []

    def rendered(source, ranks, progress=True):
        asked.append(source)
        made = [drop(color="green")] * 2
        return Pool(pixels=pool.pixels[:2], body_index=pool.body_index[:2], rollouts=made, captions=[],
                    meanings=pool.meanings)

    monkeypatch.setattr("cosmos_lab.train.reader_pool.render_pool", rendered)
    both = with_withheld(pool, 2, Ranks())
    assert len(both.pixels) == len(both.body_index) == len(both.rollouts) == 6
    assert asked[0].split == "withheld" and asked[0].count == 2
    assert with_withheld(both, 2, Ranks()) is both and with_withheld(pool, 0, Ranks()) is pool and len(asked) == 1


def test_accuracy_of_a_perfect_reader_is_perfect(pool):
    """An oracle in the reader's place: its logits are the labels."""
    made = reader_pool(pool)

    class Oracle(Reader):
        calls = 0

        def forward(self, pixels, dense_at=None):
            out = super().forward(pixels)
            rows = torch.arange(Oracle.calls, Oracle.calls + len(pixels))
            Oracle.calls += len(pixels)
            labels = made.labels.select(rows)
            colors, shapes = dense_targets(made.body_index[rows], labels)
            clip = {name: 50.0 * torch.nn.functional.one_hot(labels.clip[name], logits.shape[1])
                    for name, logits in out.clip.items()}  # fmt: skip
            return replace(out, colors=colors.clamp(min=1e-9).log(), shapes=shapes, clip=clip, view=labels.view)

    class Astray(Oracle):
        """Sees a green thing besides in one clip of the four, and not the red one in another."""

        def forward(self, pixels, dense_at=None):
            out = super().forward(pixels)
            if Oracle.calls == len(made):
                out.colors[-1, :, COLOR_NAMES.index("green"), 2:12, 2:12] = 9.0
                out.colors[-2, :, COLOR_NAMES.index("red")] = -20.0
            return out

    figures = reader_accuracy(Oracle(ReaderConfig.default()), made, batch=2)
    Oracle.calls = 0
    assert reader_accuracy(Astray(ReaderConfig.default()), made, batch=2)["colors"] == 0.5
    assert figures.pop("centroid") < 1e-3 and figures.pop("pitch_degrees") < 1e-4
    assert all(value == 1 for value in figures.values())
    assert label_table([drop().scene]).clip["motion"].shape == (1,) and isinstance(made, ReaderPool)
