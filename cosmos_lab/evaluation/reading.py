"""From dense class shares to a reading: which objects a clip shows, where they go, and what the whole clip shows.

The same assembly serves the network's probabilities and the renderer's own segmentation, so that the difference
between two readings is never a difference of bookkeeping.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from einops import rearrange, reduce
from torch import Tensor

from cosmos_lab.evaluation.colors import CELL, MIN_AREA, object_mass, settle_colors
from cosmos_lab.evaluation.doubles import doubled_when
from cosmos_lab.evaluation.labels import (
    BACKGROUND,
    COLOR_NAMES,
    VIEW_SCALES,
    LabelTable,
    clip_labels,
    dense_targets,
    view_labels,
)  # fmt: skip
from cosmos_lab.evaluation.moves import camera_scores
from cosmos_lab.evaluation.reader import Reader
from cosmos_lab.worlds.scene import SHAPES, Scene

# An object counts as present in a clip if it is visible in this many pixel frames.
MIN_PRESENCE = 3


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What was seen in B clips of T pixel frames, for each of the 8 object colors C; h, w are cells.

    `area` (B, T, C) pixels; `position` (B, T, C, 2) centroids (u, v) in pixels, u to the right and v down, (0, 0) the
    upper left corner; `spread` (B, T, C, 2) standard deviations of the mask along u and v; `border` (B, T, C) pixels
    in the outermost cells; `shape_votes` (B, T, C, 4) pixels; `certainty` (B, T, C) mean probability within the mask;
    `classes` (B, T, h, w) the likeliest of COLOR_NAMES; `clip` label -> probabilities (B, classes);
    `view` (B, 2) pitch in degrees and distance in metres; `features` (B, D). All arrays are on the CPU.
    """

    area: np.ndarray
    position: np.ndarray
    spread: np.ndarray
    border: np.ndarray
    shape_votes: np.ndarray
    certainty: np.ndarray
    classes: np.ndarray
    clip: dict[str, np.ndarray]
    view: np.ndarray
    features: np.ndarray

    def __len__(self) -> int:
        return len(self.area)


@dataclass(frozen=True, kw_only=True)
class Track:
    """One object, or all objects of one color: its color and shape, and over T pixel frames its centroid
    `position` (T, 2) in pixels (NaN where it cannot be seen), visible `area` in pixels, standard deviations `spread`
    (T, 2) of its mask, `visible`, and `whole` where it is visible and clear of the picture's border."""

    color: str
    shape: str
    shape_share: float
    position: np.ndarray
    area: np.ndarray
    spread: np.ndarray
    visible: np.ndarray
    whole: np.ndarray


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What the ruler says of one clip. `clip` maps motion, camera, floor, light, family and count to a class name,
    `confidence` to its probability. `certainty` is the mean probability of the color within the objects' masks.
    `pitch` in degrees (downwards) and `distance` in metres are the camera's. `classes` (T, h, w) are the likeliest
    class of each cell (indices of COLOR_NAMES)."""

    objects: tuple[Track, ...]
    clip: dict[str, str]
    confidence: dict[str, float]
    certainty: float
    pitch: float
    distance: float
    features: np.ndarray
    classes: np.ndarray

    @property
    def motion(self) -> str:
        return self.clip["motion"]

    @property
    def camera(self) -> str:
        return self.clip["camera"]

    @property
    def floor(self) -> str:
        return self.clip["floor"]

    @property
    def light(self) -> str:
        return self.clip["light"]

    @property
    def count(self) -> int:
        return int(self.clip["count"])

    @property
    def readable(self) -> bool:
        """Whether the clip shows anything, in masks and a motion that the reader is sure enough of.

        The bounds let at least 99 % of rendered clips through; what they refuse counts as failed, never as absent.
        """
        return bool(self.objects) and self.certainty >= 0.6 and self.confidence["motion"] >= 0.4

    @cached_property
    def doubled(self) -> dict[str, np.ndarray]:
        """The colors that show two bodies, and in which pixel frames (T,); looked for once, since it takes longer
        than all other questions."""
        found = {track.color: doubled_when(track, self.classes) for track in self.objects}
        return {color: when for color, when in found.items() if when.any()}

    def track(self, color: str) -> Track | None:
        """The track of a color, or None where the clip shows none."""
        return next((track for track in self.objects if track.color == color), None)


def gather_evidence(
    colors: Tensor, shapes: Tensor, clip: dict[str, Tensor], *, view: Tensor, features: Tensor
) -> Evidence:
    """Settle which colors there are, and sum shares into areas and centroids.

    `colors` (B, T, 10, h, w) and `shapes` (B, T, 4, h, w) are shares or probabilities; `clip` probabilities; `view`
    (B, 2) degrees and metres; `features` (B, D).
    """
    colors = settle_colors(colors)
    mass = object_mass(colors)
    area = reduce(mass, "b t c h w -> b t c", "sum")
    safe = area.clamp(min=1e-6)
    u = CELL * (torch.arange(mass.shape[-1], device=mass.device) + 0.5)
    v = CELL * (torch.arange(mass.shape[-2], device=mass.device) + 0.5)
    columns, rows = reduce(mass, "b t c h w -> b t c w", "sum"), reduce(mass, "b t c h w -> b t c h", "sum")
    position = torch.stack([columns @ u, rows @ v], dim=-1) / safe[..., None]
    variance = torch.stack([columns @ u.square(), rows @ v.square()], dim=-1) / safe[..., None] - position.square()
    inner = mass[..., 1:-1, 1:-1].sum(dim=(-2, -1))
    votes = torch.einsum("btchw,btshw->btcs", mass, shapes)
    certainty = reduce(mass.square(), "b t c h w -> b t c", "sum") / safe
    arrays = {
        "area": area * CELL**2, "position": position, "spread": variance.clamp(min=0).sqrt(),
        "border": (area - inner) * CELL**2, "shape_votes": votes * CELL**2, "certainty": certainty,
        "classes": colors.argmax(dim=2).to(torch.uint8), "view": view, "features": features,
    }
    clip_arrays = {name: value.float().numpy(force=True) for name, value in clip.items()}
    return Evidence(**{name: value.numpy(force=True) for name, value in arrays.items()}, clip=clip_arrays)


def assemble(evidence: Evidence, vocabulary: dict[str, tuple[str, ...]]) -> list[Reading]:
    """One reading for each clip of the evidence; `vocabulary` names the classes of `evidence.clip`."""
    return [_assemble_one(evidence, index, vocabulary) for index in range(len(evidence))]


def _assemble_one(evidence: Evidence, index: int, vocabulary: dict[str, tuple[str, ...]]) -> Reading:
    present = np.flatnonzero((evidence.area[index] > MIN_AREA).sum(axis=0) >= MIN_PRESENCE)
    objects = tuple(_track(evidence, index, color) for color in present)
    best = {name: int(probability[index].argmax()) for name, probability in evidence.clip.items()}
    weights = evidence.area[index][:, present]
    certainty = (evidence.certainty[index][:, present] * weights).sum() / max(weights.sum(), 1e-6)
    return Reading(
        objects=objects,
        clip={name: vocabulary[name][choice] for name, choice in best.items()},
        confidence={name: float(evidence.clip[name][index, choice]) for name, choice in best.items()},
        certainty=float(certainty),
        pitch=float(evidence.view[index, 0]),
        distance=float(evidence.view[index, 1]),
        features=evidence.features[index],
        classes=evidence.classes[index],
    )


def _track(evidence: Evidence, index: int, color: int) -> Track:
    area = evidence.area[index, :, color]
    visible = area > MIN_AREA
    votes = evidence.shape_votes[index, :, color][visible].sum(axis=0)
    return Track(
        color=COLOR_NAMES[color],
        shape=SHAPES[int(votes.argmax())],
        shape_share=float(votes.max() / max(votes.sum(), 1e-6)),
        position=np.where(visible[:, None], evidence.position[index, :, color], np.nan),
        area=area,
        spread=evidence.spread[index, :, color],
        visible=visible,
        whole=visible & (evidence.border[index, :, color] < 0.5 * CELL**2),
    )


@torch.no_grad()
def read(reader: Reader, pixels: np.ndarray | Tensor, batch: int | None = None) -> list[Reading]:
    """Read clips (B, T, H, W, 3) uint8 on the reader's device, one reading a clip, in order.

    `batch` of them are read at once, by default 32 on a GPU and 8 on a CPU.

    Raises ValueError for another shape or type, or a size other than the reader's.
    """
    pixels = torch.as_tensor(pixels)
    if pixels.ndim != 5 or pixels.dtype != torch.uint8:
        raise ValueError(f"clips to read are uint8 (B, T, H, W, 3), not {pixels.dtype} {tuple(pixels.shape)}")
    reader.eval()
    device = next(reader.parameters()).device
    batch = batch or (32 if device.type == "cuda" else 8)
    center, scale = torch.tensor(list(VIEW_SCALES.values()), device=device).T
    readings = []
    for part in pixels.split(batch):
        video = rearrange(part.to(device), "b t h w c -> b c t h w").float() / 127.5 - 1
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=device.type == "cuda"):
            output = reader(video)
        colors, shapes = output.colors.softmax(dim=2), output.shapes.softmax(dim=2)
        view = output.view * scale + center
        # The network saw the whole clip, the fit sees the floor: what one cannot tell, the other decides.
        camera = output.clip["camera"] + camera_scores(part.to(device), colors[:, :, BACKGROUND], view)
        clip = {name: logits.softmax(dim=1) for name, logits in (output.clip | {"camera": camera}).items()}
        evidence = gather_evidence(colors, shapes, clip, view=view, features=output.features)
        readings += assemble(evidence, dict(reader.config.classes))
    return readings


def true_readings(
    scenes: Sequence[Scene], body_index: Tensor, labels: LabelTable, vocabulary: dict[str, tuple[str, ...]]
) -> list[Reading]:
    """What a perfect reader would say of rendered clips: the same assembly, from the renderer's segmentation.

    `body_index` (B, T, H, W) integers, `labels` of the same B scenes. There are no features (B, 0).
    """
    readings = []
    for row, scene in enumerate(scenes):
        at = torch.tensor([row], device=body_index.device)
        colors, shapes = dense_targets(body_index[row : row + 1], labels.select(at))
        # Within a mask, shape shares must be those of the object, not of the partly covered cell.
        shapes = shapes / shapes.sum(dim=2, keepdim=True).clamp(min=1e-6)
        clip = {
            name: torch.tensor([[float(choice == clip_labels(scene)[name]) for choice in choices]])
            for name, choices in vocabulary.items()
        }
        view = torch.tensor([view_labels(scene)])
        evidence = gather_evidence(colors, shapes, clip, view=view, features=torch.zeros(1, 0))
        readings += assemble(evidence, vocabulary)
    return readings
