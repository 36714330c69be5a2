import json

import pytest
import tiny_diffusers as tiny
import torch

from cosmos_lab.pipelines.generate import load
from cosmos_lab.runtime.checkpoints import WeightsError
from cosmos_lab.runtime.diffusers_folder import card_of, load_diffusers


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    return tiny.save(tiny.make("cosmos2_video2world"), tmp_path_factory.mktemp("diffusers") / "folder")


@pytest.fixture
def folder(saved, tmp_path):
    """A copy that a test may spoil."""
    for file in saved.rglob("*"):
        if file.is_file():
            place = tmp_path / "copy" / file.relative_to(saved)
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(file.read_bytes())
    return tmp_path / "copy"


def change(path, **values):
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def test_the_card_is_read_off_the_configurations(saved):
    card = card_of(saved)
    assert (card.dit.width, card.dit.num_blocks, card.dit.condition_mask) == (32, 2, True)
    assert card.dit.rope_ratio == (1.0, 3.0, 3.0) and card.dit.rope_dtype == "bfloat16"
    assert card.tokenizer.channels == 4 and card.sampling.solver == "ab2" and card.conventions == "official"
    assert card.tasks == ("text2world", "image2world", "video2world")


def test_a_folder_can_sample_as_another_card(saved, tmp_path):
    assert card_of(saved, like="predict2-14b-video2world-480p-10fps").fps == 10
    for name in ("predict2-2b-text2image", "predict2.5-2b-pre-trained", "cosmos1-7b-video2world", "nano"):
        with pytest.raises(ValueError, match=f"is not like {name}; choose a card like predict2-2b-video2world"):
            card_of(saved, like=name)
    folder = tiny.save(tiny.make("cosmos2_5_predict"), tmp_path / "folder")
    model = load(folder, device="cpu", like="predict2.5-2b-pre-trained").model
    assert model.card.sampling.schedule == "flow_shifted" and model.card.sampling.sigma_conditional is None
    with pytest.raises(ValueError, match="does not use like"):
        load("predict2.5-2b-pre-trained", device="cpu", like="predict2.5-2b-post-trained")


def test_shards_and_dtype(folder):
    from safetensors.torch import load_file, save_file

    path = folder / "transformer" / "diffusion_pytorch_model.safetensors"
    whole = load_file(path)
    places = {key: f"diffusion_pytorch_model-{i % 2 + 1:05d}-of-00002.safetensors" for i, key in enumerate(whole)}
    for name in set(places.values()):
        save_file({key: value for key, value in whole.items() if places[key] == name}, path.parent / name)
    index = {"metadata": {}, "weight_map": places}
    (path.parent / "diffusion_pytorch_model.safetensors.index.json").write_text(json.dumps(index))
    path.unlink()
    model = load_diffusers(folder, dtype=torch.bfloat16)
    assert model.dit.dtype == torch.bfloat16 and next(model.text.parameters()).dtype == torch.bfloat16
    assert torch.equal(model.dit.final_layer.linear.weight, whole["proj_out.weight"].bfloat16())


@pytest.mark.parametrize("part", ["transformer", "vae", "scheduler", "text_encoder", "tokenizer"])
def test_a_missing_part_is_named(folder, part):
    import shutil

    shutil.rmtree(folder / part)
    with pytest.raises(WeightsError, match=part):
        load_diffusers(folder)
    if part in ("text_encoder", "tokenizer"):
        assert load_diffusers(folder, text_encoder=False).dit.config.num_blocks == 2


def test_a_missing_or_truncated_weight_file_is_named(folder):
    path = folder / "vae" / "diffusion_pytorch_model.safetensors"
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(WeightsError, match=r"vae/diffusion_pytorch_model\.safetensors is cut off"):
        load_diffusers(folder)
    path.unlink()
    with pytest.raises(WeightsError, match="vae holds no weights"):
        load_diffusers(folder)


def test_parts_of_another_model_are_named(folder):
    change(folder / "transformer" / "config.json", num_layers=3)
    with pytest.raises(WeightsError, match=r"transformer does not fit this model. Keys 20 missing: blocks\.2"):
        load_diffusers(folder)
    change(folder / "transformer" / "config.json", num_layers=2, _class_name="WanTransformer3DModel")
    with pytest.raises(WeightsError, match="is of WanTransformer3DModel, expected CosmosTransformer3DModel"):
        load_diffusers(folder)
    change(folder / "text_encoder" / "config.json", model_type="qwen2_5_vl")
    change(folder / "transformer" / "config.json", _class_name="CosmosTransformer3DModel")
    with pytest.raises(WeightsError, match="holds a qwen2_5_vl model, but this card reads text with t5"):
        load_diffusers(folder)


def test_other_pipelines_and_damaged_indexes_are_named(folder):
    change(folder / "model_index.json", _class_name="Cosmos2_5_TransferPipeline")
    with pytest.raises(WeightsError, match="Cosmos2_5_TransferPipeline; known are CosmosTextToWorldPipeline"):
        load_diffusers(folder)
    (folder / "model_index.json").write_text("{")
    with pytest.raises(WeightsError, match="model_index.json is damaged"):
        load_diffusers(folder)


def test_options_that_would_not_be_used_are_errors(folder, tmp_path):
    """Museum of bugs, 16, at the door: a path that is given must be read."""
    for options in ({"dit_path": "model.pt"}, {"ema": True}, {"checkpoints": "checkpoints"}):
        with pytest.raises(ValueError, match=f"does not use {next(iter(options))}"):
            load(folder, device="cpu", **options)
        with pytest.raises(ValueError, match=f"nano.* does not use {next(iter(options))}"):
            load("nano", device="cpu", **options)
    (tmp_path / "empty").mkdir()
    with pytest.raises(WeightsError, match="neither weights.json nor diffusers' model_index.json"):
        load(tmp_path / "empty", device="cpu")
    with pytest.raises(WeightsError, match="lacks 3 of 3 parts"):
        load("predict2-2b-text2image", device="cpu", checkpoints=tmp_path)
    with pytest.raises(ValueError, match="did you mean"):
        load("predict2-2b-text2imag", device="cpu")


def test_a_clip_from_a_folder_replays_with_its_conventions(folder):
    from cosmos_lab.pipelines.replay import replay

    like = "predict2-14b-video2world-720p-16fps"
    pipe = load(folder, device="cpu", conventions="diffusers", like=like)
    clip = pipe.text2world("a red ball", num_steps=2, num_pixel_frames=5, resolution=(32, 48), progress=False)
    assert (clip.provenance["conventions"], clip.provenance["like"]) == ("diffusers", like)
    again = replay(clip, progress=False)
    assert again == clip and again.provenance["like"] == like
