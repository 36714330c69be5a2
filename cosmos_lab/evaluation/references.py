"""The clips that figures are measured on: scenes and simulated states, stored so that nobody needs the simulator.

States are kept as differences of whole numbers (a quarter of a millimetre, 1/32767 of a quaternion's unit), which
compress to a few kilobytes a clip; pictures are rendered from them when they are needed.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path

import numpy as np

from cosmos_lab.files import whole
from cosmos_lab.worlds import camera
from cosmos_lab.worlds.scene import Rollout, Scene

METRES = 2.5e-4
UNIT = 1 / 32767
# No training clip has a seed from here on, nor below where held-out clips of training begin.
FIRST_SEED = 950_000_000


@dataclass(frozen=True, kw_only=True)
class Draw:
    """How a reference set is drawn: `number` clips of a split (and family) that `keep` admits."""

    number: int
    split: str
    family: str | None = None
    keep: Callable[[Rollout], bool] = lambda rollout: True


def _ball_actors(rollout: Rollout) -> list[str]:
    return [name for name in rollout.scene.facts["actors"] if rollout.scene.body(name).shape == "sphere"]


def _is_plain_fall(rollout: Rollout) -> bool:
    return rollout.scene.motion == "bounce" and rollout.scene.camera == "static" and bool(_ball_actors(rollout))


def _is_plain_roll(rollout: Rollout) -> bool:
    straight = rollout.scene.motion in ("roll left", "roll right")
    return straight and rollout.scene.camera == "static" and bool(_ball_actors(rollout))


# `familiar` and `withheld` are the two halves of the obedience prompts; `falls` and `rolls` are for physics.
SETS: dict[str, Draw] = {
    "familiar": Draw(number=256, split="train"),
    "withheld": Draw(number=256, split="withheld"),
    "falls": Draw(number=96, split="train", family="fall", keep=_is_plain_fall),
    "rolls": Draw(number=96, split="train", family="roll", keep=_is_plain_roll),
}


def draw_set(name: str, number: int | None = None) -> list[Rollout]:
    """Simulate a reference set anew; needs the simulator. Raises ValueError for an unknown set."""
    from cosmos_lab.worlds.families import sample_rollout

    if name not in SETS:
        raise ValueError(f"there is no reference set {name!r}; choose one of {', '.join(SETS)}")
    draw = SETS[name]
    first = FIRST_SEED + 1_000_000 * list(SETS).index(name)

    def candidates() -> Iterator[Rollout]:
        for seed in count(first):
            try:
                yield sample_rollout(seed, family=draw.family, split=draw.split)
            except RuntimeError:
                continue  # a seed that finds no scene of this family

    kept = (rollout for rollout in candidates() if draw.keep(rollout))
    return [next(kept) for _ in range(number or draw.number)]


def write_references(folder: Path | str, numbers: Mapping[str, int] | None = None) -> dict[str, str]:
    """Draw and store every set as `folder`/NAME.npz; returns the SHA-256 of the scenes of each."""
    hashes = {}
    for name in SETS:
        rollouts = draw_set(name, (numbers or {}).get(name))
        with whole(Path(folder) / f"{name}.npz") as file:
            np.savez_compressed(file, **pack_rollouts(rollouts))
        hashes[name] = scenes_hash(rollouts)
    return hashes


def read_references(folder: Path | str, name: str, number: int | None = None) -> list[Rollout]:
    """The stored rollouts of a set, or the first `number` of them. Raises ValueError where there are none."""
    path = Path(folder) / f"{name}.npz"
    if not path.is_file():
        raise ValueError(f"no reference set at {path}; make it with `python -m cosmos_lab evaluate --make_references`")
    with np.load(path) as arrays:
        return unpack_rollouts({key: arrays[key] for key in arrays.files})[:number]


def scenes_hash(rollouts: list[Rollout]) -> str:
    """SHA-256 over the scenes: specifications are hashed, trajectories may differ in the last bit between machines."""
    return hashlib.sha256("\n".join(_slim(rollout.scene).to_json() for rollout in rollouts).encode()).hexdigest()


def _slim(scene: Scene) -> Scene:
    """The scene without what only the simulator reads."""
    return replace(scene, initial={"view": scene.initial["view"]})


def pack_rollouts(rollouts: list[Rollout]) -> dict[str, np.ndarray]:
    """Rollouts of equal length as arrays of small whole numbers; see `unpack_rollouts`. They are whole: ValueError for
    one that begins in the middle of its motion, since its camera is not stored."""
    if cut := next((rollout for rollout in rollouts if rollout.start), None):
        raise ValueError(f"the clip of seed {cut.scene.seed} begins with pixel frame {cut.start}; store it from 0 on")
    story = [[_slim(rollout.scene).to_json(), rollout.fps, rollout.events] for rollout in rollouts]
    positions = np.concatenate([np.round(rollout.position / METRES) for rollout in rollouts], axis=1)
    turns = np.concatenate([np.round(rollout.quaternion / UNIT) for rollout in rollouts], axis=1)
    if max(np.abs(positions).max(), np.abs(turns).max()) > 32767:
        raise ValueError(f"a body is farther than {32767 * METRES:.1f} m away and cannot be stored")
    return {
        "position": _steps(positions),
        "quaternion": _steps(turns),
        "bodies": np.array([rollout.position.shape[1] for rollout in rollouts], dtype=np.uint8),
        "story": np.frombuffer(json.dumps(story).encode(), dtype=np.uint8),
    }


def _steps(values: np.ndarray) -> np.ndarray:
    """First value and differences along time, int16, time last: runs of zeros where nothing moves."""
    steps = np.diff(values.astype(np.int32), axis=0, prepend=0)
    # A quaternion may change its sign; differences wrap around modulo 2^16 and unwrap in the sum.
    return np.ascontiguousarray(np.moveaxis(steps, 0, -1)).astype(np.int16)


def _sum(steps: np.ndarray) -> np.ndarray:
    return np.cumsum(np.moveaxis(steps, -1, 0), axis=0, dtype=np.int16).astype(np.float64)


def unpack_rollouts(arrays: Mapping[str, np.ndarray]) -> list[Rollout]:
    """The rollouts that `pack_rollouts` stored, to a quarter of a millimetre; cameras are computed from their views."""
    position, quaternion = _sum(arrays["position"]) * METRES, _sum(arrays["quaternion"]) * UNIT
    quaternion /= np.linalg.norm(quaternion, axis=-1, keepdims=True)
    ends = np.cumsum(arrays["bodies"].astype(int))
    rollouts = []
    for (text, fps, events), end, number in zip(json.loads(arrays["story"].tobytes()), ends, arrays["bodies"]):
        scene, bodies = Scene.from_json(text), slice(end - number, end)
        # Captions say where things stand, and read it from where they start.
        starts = {body.name: {"position": list(position[0, end - number + i])} for i, body in enumerate(scene.bodies)}
        scene = replace(scene, initial=scene.initial | {"bodies": starts})
        eye, target = camera.path(scene.camera, scene.initial["view"], len(position), round(2 * fps) + 1)
        rollouts.append(Rollout(
            scene=scene, position=position[:, bodies], quaternion=quaternion[:, bodies], eye=eye, target=target,
            fps=fps, events=tuple(tuple(event) for event in events),
        ))  # fmt: skip
    return rollouts
