"""Commands in process on the small random model, and official models that are only pretended to be there."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cosmos_lab import catalog, video
from cosmos_lab.cli import main
from cosmos_lab.pipelines.generate import Pipeline

PROMPT = "a red ball rolls to the left"
SMALL = ("--num_steps", "1", "--num_pixel_frames", "9", "--height", "64", "--width", "96", "--quiet")


def run(*arguments: object) -> int:
    """Exit code of a command, also where argparse leaves by itself."""
    try:
        return main([str(argument) for argument in arguments])
    except SystemExit as left:
        return left.code


def settings(path: Path) -> dict:
    """The settings in the provenance beside a clip."""
    return json.loads(path.with_suffix(".json").read_text())["settings"]


def write_still(path: Path) -> Path:
    Image.fromarray(np.full((90, 160, 3), 120, dtype=np.uint8)).save(path)
    return path


def write_clip(path: Path, *, length: int = 12) -> Path:
    pixels = np.random.default_rng(0).integers(0, 255, (length, 64, 96, 3), dtype=np.uint8)
    video.write_video(path, pixels, fps=16)
    return path


class Official:
    """Stands for `load`: remembers what was asked for, and gives the small model the official card's name and sizes."""

    def __init__(self, pipe: Pipeline):
        self.pipe, self.calls = pipe, []

    def __call__(self, name: str, **options: object) -> Pipeline:
        self.calls.append((name, options))
        official = catalog.card(name)
        aspects = {aspect: (96, 64) for aspect in ("16:9", "9:16", "4:3", "3:4", "1:1")}
        card = replace(
            self.pipe.card, name=name, generation=official.generation, size=official.size, files=official.files,
            tasks=official.tasks, fps=official.fps, first_frame=official.first_frame, num_pixel_frames=9,
            sizes=dict.fromkeys(official.sizes, aspects), resolution=official.resolution,
            # Churn is nano's own.
            sampling=replace(self.pipe.card.sampling, num_steps=1, churn=0.0),
        )  # fmt: skip
        return Pipeline(replace(self.pipe.model, card=card), name)

    @property
    def name(self) -> str:
        return self.calls[0][0]


@pytest.fixture
def official(pipe: Pipeline, monkeypatch: pytest.MonkeyPatch) -> Official:
    """Official models can be "loaded"."""
    pretended = Official(pipe)
    monkeypatch.setattr("cosmos_lab.pipelines.generate.load", pretended)
    return pretended
