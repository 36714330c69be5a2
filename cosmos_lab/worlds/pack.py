"""Rollouts as padded tensors, ready for the renderer.

What the renderer needs of a body at one pixel frame is one row of BODY_COLUMNS numbers; what it needs of a clip's
stage is one row of stage columns. Rows keep the inner loops free of lookups by name.
"""

from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from einops import rearrange
from numpy.typing import ArrayLike
from torch import Tensor

from .rays import KIND, ROUND, Solid
from .scene import COLORS, FLOORS, MATERIALS, Body, Rollout
from .stage import LIGHT, MIRROR, sun_direction, texture

# Strength of the highlight and reflectance at normal incidence.
GLOSS = {
    "object": (0.32, 0.012),
    "steel": (0.75, 0.30),
    "graphite": (0.35, 0.05),
    "plaster": (0.04, 0.01),
    "slate": (0.10, 0.02),
    "walnut": (0.20, 0.03),
}

# Tables are padded to this many bodies, so that compiled steps meet one size whatever the scenes hold.
SLOTS = 16

# center 3, rotation 9, size 3, kind, albedo 3, highlight, reflectance, stripe
BODY_COLUMNS = 22

# sun direction 3, sun 3, sun radius, ambient 3, bounce 3, zenith 3, horizon 3, mirror strength, mirror reach, floor
STAGE_COLUMNS = 22


@dataclass(frozen=True, kw_only=True)
class Packed:
    """B clips of T pixel frames with up to N bodies as tensors on one device.

    position (B, T, N, 3), quaternion (B, T, N, 4) and the camera's eye, target (B, T, 3), tangent (B,) of half the
    field of view may require gradients. size (B, N, 3), kind (B, N), look (B, N, 6) = albedo, highlight, reflectance,
    stripe; stage (B, STAGE_COLUMNS) and texture (B, TEXTURE_COLUMNS). `kinds[i]` names the kinds of solids in slot i
    of any clip (slots past the last of `kinds` are empty everywhere), `floors` the floors in use, `rays[b]` the shadow
    rays of clip b. Empty slots hold a sphere of radius 0 far below the floor.
    """

    position: Tensor
    quaternion: Tensor
    size: Tensor
    kind: Tensor
    look: Tensor
    eye: Tensor
    target: Tensor
    tangent: Tensor
    stage: Tensor
    texture: Tensor
    kinds: tuple[tuple[int, ...], ...]
    floors: tuple[str, ...]
    rays: tuple[int, ...]

    @property
    def device(self) -> torch.device:
        return self.position.device

    def to(self, device: torch.device | str) -> "Packed":
        tensors = {f.name: getattr(self, f.name) for f in fields(self)}
        return replace(self, **{name: t.to(device) for name, t in tensors.items() if isinstance(t, Tensor)})


def pack(rollouts: list[Rollout] | tuple[Rollout, ...], device: torch.device | str = "cpu") -> Packed:
    """Stack rollouts of equal length into padded float32 tensors.

    Raises ValueError for an empty list or rollouts of different numbers of pixel frames.
    """
    lengths = {len(rollout.position) for rollout in rollouts}
    if len(lengths) != 1:
        counts = sorted(lengths)
        raise ValueError(f"pack needs rollouts of one length, got pixel frame counts {counts}; pack them apart")
    used = max(1, max(len(rollout.scene.bodies) for rollout in rollouts))
    slots = max(SLOTS, used)
    shapes = [[KIND[body.shape] for body in rollout.scene.bodies] for rollout in rollouts]
    arrays = {
        "position": [_pad(r.position, slots, (0.0, 0.0, -1000.0)) for r in rollouts],
        "quaternion": [_pad(r.quaternion, slots, (1.0, 0.0, 0.0, 0.0)) for r in rollouts],
        "size": [_pad([body.size for body in r.scene.bodies], slots, (0.0,) * 3) for r in rollouts],
        "look": [_pad([_look(body) for body in r.scene.bodies], slots, (0.0,) * 6) for r in rollouts],
        "kind": [np.array(kinds + [ROUND] * (slots - len(kinds))) for kinds in shapes],
        "eye": [r.eye for r in rollouts],
        "target": [r.target for r in rollouts],
        "tangent": [np.tan(np.radians(r.field_of_view) / 2) for r in rollouts],
        "stage": [_stage(r) for r in rollouts],
        "texture": [texture(r.scene.seed) for r in rollouts],
    }
    tensors = {name: torch.from_numpy(np.stack(rows).astype(np.float32)).to(device) for name, rows in arrays.items()}
    kinds = tuple(tuple(sorted({row[i] if i < len(row) else ROUND for row in shapes})) for i in range(used))
    floors = tuple(floor for floor in FLOORS if any(r.scene.floor == floor for r in rollouts))
    return Packed(**tensors, kinds=kinds, floors=floors, rays=tuple(LIGHT[r.scene.light].rays for r in rollouts))


def _pad(rows: ArrayLike, slots: int, filler: tuple[float, ...]) -> np.ndarray:
    """Fill the second-last axis, that of the bodies, up to `slots`."""
    rows = np.asarray(rows, dtype=np.float64)
    if rows.ndim == 1:  # a scene without bodies
        rows = rows.reshape(0, len(filler))
    missing = (*rows.shape[:-2], slots - rows.shape[-2], rows.shape[-1])
    return np.concatenate([rows, np.broadcast_to(np.array(filler), missing)], axis=-2)


def _look(body: Body) -> tuple[float, ...]:
    prop = body.role == "prop"
    # The palette as linear albedo would look pale under a bright sky; deepened, orange and yellow stay far apart.
    albedo = MATERIALS[body.color] if prop else tuple(part**1.3 for part in COLORS[body.color])
    return *albedo, *GLOSS[body.color if prop else "object"], float(body.marked)


def _stage(rollout: Rollout) -> np.ndarray:
    scene, light = rollout.scene, LIGHT[rollout.scene.light]
    colors = [*light.ambient, *light.bounce, *light.zenith, *light.horizon]
    sun = [*sun_direction(scene.light, scene.seed), *light.sun, light.radius]
    return np.array([*sun, *colors, *MIRROR[scene.floor], FLOORS.index(scene.floor)])


def body_table(packed: Packed, clip: Tensor, frame: Tensor) -> Tensor:
    """Rows (V, N, BODY_COLUMNS) of the V views given by clip and pixel frame indices (V,)."""
    w, x, y, z = torch.nn.functional.normalize(packed.quaternion[clip, frame], dim=-1).unbind(-1)
    rotation = [
        1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y),
        2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x),
        2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y),
    ]  # fmt: skip
    still = [packed.size[clip], packed.kind[clip][..., None], packed.look[clip]]
    return torch.cat([packed.position[clip, frame], torch.stack(rotation, dim=-1), *still], dim=-1)


def solid(columns: tuple[Tensor, ...]) -> Solid:
    """The geometry in the first columns of a body row."""
    rows = (columns[3:6], columns[6:9], columns[9:12])
    return Solid(center=columns[0:3], rows=rows, size=columns[12:15], kind=columns[15])


def slot(table: Tensor, i: int) -> tuple[Tensor, ...]:
    """Columns (V, 1, 1, 1) of the body in slot i, which broadcast against rays."""
    return tuple(rearrange(table[:, i], "v c -> c v 1 1 1").unbind(0))
