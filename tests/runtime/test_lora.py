import pytest
import torch
from golden_files import relative_error
from official_files import NAMES, tiny_card, write_dit
from tiny_diffusers import randomize

from cosmos_lab.nn.dit import DiT
from cosmos_lab.runtime.checkpoints import WeightsError
from cosmos_lab.runtime.official import Lora, load_dit

TARGETS = ("q_proj", "k_proj", "v_proj", "output_proj", "mlp.layer1", "mlp.layer2")
RANK, CARD = 3, tiny_card(NAMES[1])


def adapters_for(dit, seed=4):
    """(A, B) of every linear map that the official list of targets names."""
    generator = torch.Generator().manual_seed(seed)
    return {
        name: (
            torch.randn(RANK, module.weight.shape[1], generator=generator) / module.weight.shape[1] ** 0.5,
            torch.randn(module.weight.shape[0], RANK, generator=generator),
        )
        for name, module in dit.named_modules()
        if name.startswith("blocks") and name.endswith(TARGETS)
    }


def keys_of(adapters, prefix="net."):
    down = {f"{prefix}{name}.lora_A.default.weight": a for name, (a, _) in adapters.items()}
    return down | {f"{prefix}{name}.lora_B.default.weight": b for name, (_, b) in adapters.items()}


def write_adapted(dit, adapters, path):
    """A post-trained file: base layers and adapters together."""
    write_dit(dit, path)
    state = torch.load(path, weights_only=False)
    for name in adapters:
        state[f"net.{name}.base_layer.weight"] = state.pop(f"net.{name}.weight")
    torch.save(state | keys_of(adapters), path)


def unmerged(dit, adapters, alpha):
    """The network with the adapters running beside their layers, as they were trained."""
    modules = dict(dit.named_modules())

    def beside(a, b):
        return lambda module, inputs, output: output + alpha / RANK * (inputs[0] @ a.T) @ b.T

    for name, (a, b) in adapters.items():
        modules[name].register_forward_hook(beside(a, b))
    return dit


def run(dit):
    generator = torch.Generator().manual_seed(0)
    x, text = torch.randn(1, 16, 2, 4, 6, generator=generator), torch.randn(1, 5, 24, generator=generator)
    return dit(x, torch.tensor([0.5]), text)


@pytest.fixture
def dit():
    return randomize(DiT(CARD.dit), seed=1, scale=0.7)


@pytest.mark.parametrize("alpha", [None, 5.0])
def test_merged_equals_adapters_running_beside(dit, tmp_path, alpha):
    adapters, plain = adapters_for(dit), run(dit)
    assert len(adapters) == CARD.dit.num_blocks * 10
    write_adapted(dit, adapters, tmp_path / "post-trained.pt")
    merged = run(load_dit(CARD, tmp_path / "post-trained.pt", lora=Lora(alpha=alpha)))
    # Predict2's official alpha is 16. Measured 1e-6: the order of two products.
    expected = run(unmerged(dit, adapters, alpha=16.0 if alpha is None else alpha))
    assert relative_error(merged, expected) < 1e-5
    assert relative_error(merged, plain) > 1e-2


def test_a_file_of_adapters_is_merged_into_another_checkpoint(dit, tmp_path):
    adapters = adapters_for(dit)
    write_dit(dit, tmp_path / "base.pt")
    torch.save(keys_of(adapters, prefix=""), tmp_path / "lora.pt")
    merged = run(load_dit(CARD, tmp_path / "base.pt", lora=Lora(path=tmp_path / "lora.pt")))
    assert relative_error(merged, run(unmerged(dit, adapters, alpha=16.0))) < 1e-5


def test_predict2_5_has_another_alpha(tmp_path):
    card = tiny_card(NAMES[2])
    dit = randomize(DiT(card.dit), seed=1, scale=0.7)
    adapters = adapters_for(dit)
    write_adapted(dit, adapters, tmp_path / "post-trained.pt")
    read = load_dit(card, tmp_path / "post-trained.pt", lora=Lora())
    name = next(iter(adapters))
    a, b = adapters[name]
    expected = dit.get_submodule(name).weight + 32.0 / RANK * b @ a
    assert torch.allclose(read.get_submodule(name).weight, expected, atol=1e-5)


def test_a_lora_that_matches_nothing_is_an_error(dit, tmp_path):
    """Museum of bugs, 12: adapters loaded into nothing."""
    write_dit(dit, tmp_path / "base.pt")
    adapters = adapters_for(dit)
    torch.save({f"other.{key}": value for key, value in keys_of(adapters, prefix="").items()}, tmp_path / "foreign.pt")
    with pytest.raises(
        WeightsError, match=r"foreign\.pt does not fit: 20 of 20 adapters match no weight \(other\.blocks"
    ):
        load_dit(CARD, tmp_path / "base.pt", lora=Lora(path=tmp_path / "foreign.pt"))
    with pytest.raises(WeightsError, match="holds no LoRA"):
        load_dit(CARD, tmp_path / "base.pt", lora=Lora())
    with pytest.raises(WeightsError, match="there is no LoRA file: looked for .*absent.pt"):
        from cosmos_lab.runtime.official import load_official

        load_official(CARD, tmp_path, dit_path=tmp_path / "base.pt", lora=Lora(path=tmp_path / "absent.pt"))


def test_half_an_adapter_another_size_and_foreign_keys_are_errors(dit, tmp_path):
    write_dit(dit, tmp_path / "base.pt")
    keys = keys_of(adapters_for(dit), prefix="")
    first = next(iter(keys))
    for name, changed, message in (
        ("half", {key: value for key, value in keys.items() if key != first}, "lack lora_A or lora_B"),
        ("wide", keys | {first: torch.zeros(RANK, 7)}, "does not fit its weight"),
        ("more", keys | {"blocks.0.extra": torch.zeros(1)}, r"1 keys are no adapters \(blocks.0.extra\)"),
    ):
        torch.save(changed, tmp_path / f"{name}.pt")
        with pytest.raises(WeightsError, match=message):
            load_dit(CARD, tmp_path / "base.pt", lora=Lora(path=tmp_path / f"{name}.pt"))


def test_adapters_in_a_checkpoint_are_never_ignored(dit, tmp_path):
    write_adapted(dit, adapters_for(dit), tmp_path / "post-trained.pt")
    with pytest.raises(WeightsError, match=r"holds LoRA adapters.*lora=Lora\(\)"):
        load_dit(CARD, tmp_path / "post-trained.pt")
