from dataclasses import replace

import pytest
import torch
from official_files import NAMES, tiny_card, write_dit, write_official
from tiny_diffusers import randomize

from cosmos_lab.nn.dit import DiT
from cosmos_lab.runtime import matching
from cosmos_lab.runtime.checkpoints import WeightsError
from cosmos_lab.runtime.official import find_files, fingerprint, is_present, load_dit, load_official

PREDICT2 = NAMES[1]


@pytest.fixture(scope="module")
def roots(tmp_path_factory):
    """name -> (card, root of its files, the networks that were written)."""
    made = {}
    for name in NAMES:
        card, root = tiny_card(name), tmp_path_factory.mktemp("checkpoints")
        made[name] = card, root, write_official(card, root)
    return made


@pytest.mark.parametrize("name", NAMES)
def test_official_layout_gives_the_networks_that_were_saved(roots, name):
    card, root, written = roots[name]
    model = load_official(card, root)
    for part in ("dit", "vae"):
        read, saved = getattr(model, part).state_dict(), written[part].state_dict()
        assert read.keys() == saved.keys()
        assert all(torch.equal(read[key], saved[key]) for key in saved), part
    embedded = model.text.encode(["a red ball"])
    assert embedded.shape == (1, 16, card.dit.text_projection or 24) and embedded.std() > 0.1
    assert not any(parameter.requires_grad for parameter in model.dit.parameters())


def test_networks_arrive_in_the_asked_dtype_and_on_the_asked_device(roots):
    card, root, _ = roots[PREDICT2]
    model = load_official(card, root, dtype=torch.bfloat16)
    assert {p.dtype for p in model.dit.parameters()} == {p.dtype for p in model.vae.parameters()} == {torch.bfloat16}
    # T5 runs in float32, as officially, unless asked otherwise.
    assert {p.dtype for p in model.text.parameters()} == {torch.float32}
    model = load_official(card, root, device="meta", text_dtype=torch.bfloat16)
    assert model.dit.x_embedder.proj[1].weight.device.type == "meta"
    assert {p.dtype for p in model.text.parameters()} == {torch.bfloat16}


def test_without_text_encoder_its_files_are_not_needed(roots, tmp_path):
    card, root, _ = roots[PREDICT2]
    files = {"dit": root / card.files["dit"], "tokenizer": root / card.files["tokenizer"]}
    for name, path in files.items():
        place = tmp_path / card.files[name]
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(path)
    model = load_official(card, tmp_path, text_encoder=False)
    with pytest.raises(ValueError, match="prompt_embeds"):
        model.text.encode(["a red ball"])
    with pytest.raises(WeightsError, match=r"lacks 1 of 3 parts:\n  text: .*t5-11b(.|\n)*download predict2-2b"):
        load_official(card, tmp_path)
    assert not is_present(card, tmp_path) and is_present(card, root)


def test_organization_may_be_left_away(roots, tmp_path):
    card, root, _ = roots[PREDICT2]
    (tmp_path / "Cosmos-Predict2-2B-Video2World").symlink_to(root / "nvidia" / "Cosmos-Predict2-2B-Video2World")
    (tmp_path / "google-t5").symlink_to(root / "google-t5")
    assert find_files(card, tmp_path).keys() == find_files(card, root).keys()


def test_averaged_weights_are_taken_only_when_asked_for(tmp_path):
    card = tiny_card(PREDICT2)
    plain, averaged = (randomize(DiT(card.dit), seed=seed) for seed in (1, 2))
    both = {f"net_ema.{key}": value for key, value in averaged.state_dict().items()}
    write_dit(plain, tmp_path / "both.pt", extra=both)
    assert fingerprint([tmp_path / "both.pt"]) != fingerprint([tmp_path / "both.pt"], choices="ema")
    for ema, expected in ((False, plain), (True, averaged)):
        read = load_dit(card, tmp_path / "both.pt", ema=ema)
        assert torch.equal(read.final_layer.linear.weight, expected.final_layer.linear.weight)
    write_dit(plain, tmp_path / "net.pt")
    with pytest.raises(WeightsError, match="no net_ema. keys but only net. keys"):
        load_dit(card, tmp_path / "net.pt", ema=True)
    write_dit(averaged, tmp_path / "ema.pt", prefix="net_ema.")
    with pytest.raises(WeightsError, match="ema=True"):
        load_dit(card, tmp_path / "ema.pt")


def test_another_models_checkpoint_lists_every_difference(roots, tmp_path):
    card, root, _ = roots[PREDICT2]
    path = root / card.files["dit"]
    deeper = replace(card, dit=replace(card.dit, num_blocks=3))
    with pytest.raises(WeightsError, match=rf"{path.name} does not fit.*20 missing: blocks\.2\..* and 12 more"):
        load_dit(deeper, path)
    image = replace(card, dit=replace(card.dit, condition_mask=False))
    with pytest.raises(
        WeightsError, match=r"1 of another shape: x_embedder\.proj\.1\.weight \(32, 72\) instead of \(32, 68\)"
    ):
        load_dit(image, path)
    predict1 = tiny_card(NAMES[0])
    with pytest.raises(WeightsError, match="missing: extra_pos_embedder"):
        load_dit(predict1, path)
    dit = randomize(DiT(card.dit))
    write_dit(dit, tmp_path / "more.pt", extra={"net.adapter.weight": torch.zeros(2)})
    with pytest.raises(WeightsError, match="1 not known to this model: adapter.weight"):
        load_dit(card, tmp_path / "more.pt")


def test_an_explicit_checkpoint_path_is_the_one_that_is_read(roots, tmp_path):
    """Museum of bugs, 16: a checkpoint path that is given and silently not used."""
    card, root, written = roots[PREDICT2]
    other = randomize(DiT(card.dit), seed=9)
    write_dit(other, tmp_path / "post-trained.pt")
    model = load_official(card, root, dit_path=tmp_path / "post-trained.pt", text_encoder=False)
    assert torch.equal(model.dit.final_layer.linear.weight, other.final_layer.linear.weight)
    assert not torch.equal(model.dit.final_layer.linear.weight, written["dit"].final_layer.linear.weight)
    assert model.digest != load_official(card, root, text_encoder=False).digest
    with pytest.raises(WeightsError, match=r"absent\.pt \(given as dit_path\)"):
        load_official(card, root, dit_path=tmp_path / "absent.pt", text_encoder=False)


def test_a_damaged_tokenizer_folder_is_named(roots, tmp_path):
    card, root, _ = roots[NAMES[0]]
    for file in (root / card.files["tokenizer"]).iterdir():
        (tmp_path / "Cosmos-1.0-Tokenizer-CV8x8x8").mkdir(exist_ok=True)
        (tmp_path / "Cosmos-1.0-Tokenizer-CV8x8x8" / file.name).write_bytes(file.read_bytes())
    (tmp_path / card.files["dit"]).parent.mkdir()
    (tmp_path / card.files["dit"]).symlink_to(root / card.files["dit"])
    (tmp_path / "Cosmos-1.0-Tokenizer-CV8x8x8" / "mean_std.pt").unlink()
    with pytest.raises(WeightsError, match="no file of latent statistics: .*mean_std.pt"):
        load_official(card, tmp_path, text_encoder=False)
    torch.save((torch.zeros(16, 3), torch.ones(16, 3)), tmp_path / "Cosmos-1.0-Tokenizer-CV8x8x8" / "mean_std.pt")
    with pytest.raises(WeightsError, match="mean_std.pt: .*16 channels x 16 latent frames"):
        load_official(card, tmp_path, text_encoder=False)


def test_what_is_wrong_shows_before_the_largest_part_is_moved(roots, tmp_path, monkeypatch):
    """A damaged tokenizer, text encoder or key is found while the transformer still lies in its file."""
    card, root, _ = roots[PREDICT2]
    moved = []
    put = matching._assign
    monkeypatch.setattr(matching, "_assign", lambda module, *rest: moved.append(type(module)) or put(module, *rest))
    for file in (file for file in root.rglob("*") if file.is_file()):
        place = tmp_path / file.relative_to(root)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(file.read_bytes())
    for part, name in (("text", "model.safetensors"), ("tokenizer", "")):
        path = tmp_path / card.files[part] / name if name else tmp_path / card.files[part]
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        moved.clear()
        with pytest.raises(WeightsError, match=rf"{path.name} (is cut off|cannot be read)"):
            load_official(card, tmp_path)
        assert DiT not in moved
    deeper = replace(card, dit=replace(card.dit, num_blocks=3))
    moved.clear()
    with pytest.raises(WeightsError, match="20 missing"):
        load_official(deeper, root)
    assert moved == []
    load_official(card, root)
    assert moved[-1] is DiT
