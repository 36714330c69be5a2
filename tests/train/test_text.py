"""The text encoder learns what captions say from captions alone, and what is withheld stays withheld."""

import json

import pytest
import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer
from torch import nn
from torch.nn import functional as F
from transformers import T5Config

from cosmos_lab.cli import train as command
from cosmos_lab.runtime.checkpoints import find_folder
from cosmos_lab.runtime.ranks import Ranks
from cosmos_lab.text.encoders import T5TextEncoder
from cosmos_lab.train import nano
from cosmos_lab.train.clips import ClipSource, captions_of
from cosmos_lab.train.loop import Plan
from cosmos_lab.train.meanings import BODIES, NOBODY, SIZES, MeaningHead
from cosmos_lab.train.optimizers import make_optimizers
from cosmos_lab.train.stage import Stage
from cosmos_lab.train.text import CaptionBank, caption_bank, look_around, meaning_loss, understood
from cosmos_lab.worlds.families import draw_scene
from cosmos_lab.worlds.split import is_withheld


@pytest.fixture
def text():
    words = Tokenizer.from_file(str(find_folder("nano") / "tokenizer.json"))
    config = T5Config(vocab_size=words.get_vocab_size(), d_model=32, d_kv=16, num_heads=4, num_layers=2, d_ff=48,
                      dropout_rate=0.0, feed_forward_proj="gated-gelu", is_encoder_decoder=False, use_cache=False)
    return T5TextEncoder(config, words, num_tokens=128)


def attention(text, tokens):
    """Where each head of the first layer looks: (B, heads, N, N)."""
    text.model.config._attn_implementation = "eager"
    with torch.no_grad():
        found = text.model(input_ids=tokens, attention_mask=torch.ones_like(tokens), output_attentions=True)
    return found.attentions[0]


def test_heads_begin_with_their_neighbors_however_large_the_queries_have_grown(text, generator):
    tokens = torch.randint(3, 900, (4, 20), generator=generator)
    with torch.no_grad():
        for name, weight in text.model.named_parameters():
            if "q.weight" in name:
                weight.mul_(300)
    inner, ahead, back = slice(1, 19), range(2, 20), range(0, 18)

    def at(heads, columns):
        return heads[:, inner][:, torch.arange(18), torch.tensor(columns)].mean().item()

    grown = attention(text, tokens)
    assert at(grown[:, 0], ahead) < 0.2 and grown.max(dim=-1).values.median() > 0.9
    look_around(text.model)
    once = [weight.clone() for weight in text.model.parameters()]
    seen = attention(text, tokens)
    assert at(seen[:, 0], ahead) > 0.45 and at(seen[:, 1], back) > 0.45
    assert at(seen[:, 2], ahead) > 0.2 and at(seen[:, 2], back) > 0.2 and at(seen[:, 2], range(1, 19)) < 0.05
    assert at(seen[:, 3], ahead) < 0.2
    for name, weight in text.model.named_parameters():
        if "q.weight" in name:
            assert weight.std().item() == pytest.approx((32 * 16) ** -0.5, rel=1e-4)
    look_around(text.model)
    assert all(torch.allclose(a, b) for a, b in zip(once, text.model.parameters()))


def test_a_bank_holds_the_captions_of_admitted_scenes_with_their_meanings(text):
    bank = caption_bank(text, range(40, 70), split="train")
    scenes = [scene for scene in map(draw_scene, range(40, 70)) if not is_withheld(scene)]
    assert 5 < len(scenes) < 25
    told, meanings = zip(*captions_of(scenes))
    assert torch.equal(bank.tokens.long(), text.tokenize(list(told)).ids)
    assert bank.meanings.tolist() == [list(meaning) for meaning in meanings]
    several = caption_bank(text, range(40, 70), split="train", workers=2)
    assert torch.equal(several.tokens, bank.tokens) and torch.equal(several.meanings, bank.meanings)
    others = caption_bank(text, range(40, 70), split="withheld")
    assert len(others.tokens) + len(bank.tokens) == len(caption_bank(text, range(40, 70), split="any").tokens)


class Answering(nn.Module):
    """Says for every text what was planted, by the text's first token."""

    def __init__(self, answers):
        super().__init__()
        self.answers = answers

    def forward(self, text, mask):
        return F.one_hot(self.answers[text[:, 0, 0].long()].long(), max(SIZES)).float()


class Echo(nn.Module):
    def forward(self, ids, mask):
        return ids[..., None].float()


def test_understanding_counts_captions(generator):
    meanings = torch.stack([torch.randint(size, (6,), generator=generator) for size in SIZES], dim=1)
    meanings[:, BODIES] = NOBODY
    meanings[:, 0] = 1
    answers = meanings.clone()
    answers[0, 0] = 2  # another shape than was said
    answers[1, 3] = 0  # a body that nobody spoke of: no mention is misunderstood, the caption is
    answers[2, -2] = (answers[2, -2] + 1) % SIZES[-2]
    bank = CaptionBank(tokens=torch.arange(6)[:, None].short(), meanings=meanings)
    found = understood(nn.ModuleDict({"text": Echo(), "meanings": Answering(answers)}), bank, batch=4)
    assert found == pytest.approx({"bodies": 5 / 6, "motion": 5 / 6, "camera": 1.0, "caption": 3 / 6})


def test_the_head_reads_combinations_that_it_never_saw(generator):
    """Colors share the map of their answers: red learns of cylinders from what other colors are."""
    torch.manual_seed(0)
    head = MeaningHead(24)
    optimizer = torch.optim.Adam(head.parameters(), lr=1e-2)

    def planted(number, withheld):
        shapes = torch.randint(4, (number, 8), generator=generator)
        shapes[:, 0] = 2 if withheld else shapes[:, 0].remainder(2)
        text = torch.cat([torch.eye(8).expand(number, 8, 8), F.one_hot(shapes, 4).float()], dim=2)
        meanings = torch.zeros(number, len(SIZES), dtype=torch.int8)
        meanings[:, BODIES] = shapes
        return F.pad(text, (0, 12)), torch.ones(number, 8, dtype=torch.bool), meanings

    for _ in range(300):
        optimizer.zero_grad()
        head.error(*planted(64, False)).backward()
        optimizer.step()
    text, mask, meanings = planted(64, True)
    assert (head(text, mask).argmax(dim=2) == meanings)[:, 0].float().mean() > 0.95


def test_queries_learn_at_their_own_pace(text):
    modules = nn.ModuleDict({"text": text, "head": MeaningHead(32)})
    settings = {"lr": 1e-3, "weight_decay": 0.1, "betas": (0.9, 0.99)}
    for kind in ("adamw", "muon"):
        groups = [group for optimizer in make_optimizers(modules, kind=kind, **settings)
                  for group in optimizer.param_groups]  # fmt: skip
        paces = {id(p): group.get("pace", 1.0) for group in groups for p in group["params"]}
        slow = {name for name, p in modules.named_parameters() if paces[id(p)] != 1.0}
        assert slow == {name for name, _ in modules.named_parameters() if name.endswith("SelfAttention.q.weight")}
        assert {paces[id(p)] for name, p in modules.named_parameters() if name in slow} == {16**-0.5}
        assert len(paces) == len(list(modules.parameters()))


@pytest.fixture
def stage(text, tmp_path, monkeypatch):
    monkeypatch.setattr(nano, "build_text", lambda folder, ranks: text)
    monkeypatch.setattr(nano, "TOLD_HELD_OUT", 12)
    plan = Plan(steps=60, warmup=5, optimizer="muon", lr=2e-3, ema=0.9, log_every=10)
    return Stage(folder=tmp_path, source=ClipSource(count=40, workers=1), plan=plan, ranks=Ranks(), batch=24,
                 compile=False)  # fmt: skip


def test_the_stage_learns_and_leaves_encoder_head_and_figures(stage):
    figures = nano.train_stage("text", stage, None, None)
    rows = [json.loads(line) for line in (stage.runs / "text" / "log.jsonl").read_text().splitlines()]
    assert rows[-1]["loss"] < 0.7 * rows[0]["loss"]
    assert {name.split("_")[0] for name in figures} == {"train", "withheld"} and len(figures) == 8
    notes = json.loads((stage.folder / "text_training.json").read_text())
    assert notes["figures"]["steps"] == 60 and notes["figures"]["withheld_motion"] == figures["withheld_motion"]
    head = nano.build_meanings(stage.folder, nano.build_text(stage.folder, Ranks()))
    stored = load_file(stage.folder / "meanings.safetensors")
    assert torch.equal(head.queries, stored["queries"].float())
    assert not torch.equal(head.queries, MeaningHead(32).queries)
    assert "encoder.block.0.layer.0.SelfAttention.q.weight" in load_file(stage.folder / "text_encoder.safetensors")


def test_the_loss_is_the_error_of_what_is_drawn(text, generator):
    bank, modules = caption_bank(text, range(10)), nn.ModuleDict({"text": text, "meanings": MeaningHead(32)})
    loss, _ = meaning_loss(modules, bank, 8)(0, generator.manual_seed(3))
    tokens, meanings = bank.draw(8, generator.manual_seed(3))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        vectors = text(tokens, tokens != 0)
    assert loss.item() == pytest.approx(modules["meanings"].error(vectors, tokens != 0, meanings).item())


def test_the_command_renders_nothing_for_text_alone(monkeypatch, capsys):
    import argparse

    monkeypatch.setattr("cosmos_lab.train.clips.render_pool", lambda *_: pytest.fail("captions need no clips"))
    seen = lambda name, stage, *_: {"batch": stage.batch, "lr": stage.plan.lr}  # noqa: E731
    monkeypatch.setattr(nano, "train_stage", seen)
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    assert command.run(parser.parse_args(["text", "--device", "cpu"])) == 0
    assert capsys.readouterr().out == "text batch=384 lr=0.0016\n"
