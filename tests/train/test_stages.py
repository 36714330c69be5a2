"""What the command line makes of the flags that each stage may have for itself, and what stages leave alone."""

import argparse
import json
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from cosmos_lab.catalog import nano_card
from cosmos_lab.cli import main, train
from cosmos_lab.files import sha256
from cosmos_lab.nn.wavelet_vae import WaveletVAE, WaveletVAEConfig
from cosmos_lab.runtime.checkpoints import load_weights, save_weights
from cosmos_lab.runtime.ranks import Ranks
from cosmos_lab.selection.critic import Critic
from cosmos_lab.train import average, export, nano
from cosmos_lab.train.clips import ClipSource
from cosmos_lab.train.loop import Plan
from cosmos_lab.train.stage import Stage
from cosmos_lab.worlds.mixture import EVEN, Mixture


def parsed(*words):
    parser = argparse.ArgumentParser()
    train.add_arguments(parser)
    return parser.parse_args(words)


def plans(*words):
    args = parsed(*words)
    trained = [stage for stage in args.stages if stage in train.TRAINED]
    stages = [train._stage(args, i, name, ClipSource(count=4), Ranks()) for i, name in enumerate(trained)]
    return [(s.plan.minutes, s.plan.lr, s.batch, s.plan.optimizer) for s in stages]


def test_an_exported_model_has_a_critic_where_one_was_trained(tmp_path, monkeypatch):
    saved = []
    monkeypatch.setattr(export, "save_model", lambda folder, **parts: saved.append(parts))
    for name in ("build_dit", "build_vae", "build_text"):
        monkeypatch.setattr(export, name, lambda folder, ranks: None)
    export.export(tmp_path, tmp_path / "without")
    critic = Critic(nano_card().critic)
    save_weights(tmp_path / "critic.safetensors", critic, dtype=torch.float32)
    export.export(tmp_path, tmp_path / "with")
    without, with_one = saved
    assert without["critic"] is None and without["card"].critic is None and without["card"].sampling.tries == 1
    assert with_one["card"] == nano_card() and with_one["card"].sampling.tries > 1
    assert torch.equal(with_one["critic"].verdict, critic.verdict)
    assert torch.equal(with_one["critic"].see.weight, critic.see.weight)


def test_a_critic_of_another_text_encoder_is_not_exported(tmp_path, monkeypatch):
    monkeypatch.setattr(export, "save_model", lambda folder, **parts: "digest")
    for name in ("build_dit", "build_vae", "build_text"):
        monkeypatch.setattr(export, name, lambda folder, ranks: None)
    save_weights(tmp_path / "critic.safetensors", Critic(nano_card().critic), dtype=torch.float32)
    (tmp_path / "text_encoder.safetensors").write_bytes(b"before")
    heard = {"recipe": {"text_encoder": sha256(tmp_path / "text_encoder.safetensors")}}
    (tmp_path / "critic_training.json").write_text(json.dumps(heard))
    assert export.export(tmp_path, tmp_path / "out") == "digest"
    (tmp_path / "text_encoder.safetensors").write_bytes(b"averaged")
    with pytest.raises(ValueError, match="has learned from another text encoder: train it again, or remove it"):
        export.export(tmp_path, tmp_path / "out")


def test_each_stage_takes_its_own_numbers():
    given = plans("tokenizer", "world", "--minutes", "2", "5", "--lr", "0.1", "0.2", "--batch", "3", "4")
    assert given == [(2, 0.1, 3, "muon"), (5, 0.2, 4, "muon")]


def test_defaults_are_those_of_the_stage_and_one_limit_serves_all():
    assert plans("tokenizer", "world", "reader", "--minutes", "7") == [
        (7, 1e-3, 8, "muon"), (7, 1.2e-3, 64, "muon"), (7, 1e-3, 32, "adamw")
    ]  # fmt: skip
    assert [plan[3] for plan in plans("world", "reader", "--optimizer", "adamw")] == ["adamw", "adamw"]


@pytest.mark.parametrize("words, said", [
    (("tokenizer", "world", "--lr", "0.1"), "--lr takes one number for each of tokenizer, world"),
    (("tokenizer", "--batch", "1", "2"), "--batch takes one number for each of tokenizer"),
    (("export", "--batch", "1"), "of which none is asked for"),
    (("tokenizer", "world", "reader", "--minutes", "1", "2"), "--minutes takes one number, or one for each"),
])  # fmt: skip
def test_a_wrong_count_is_refused(words, said):
    with pytest.raises(ValueError, match=said):
        train.run(parsed(*words))


def small_vae():
    torch.manual_seed(0)
    return WaveletVAE(WaveletVAEConfig(channels=8, channels_mult=(1, 1), num_res_blocks=1, temporal_factor=4,
                                       pixel_frames_per_chunk=None))  # fmt: skip


@pytest.mark.parametrize("keep", [True, False])
def test_a_decoder_trained_alone_leaves_the_latents_as_they_are(tmp_path, monkeypatch, generator, keep):
    monkeypatch.setattr(nano, "build_vae", lambda folder, ranks: small_vae())
    pixels = torch.randint(256, (2, 5, 32, 32, 3), generator=generator, dtype=torch.uint8)
    pool = SimpleNamespace(pixels=pixels)
    stage = Stage(folder=tmp_path, source=ClipSource(count=2), plan=Plan(steps=2, warmup=0), ranks=Ranks(), batch=1,
                  compile=False, keep_latents=keep)
    nano.train_stage("tokenizer", stage, [pool], pool)
    save_weights(tmp_path / "before.safetensors", small_vae(), dtype=torch.float16)
    before, after = (load_file(tmp_path / f"{name}.safetensors") for name in ("before", "vae"))
    moved = {name for name, weight in before.items() if not torch.equal(weight, after[name])}
    decoding = {name for name in before if name.startswith(("decoder.", "post_quant_conv."))}
    assert moved == decoding if keep else moved > decoding
    asked = json.loads((tmp_path / "tokenizer_training.json").read_text())["recipe"]
    assert asked == {"latent_noise": 0.1, "ssim_weight": 0.3, "keep_latents": keep}


def test_compilation_can_be_switched_off_in_either_spelling(monkeypatch):
    seen = []
    monkeypatch.setattr(train, "run", lambda args: seen.append(args.compile) or 0)
    for words in ((), ("--compile",), ("--no-compile",), ("--no_compile",)):
        assert main(["train", "words", *words]) == 0
    assert seen == [None, True, False, False]


def test_a_transformer_of_other_latents_does_not_teach_the_ruler(tmp_path, monkeypatch):
    done = []
    monkeypatch.setattr(train, "_train", lambda args, trained: done.append(trained))
    words = ("tokenizer", "reader", "--folder", str(tmp_path))
    train.run(parsed(*words))
    (tmp_path / "dit.safetensors").write_text("weights")
    with pytest.raises(ValueError, match="knows the latents of before: add --keep_latents"):
        train.run(parsed(*words))
    train.run(parsed(*words, "--keep_latents"))
    train.run(parsed("tokenizer", "world", "reader", "--folder", str(tmp_path)))
    assert len(done) == 3


@pytest.mark.parametrize("drawn", [False, True])
def test_the_ruler_reads_what_the_transformer_draws_where_there_is_one(tmp_path, monkeypatch, generator, drawn):
    told = []
    monkeypatch.setattr(nano, "build_vae", lambda folder, ranks: small_vae())
    monkeypatch.setattr(nano, "build_dit", lambda folder, ranks: torch.nn.Linear(1, 1))
    monkeypatch.setattr(nano, "redrawing", lambda dit, sigmas: (type(dit), sigmas))
    monkeypatch.setattr(nano, "train_reader", lambda pool, *given, **named: told.append(named) or (small_vae(), {}))
    if drawn:
        (tmp_path / "dit.safetensors").write_text("weights")
    pool = SimpleNamespace(rollouts=[None] * 3, first=lambda count: pool)
    stage = Stage(folder=tmp_path, source=ClipSource(count=3), plan=Plan(steps=1), ranks=Ranks(), batch=1)
    nano.train_stage("reader", stage, [pool], None)
    assert told[0]["redraw"] == ((torch.nn.Linear, (0.2, 1.0)) if drawn else None)
    recipe = json.loads((tmp_path / "reader_training.json").read_text()).get("recipe")
    assert recipe == ({"redrawn": 0.5, "sigmas": [0.2, 1.0]} if drawn else None)


def test_flags_of_tokenizer_and_world_reach_their_stage():
    flags = ("--keep_latents", "--latent_noise", "0.02", "--ssim_weight", "2", "--state_weight", "0.2",
             "--meaning_weight", "0.5", "--object_weight", "4", "--sigma", "1.2", "1.4")  # fmt: skip
    given = (True, 0.02, 2.0, (0.2, 0.5, 4.0, 1.2, 1.4))
    usual = (False, 0.1, 0.3, (0.0, 0.0, 0.0, 0.75, 1.6))
    for words, (*of_tokenizer, asked) in ((flags, given), ((), usual)):
        stage = train._stage(parsed("world", *words), 0, "world", ClipSource(count=4), Ranks())
        recipe = stage.world
        assert [stage.keep_latents, stage.latent_noise, stage.ssim_weight] == of_tokenizer
        weights = (recipe.state_weight, recipe.meaning_weight, recipe.object_weight)
        assert (*weights, recipe.sigma_mean, recipe.sigma_std) == asked


@pytest.mark.parametrize("words, said", [
    (("world", "reader", "--later", "0.1"), "--later is for the stage world or critic alone, not world, reader"),
    (("world", "--later", "1.5"), "--later is a share of the clips"),
    (("world", "--drums", "-0.1"), "--drums is a share of the towers"),
    (("text", "--drums", "0.5"), "--drums is for stages that see clips"),
    (("tokenizer", "--mistakes", "0.1"), "--mistakes is for the stage world or critic alone, not tokenizer"),
    (("world", "--mistakes", "2"), "--mistakes is a share of the clips"),
    (("world", "--family_odds", "sky=2"), "--family_odds are numbers from 0 on"),
    (("text", "--family_odds", "fall=2"), "--family_odds is for stages that see clips"),
    (("world", "--resting", "0", "0", "0", "0"), "--resting takes the odds of 0, 1, 2 and 3 objects"),
    (("text", "--resting", "1", "1", "1", "1"), "--resting is for stages that see clips"),
])  # fmt: skip
def test_clips_that_cannot_be_drawn_are_refused_before_any_work(words, said):
    with pytest.raises(ValueError, match=said):
        train.run(parsed(*words))


def test_a_world_that_cannot_be_trained_is_refused_before_any_work():
    with pytest.raises(ValueError, match="ln sigma has a mean"):
        train.run(parsed("world", "--sigma", "1", "-1"))


def test_mixture_and_mistakes_reach_the_clips(monkeypatch):
    seen = []
    for name in ("render_pool", "render_parts"):
        monkeypatch.setattr(f"cosmos_lab.train.clips.{name}",
                            lambda source, ranks: seen.append((source.mixture, source.mistakes)))  # fmt: skip
    monkeypatch.setattr(nano, "held_out_pool", lambda ranks, workers: None)
    monkeypatch.setattr(nano, "train_stage", lambda name, stage, pools, held_out: {})
    train.run(parsed("reader", "--drums", "0.5", "--family_odds", "fall=2", "--resting", "1", "1", "2", "3"))
    train.run(parsed("world", "--mistakes", "0.7"))
    crowded = Mixture(drums=0.5, family_odds={"fall": 2.0}, resting=(1, 1, 2, 3))
    assert seen == [(crowded, 0.0), (EVEN, 0.7)]


def test_odds_are_read_from_the_command_line(capsys):
    assert parsed("world", "--family_odds", "fall=2", "tower=1.5").family_odds == [("fall", 2.0), ("tower", 1.5)]
    with pytest.raises(SystemExit):
        parsed("world", "--family_odds", "fall")
    assert "'fall' is no FAMILY=ODDS, such as fall=2" in capsys.readouterr().err


@pytest.mark.parametrize("stages, taken", [(("world",), "parts"), (("tokenizer", "world"), ["pool"])])
def test_the_world_alone_takes_its_clips_in_parts(monkeypatch, stages, taken):
    seen = []
    monkeypatch.setattr("cosmos_lab.train.clips.render_parts", lambda source, ranks: "parts")
    monkeypatch.setattr("cosmos_lab.train.clips.render_pool", lambda source, ranks: "pool")
    monkeypatch.setattr(nano, "held_out_pool", lambda ranks, workers: None)
    monkeypatch.setattr(nano, "train_stage", lambda name, stage, pools, held_out: seen.append(pools) or {})
    train.run(parsed(*stages))
    assert seen == [taken] * len(stages)


class Tied(nn.Module):
    """Two layers that share their weight, as T5's embedding has two names."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False)
        self.second.weight = self.first.weight


def filled(folder, name, value=None):
    module = Tied()
    if value is not None:
        nn.init.constant_(module.first.weight, value)
        save_weights(folder / f"{name}.safetensors", module, dtype=torch.float16)
    else:
        load_weights(module, folder / f"{name}.safetensors")
    return module


def test_an_average_moves_transformer_and_text_encoder_towards_others(tmp_path, monkeypatch):
    for name in ("dit", "text_encoder"):
        monkeypatch.setitem(average.PARTS["world"], f"{name}.safetensors",
                            lambda folder, ranks, name=name: filled(folder, name))  # fmt: skip
    mine, other = tmp_path / "mine", tmp_path / "other"
    words = ("--folder", str(mine), "--other", str(other), "--share")
    with pytest.raises(FileNotFoundError, match="other lacks dit.safetensors, text_encoder.safetensors, tokenizer"):
        # Before anything is trained.
        train.run(parsed("world", "average", *words, "0.25"))
    for folder, value in ((mine, 1.0), (other, 5.0)):
        folder.mkdir()
        (folder / "tokenizer.json").write_text(str(value))
        for name in ("dit", "text_encoder"):
            filled(folder, name, value)
    (mine / "world_training.json").write_text('{"batch": 3, "figures": {"validation_loss": 0.2}}')
    with pytest.raises(ValueError, match="--share lies between 0"):
        train.run(parsed("world", "average", *words, "1.5"))
    with pytest.raises(ValueError, match="have other words"):
        train.run(parsed("average", *words, "0.25"))
    (mine / "tokenizer.json").write_text("5.0")
    monkeypatch.setenv("RANK", "1")
    train.run(parsed("average", *words, "0.25"))
    assert filled(mine, "dit").first.weight.eq(1).all()
    monkeypatch.setenv("RANK", "0")
    train.run(parsed("average", *words, "0.25"))
    assert filled(mine, "dit").second.weight.eq(2).all() and filled(mine, "text_encoder").first.weight.eq(2).all()
    assert filled(other, "dit").first.weight.eq(5).all()
    assert json.loads((mine / "world_training.json").read_text()) == {
        "batch": 3, "figures": {"before_averaging": {"validation_loss": 0.2}},
        "averaged": {"share": 0.25, "with": {name: sha256(other / f"{name}.safetensors")
                                             for name in ("dit", "text_encoder")}},
    }  # fmt: skip
    with pytest.raises(ValueError, match="averaged already"):
        train.run(parsed("average", *words, "0.25"))


def test_an_average_moves_a_critic_towards_another_of_its_text_encoder(tmp_path):
    mine, other = tmp_path / "mine", tmp_path / "other"
    words = ("average", "--averaged", "critic", "--folder", str(mine), "--other", str(other), "--share", "0.25")
    with pytest.raises(FileNotFoundError, match="other lacks critic.safetensors, tokenizer.json, text_encoder"):
        train.run(parsed(*words))
    for folder, value in ((mine, 1.0), (other, 5.0)):
        folder.mkdir()
        (folder / "tokenizer.json").write_text("words")
        (folder / "text_encoder.safetensors").write_text(str(value))
        critic = Critic(nano_card().critic)
        for parameter in critic.parameters():
            torch.nn.init.constant_(parameter, value)
        save_weights(folder / "critic.safetensors", critic, dtype=torch.float16)
    (mine / "critic_training.json").write_text('{"figures": {"mistakes_refused": 0.9}}')
    # Before anything is trained, if it can be known then.
    for first, said in (("average", "other text encoders"), ("critic", "other text encoders"),
                        ("world", "which world would change")):  # fmt: skip
        with pytest.raises(ValueError, match=said):
            train.run(parsed(first, *words, "--mistakes", "0.9"))
    (mine / "text_encoder.safetensors").write_text("5.0")
    train.run(parsed(*words))
    moved = Critic(nano_card().critic)
    load_weights(moved, mine / "critic.safetensors")
    assert all(parameter.eq(2).all() for parameter in moved.parameters())
    assert json.loads((mine / "critic_training.json").read_text()) == {
        "figures": {"before_averaging": {"mistakes_refused": 0.9}},
        "averaged": {"share": 0.25, "with": {"critic": sha256(other / "critic.safetensors")}},
    }
