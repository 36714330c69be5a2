"""Model folders: written whole, checked on reading, and named when damaged."""

import json
import os
from pathlib import Path

import pytest
import torch
from random_nano import CRITIC, random_critic, random_nano, write_random_nano  # noqa: F401 (fixtures)
from safetensors.torch import load_file
from torch import nn

from cosmos_lab.catalog import cards
from cosmos_lab.runtime import checkpoints
from cosmos_lab.runtime.checkpoints import WEIGHTS, WeightsError, load_model, save_weights


@pytest.fixture
def folder(tmp_path):
    write_random_nano(tmp_path / "model")
    return tmp_path / "model"


def test_a_folder_holds_what_was_saved(folder):
    model = load_model(folder)
    assert sorted(path.name for path in folder.iterdir()) == sorted([*WEIGHTS, "weights.json"])
    stored = load_file(folder / "dit.safetensors")
    for name, parameter in model.dit.named_parameters():
        # Matrices in 16 bits, vectors in 32; both come back exactly.
        assert stored[name].dtype == (torch.float16 if parameter.ndim > 1 else torch.float32)
        assert torch.equal(stored[name].float(), parameter)
    assert model.card.dit.width == 64 and model.text.num_tokens == 32 and not model.dit.training
    assert not any(parameter.requires_grad for parameter in model.vae.parameters())


def test_a_critic_is_a_part_of_the_folder(tmp_path):
    critic = random_critic()
    digest = write_random_nano(tmp_path / "with", critic=critic)
    model = load_model(tmp_path / "with", dtype=torch.bfloat16)
    assert model.digest == digest != write_random_nano(tmp_path / "without")
    assert model.card.critic == CRITIC == model.critic.config and not model.critic.training
    for name, parameter in model.critic.named_parameters():
        stored = critic.get_parameter(name)
        # In 16 bits on disk, in 32 in memory, whatever the transformer has.
        assert parameter.dtype == torch.float32 and not parameter.requires_grad
        assert torch.equal(parameter, stored.half().float() if stored.squeeze().ndim > 1 else stored), name
    assert write_random_nano(tmp_path / "other", critic=random_critic(seed=1)) != digest


def test_a_damaged_or_missing_critic_is_named(tmp_path):
    write_random_nano(tmp_path, critic=random_critic())
    path, manifest = tmp_path / "critic.safetensors", tmp_path / "weights.json"
    stored, described = path.read_bytes(), json.loads(manifest.read_text())
    path.write_bytes(stored[:-1])
    with pytest.raises(WeightsError, match="critic.safetensors is damaged"):
        load_model(tmp_path)
    path.unlink()
    with pytest.raises(WeightsError, match="critic.safetensors is missing"):
        load_model(tmp_path)
    path.write_bytes(stored)
    del described["files"]["critic.safetensors"]
    manifest.write_text(json.dumps(described))
    with pytest.raises(WeightsError, match="names no critic.safetensors, which config.json asks for"):
        load_model(tmp_path)


def test_a_folder_from_before_there_were_critics_has_none(random_nano):  # noqa: F811
    described = json.loads((random_nano / "config.json").read_text())
    del described["critic"], described["sampling"]["tries"], described["sampling"]["accept"]
    card = checkpoints.card_from_json(described)
    assert card.critic is None and card.sampling.tries == 1
    assert load_model(random_nano).critic is None


def test_a_critic_that_is_not_the_cards_is_not_saved(random_nano, tmp_path):  # noqa: F811
    model = load_model(random_nano)
    with pytest.raises(ValueError, match="the card's critic is None, not CriticConfig"):
        checkpoints.save_model(tmp_path, card=model.card, dit=model.dit, vae=model.vae, text=model.text,
                               critic=random_critic())  # fmt: skip
    assert list(tmp_path.iterdir()) == []


def test_the_digest_stands_for_all_weights(folder, tmp_path):
    same, other = write_random_nano(tmp_path / "same"), write_random_nano(tmp_path / "other", seed=1)
    assert load_model(folder).digest == same != other


@pytest.mark.parametrize("name", WEIGHTS)
def test_a_missing_or_damaged_file_is_named_with_its_hash(folder, name):
    wanted = json.loads((folder / "weights.json").read_text())["files"][name]["sha256"]
    data = bytearray((folder / name).read_bytes())
    data[len(data) // 2] ^= 1
    (folder / name).write_bytes(data)
    with pytest.raises(WeightsError, match=f"{name} is damaged: .* expected {wanted}"):
        load_model(folder)
    (folder / name).unlink()
    with pytest.raises(WeightsError, match=f"{name} is missing; its SHA-256 is {wanted}"):
        load_model(folder)


def test_a_damaged_or_missing_manifest_is_named(folder):
    (folder / "weights.json").write_text("{")
    with pytest.raises(WeightsError, match="weights.json is damaged"):
        load_model(folder)
    (folder / "weights.json").unlink()
    with pytest.raises(WeightsError, match="holds no model: weights.json is missing"):
        load_model(folder)


def test_an_interrupted_save_is_not_taken_for_a_model(tmp_path, monkeypatch):
    def full_disk(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("safetensors.torch.save_file", full_disk)
    with pytest.raises(OSError, match="No space left"):
        write_random_nano(tmp_path / "model")
    assert [path.name for path in (tmp_path / "model").iterdir()] == ["config.json"]
    with pytest.raises(WeightsError, match="holds no model"):
        load_model(tmp_path / "model")


def test_values_that_16_bits_cannot_hold_are_refused(tmp_path):
    layer = nn.Linear(4, 4)
    layer.weight.data[0, 0] = 1e6
    with pytest.raises(ValueError, match="weight has values that are not finite"):
        save_weights(tmp_path / "layer.safetensors", layer, dtype=torch.float16)
    assert list(tmp_path.iterdir()) == []
    save_weights(tmp_path / "layer.safetensors", layer, dtype=torch.bfloat16)


def test_weights_of_another_shape_are_refused(tmp_path):
    save_weights(tmp_path / "layer.safetensors", nn.Linear(4, 4), dtype=torch.float32)
    with pytest.raises(WeightsError, match="does not fit its card: missing \\['0.weight'"):
        checkpoints.load_weights(nn.Sequential(nn.Linear(4, 4)), tmp_path / "layer.safetensors")
    with pytest.raises(WeightsError, match="does not fit its card"):
        checkpoints.load_weights(nn.Linear(5, 4), tmp_path / "layer.safetensors")


def test_loading_leaves_the_global_generator_alone(random_nano):  # noqa: F811
    before = torch.random.get_rng_state()
    load_model(random_nano)
    assert torch.equal(before, torch.random.get_rng_state())


def test_every_card_survives_json(random_nano):  # noqa: F811
    text = load_model(random_nano).text
    for card in cards().values():
        described = json.loads(json.dumps(checkpoints.card_to_json(card, text)))
        again = checkpoints.card_from_json(described)
        assert again.dit == card.dit and again.tokenizer == card.tokenizer and again.sampling == card.sampling
        assert again.critic == card.critic and again.pictures == card.pictures
        assert again.size_of() == card.size_of()


def test_a_wheel_finds_its_weights_inside_the_package(tmp_path, monkeypatch):
    module = tmp_path / "site-packages" / "cosmos_lab" / "runtime" / "checkpoints.py"
    inside = tmp_path / "site-packages" / "cosmos_lab" / "assets" / "nano"
    inside.mkdir(parents=True)
    (inside / "weights.json").write_text("{}")
    monkeypatch.setattr(checkpoints, "__file__", os.fspath(module))
    assert checkpoints.find_folder("nano") == inside
    beside = Path(tmp_path / "site-packages" / "assets" / "nano")
    beside.mkdir(parents=True)
    (beside / "weights.json").write_text("{}")
    assert checkpoints.find_folder("nano") == beside
