"""The training loop: schedule, weight average, resume, agreement between ranks."""

import json
from pathlib import Path

import pytest
import torch
import torch.multiprocessing as mp
from torch import nn

from cosmos_lab.runtime.ranks import Ranks, join
from cosmos_lab.train.loop import Plan, Training, train

TARGET = torch.tensor([[1.0, -2.0, 0.5]])


def regression() -> nn.ModuleDict:
    layer = nn.Linear(3, 1)
    with torch.no_grad():
        layer.weight.zero_()
        layer.bias.zero_()
    return nn.ModuleDict({"layer": layer})


def loss_of(modules: nn.ModuleDict):
    def loss(step: int, generator: torch.Generator):
        x = torch.randn(32, 3, generator=generator)
        error = (modules["layer"](x) - x @ TARGET.T).square().mean()
        return error, {"step_seen": float(step)}

    return loss


def run(
    folder: Path, steps: int, *, resume: bool = False, ranks: Ranks | None = None, optimizer: str = "adamw"
) -> Training:
    modules = regression()
    # Without cooldown the rate does not depend on where the run ends, so that halves can be compared with a whole.
    plan = Plan(steps=steps, lr=0.05, warmup=5, cooldown=0.0, weight_decay=0.0, ema=0.9, log_every=5,
                optimizer=optimizer)
    training = Training(modules, plan, ranks or Ranks())
    if resume:
        training.resume(folder / "state.pt")
    train(training, loss_of(modules), folder, progress=False)
    return training


def test_learns_and_logs(tmp_path):
    training = run(tmp_path, 300)
    assert torch.allclose(training.modules["layer"].weight, TARGET, atol=1e-2)
    rows = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == list(range(5, 301, 5)) and rows[-1]["loss"] < 1e-3 < rows[0]["loss"]


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_a_resumed_run_is_the_uninterrupted_one(tmp_path, optimizer):
    whole = run(tmp_path / "whole", 40, optimizer=optimizer)
    run(tmp_path / "halves", 20, optimizer=optimizer)
    second = run(tmp_path / "halves", 40, resume=True, optimizer=optimizer)
    assert second.step == 40
    for a, b in zip(whole.parameters + whole.average, second.parameters + second.average):
        assert torch.equal(a, b)


def test_a_state_of_another_optimizer_is_refused(tmp_path):
    run(tmp_path, 5)
    with pytest.raises(ValueError, match="another optimizer"):
        run(tmp_path, 10, resume=True, optimizer="muon")


def test_state_is_data_and_never_half_written(tmp_path):
    run(tmp_path, 5)
    assert {path.name for path in tmp_path.iterdir()} == {"log.jsonl", "state.pt"}
    assert set(torch.load(tmp_path / "state.pt", weights_only=True)) == {
        "modules", "average", "step", "optimizers", "seconds"}  # fmt: skip


def test_average_follows_its_equation(tmp_path):
    modules = regression()
    training = Training(modules, Plan(steps=1, ema=0.9), Ranks())
    training.step = 1000
    with torch.no_grad():
        modules["layer"].weight.fill_(2.0)
    training.update_average()
    assert torch.allclose(training.average[0], torch.full((1, 3), 0.2))
    training.swap_average()
    assert torch.allclose(modules["layer"].weight, torch.full((1, 3), 0.2)) and training.average[0].eq(2).all()


def test_learning_rate_rises_stays_and_falls():
    plan = Plan(steps=100, lr=1.0, warmup=10, cooldown=0.4, floor=0.1)
    rates = [plan.learning_rate(step, step / 100) for step in range(100)]
    assert rates[0] == pytest.approx(0.1) and rates[9:61] == pytest.approx([1.0] * 52)
    assert rates[80] == pytest.approx(0.1 + 0.9 * 0.5) and all(a >= b for a, b in zip(rates[60:], rates[61:]))


def test_a_diverged_run_stops_and_keeps_its_last_good_state(tmp_path):
    run(tmp_path, 5)
    good = torch.load(tmp_path / "state.pt", weights_only=True)
    modules = regression()
    training = Training(modules, Plan(steps=9, log_every=1, save_minutes=1e-9), Ranks())
    training.resume(tmp_path / "state.pt")
    with pytest.raises(ArithmeticError, match="before step 6.*lower --lr"):
        train(training, lambda step, generator: (modules["layer"].weight.sum() * torch.inf, {}), tmp_path,
              progress=False)
    kept = torch.load(tmp_path / "state.pt", weights_only=True)
    assert kept["step"] == 5 and torch.equal(kept["modules"]["layer.weight"], good["modules"]["layer.weight"])


@pytest.mark.parametrize("wrong", [{"steps": 0}, {"steps": 1, "minutes": 0}, {"steps": 1, "ema": 1.0},
                                   {"steps": 1, "optimizer": "sgd"}])
def test_illegal_plans_are_refused(wrong):
    with pytest.raises(ValueError):
        Plan(**wrong)


def _one_of_two(rank: int, folder: str) -> None:
    import os

    os.environ |= {"RANK": str(rank), "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29541"}
    training = run(Path(folder) / str(rank), 20, ranks=join("cpu"))
    torch.save([p.detach() for p in training.parameters], Path(folder) / f"weights{rank}.pt")


def test_two_ranks_share_gradients_and_weights(tmp_path):
    mp.spawn(_one_of_two, args=(str(tmp_path),), nprocs=2)
    first, second = (torch.load(tmp_path / f"weights{rank}.pt", weights_only=True) for rank in (0, 1))
    alone = run(tmp_path / "alone", 20)
    assert all(torch.equal(a, b) for a, b in zip(first, second))
    # Rank 0 draws what a single rank draws; only the other rank's gradients can make the difference.
    assert not torch.equal(first[0], alone.parameters[0])
