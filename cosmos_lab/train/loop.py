"""The training loop that every part of nano shares: schedule, weight average, log, resume.

A part brings its modules and a function `loss(step, generator) -> (loss, figures)`; the loop does the rest.
"""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from cosmos_lab.runtime.ranks import Ranks
from cosmos_lab.train.optimizers import make_optimizers

OPTIMIZERS = ("adamw", "muon")
LossFunction = Callable[[int, torch.Generator], tuple[Tensor, dict[str, float | Tensor]]]
Observer = Callable[[], dict[str, float]]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How long and how fast to train.

    Ends after `steps`, or after `minutes` of wall-clock if that comes first. The learning rate rises linearly for
    `warmup` steps, stays, and falls to `floor` times its peak over the last `cooldown` share of the run. `optimizer`
    is one of OPTIMIZERS; both take the same learning rate.
    """

    steps: int
    minutes: float = float("inf")
    optimizer: str = "adamw"
    lr: float = 1e-3
    warmup: int = 300
    cooldown: float = 0.4
    floor: float = 0.02
    weight_decay: float = 0.01
    betas: tuple[float, float] = (0.9, 0.99)
    clip: float = 1.0
    ema: float = 0.9995
    seed: int = 0
    log_every: int = 50
    save_minutes: float = 2.0

    def __post_init__(self):
        if self.steps < 1 or self.minutes <= 0:
            raise ValueError(f"nothing to train in {self.steps} steps, {self.minutes} minutes; give positive numbers")
        if self.optimizer not in OPTIMIZERS:
            raise ValueError(f"optimizer {self.optimizer!r} is none of {', '.join(OPTIMIZERS)}")
        if not 0 < self.ema < 1:
            raise ValueError(f"the weight average's decay must lie between 0 and 1, not {self.ema}")

    def learning_rate(self, step: int, progress: float) -> float:
        """`progress` in [0, 1] is the share of the run that is over, by steps or by minutes."""
        rise = min(1.0, (step + 1) / self.warmup) if self.warmup else 1.0
        left = (1 - progress) / self.cooldown if self.cooldown else 1.0
        return self.lr * rise * (self.floor + (1 - self.floor) * min(1.0, max(0.0, left)))


class Training:
    """Weights, their running average, the optimizer's state and the step count: all that a run needs to go on."""

    def __init__(self, modules: nn.ModuleDict, plan: Plan, ranks: Ranks):
        self.modules, self.plan, self.ranks = modules, plan, ranks
        self.parameters = [p for p in modules.parameters() if p.requires_grad]
        ranks.broadcast([tensor.data for tensor in modules.state_dict().values()])
        self.optimizers = make_optimizers(
            modules, kind=plan.optimizer, lr=plan.lr, weight_decay=plan.weight_decay, betas=plan.betas
        )
        self.average = [p.detach().clone() for p in self.parameters]
        self.step, self.seconds = 0, 0.0

    @torch.no_grad()
    def update_average(self) -> None:
        """a <- b a + (1 - b) w; the decay b starts low, so that the first weights are soon forgotten."""
        decay = min(self.plan.ema, (1 + self.step) / (10 + self.step))
        torch._foreach_lerp_(self.average, self.parameters, 1 - decay)

    @torch.no_grad()
    def swap_average(self) -> None:
        """Exchanges the weights with their average; call it again to go back."""
        for parameter, average in zip(self.parameters, self.average):
            held = parameter.detach().clone()
            parameter.copy_(average)
            average.copy_(held)

    def save(self, file: Path) -> None:
        """Writes beside, then renames: an interrupted save leaves the last good state."""
        state = {"modules": self.modules.state_dict(), "average": self.average, "step": self.step,
                 "optimizers": [optimizer.state_dict() for optimizer in self.optimizers], "seconds": self.seconds}
        beside = file.with_suffix(".part")
        torch.save(state, beside)
        beside.rename(file)

    def resume(self, file: Path) -> None:
        """Goes on from a saved state; a file of another model raises and changes nothing that matters."""
        state = torch.load(file, map_location=self.ranks.device, weights_only=True)
        if len(state["optimizers"]) != len(self.optimizers):
            raise ValueError(f"{file} was written with another optimizer: use the one that it began with, or remove it")
        self.modules.load_state_dict(state["modules"])
        for optimizer, held in zip(self.optimizers, state["optimizers"]):
            optimizer.load_state_dict(held)
        torch._foreach_copy_(self.average, state["average"])
        self.step, self.seconds = state["step"], state["seconds"]


def train(
    training: Training,
    loss_function: LossFunction,
    folder: Path,
    observe: Observer | None = None,
    progress: bool = True,
) -> None:
    """Runs the plan to its end; writes `log.jsonl` and a resumable `state.pt` into `folder`.

    `observe()` is asked for further figures every tenth logged step. Raises ArithmeticError when the gradient is no
    longer finite; the last saved state is from before.
    """
    plan, ranks = training.plan, training.ranks
    folder.mkdir(parents=True, exist_ok=True)
    generator = torch.Generator(device=ranks.device)
    begun, saved = time.monotonic() - training.seconds, time.monotonic()
    bar = tqdm(total=plan.steps, initial=training.step, disable=not (progress and ranks.first), mininterval=5)
    over = 0.0
    while over < 1:
        # Keyed by step and rank: a resumed run draws what the uninterrupted run would have drawn.
        generator.manual_seed(plan.seed * 1_000_003 + training.step * 1_009 + ranks.rank)
        figures = _step(training, loss_function, generator, over)
        training.step += 1
        training.seconds = time.monotonic() - begun
        if training.step % plan.log_every == 0 or training.step == plan.steps:
            over = ranks.agree(max(training.step / plan.steps, training.seconds / 60 / plan.minutes))
            if observe and training.step % (10 * plan.log_every) == 0:
                figures |= observe()
            _check(figures["gradient_norm"], training.step)
            _log(folder, training, figures, bar)
            if ranks.first and time.monotonic() - saved > 60 * plan.save_minutes:
                training.save(folder / "state.pt")
                saved = time.monotonic()
        bar.update()
    bar.close()
    if ranks.first:
        training.save(folder / "state.pt")
    ranks.barrier()


def _step(training: Training, loss_function: LossFunction, generator: torch.Generator, over: float) -> dict:
    rate = training.plan.learning_rate(training.step, over)
    for optimizer in training.optimizers:
        for group in optimizer.param_groups:
            group["lr"] = rate * group.get("pace", 1.0)
        optimizer.zero_grad(set_to_none=True)
    loss, figures = loss_function(training.step, generator)
    loss.backward()
    training.ranks.average_gradients(training.parameters)
    # Nothing here asks the GPU for a number: the CPU runs ahead, and `train` looks at the norm when it logs.
    norm = nn.utils.clip_grad_norm_(training.parameters, training.plan.clip, error_if_nonfinite=False)
    for optimizer in training.optimizers:
        optimizer.step()
    training.update_average()
    return {"loss": loss.detach(), "gradient_norm": norm, "lr": rate, **figures}


def _check(norm: Tensor, step: int) -> None:
    if not torch.isfinite(norm):
        raise ArithmeticError(
            f"training diverged before step {step}: the gradient is not finite; go on from the last saved state with a "
            f"lower --lr"
        )


def _log(folder: Path, training: Training, figures: dict, bar: tqdm) -> None:
    if not training.ranks.first:
        return
    row = {"step": training.step, "seconds": round(training.seconds, 1)}
    row |= {name: float(f"{float(value):.5g}") for name, value in figures.items()}
    with open(folder / "log.jsonl", "a") as log:
        log.write(json.dumps(row) + "\n")
    bar.set_postfix(loss=row["loss"], refresh=False)
