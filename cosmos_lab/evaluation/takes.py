"""Long takes: scenes that keep moving, simulated for as long as a long video lasts, and stored as evaluation clips are.

A pendulum swings on; the camera circles one at an even pace; a robot arm lifts a load, sets it down and lifts it again.
"""

from collections.abc import Iterator
from itertools import count
from pathlib import Path

import numpy as np

from cosmos_lab.evaluation.references import FIRST_SEED, pack_rollouts, read_references
from cosmos_lab.files import whole
from cosmos_lab.worlds.lasting import circled, run_on
from cosmos_lab.worlds.scene import Rollout, Scene

NAME, NUMBER = "takes", 12
KINDS = ("pendulum", "orbit", "arm")
# Six chunks of 33 pixel frames that overlap by 5.
NUM_PIXEL_FRAMES = 33 + 5 * 28
_FIRST_SEED = FIRST_SEED + 30_000_000


def kind_of(scene: Scene) -> str:
    """One of KINDS."""
    return "orbit" if scene.camera.startswith("orbit") else scene.family


def draw_takes(number: int) -> list[Rollout]:
    """`number` takes, kinds in turn; needs the simulator. Deterministic."""
    streams = [_stream(kind) for kind in KINDS]
    return [next(streams[index % len(KINDS)]) for index in range(number)]


def _stream(kind: str) -> Iterator[Rollout]:
    from cosmos_lab.worlds.families import sample_rollout, well_framed

    family = "arm" if kind == "arm" else "pendulum"
    for seed in count(_FIRST_SEED + 1_000_000 * KINDS.index(kind)):
        try:
            scene = sample_rollout(seed, family=family).scene
        except RuntimeError:
            continue  # a seed that finds no scene of this family
        moves = scene.motion == "lift" or scene.motion.startswith("swing")
        if moves and (scene.camera == "static" or scene.camera.startswith("orbit")) and kind_of(scene) == kind:
            take = run_on(scene, NUM_PIXEL_FRAMES)
            if kind == "orbit" or well_framed(take):
                yield take


def write_takes(folder: Path | str, number: int = NUMBER) -> Path:
    """Draw and store takes as `folder`/takes.npz."""
    path = Path(folder) / f"{NAME}.npz"
    with whole(path) as file:
        np.savez_compressed(file, **pack_rollouts(draw_takes(number)))
    return path


def read_takes(folder: Path | str, number: int | None = None) -> list[Rollout]:
    """The stored takes, or the first `number`; the simulator is not needed."""
    return [circled(take) for take in read_references(folder, NAME, number)]
