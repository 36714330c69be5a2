"""What every stage of nano's recipe is asked for, and what it leaves beside its weights."""

import platform
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import nn

from cosmos_lab.files import write_json
from cosmos_lab.runtime.ranks import Ranks
from cosmos_lab.train.clips import ClipSource
from cosmos_lab.train.loop import Plan, Training
from cosmos_lab.train.reader import ReaderRecipe
from cosmos_lab.train.world_model import WorldRecipe


@dataclass(frozen=True, kw_only=True)
class Stage:
    """Where a stage reads and writes, on how many clips it trains, and how long; `world` but for its batch, and the
    fields after it, are what single stages are asked for."""

    folder: Path
    source: ClipSource
    plan: Plan
    ranks: Ranks
    batch: int
    compile: bool = True
    world: WorldRecipe = WorldRecipe()
    latent_noise: float = 0.1
    ssim_weight: float = 0.3
    keep_latents: bool = False
    reader_clips: int = ReaderRecipe.clips

    @property
    def runs(self) -> Path:
        """Log and resumable state."""
        return self.folder / "runs"

    def describe(self, name: str, figures: dict[str, float], recipe: dict[str, object] | None = None) -> None:
        """Writes `NAME.json`: plan, clips, what else was asked, hardware, wall-clock, figures of a finished stage."""
        device = self.ranks.device
        hardware = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or "CPU"
        notes = {"plan": asdict(self.plan), "source": asdict(self.source), "batch": self.batch * self.ranks.size,
                 "hardware": f"{self.ranks.size} x {hardware}", "torch": torch.__version__, "figures": figures,
                 "finished": time.strftime("%Y-%m-%d"), **({"recipe": recipe} if recipe else {})}
        write_json(self.folder / f"{name}.json", _finite(notes))

    def training(self, modules: nn.ModuleDict, name: str) -> Training:
        """The training of some modules, from its own state on if it was interrupted."""
        training = Training(modules, self.plan, self.ranks)
        state = self.runs / name / "state.pt"
        if state.is_file():
            training.resume(state)
        return training


def _finite(value: object) -> object:
    """JSON has no infinity: an unlimited number becomes null."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    return None if value == float("inf") else value
