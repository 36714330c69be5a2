"""What the reader is taught: dense and clip-level labels, taken from scenes and from the renderer's body index."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from einops import rearrange, reduce
from torch import Tensor
from torch.nn import functional as F

from cosmos_lab.worlds.scene import CAMERAS, COLORS, FAMILIES, FLOORS, LIGHTS, SHAPES, Scene

COLOR_NAMES = (*COLORS, "prop", "background")
PROP, BACKGROUND = len(COLORS), len(COLORS) + 1
NO_SHAPE = -1
MAX_COUNT = 16
# What the reader estimates of the camera, with a typical value and spread, so that the network regresses about unit
# numbers: downward pitch in degrees (the same all along any move), distance to the middle of the stage in metres.
VIEW_SCALES = {"pitch": (12.0, 5.0), "distance": (4.1, 0.5)}


def vocabularies() -> dict[str, tuple[str, ...]]:
    """The classes of every clip-level head, by label: motion, camera, floor, light, family, count."""
    from cosmos_lab.worlds.families import MOTIONS

    return {
        "motion": tuple(MOTIONS),
        "camera": CAMERAS,
        "floor": FLOORS,
        "light": LIGHTS,
        "family": FAMILIES,
        "count": tuple(str(number) for number in range(MAX_COUNT + 1)),
    }


def clip_labels(scene: Scene) -> dict[str, str]:
    """The clip-level facts of a scene, as class names of `vocabularies`."""
    return {
        "motion": scene.motion,
        "camera": scene.camera,
        "floor": scene.floor,
        "light": scene.light,
        "family": scene.family,
        "count": str(min(len(scene.objects), MAX_COUNT)),
    }


def view_labels(scene: Scene) -> tuple[float, float]:
    """The camera's downward pitch in degrees and its distance in metres, as `VIEW_SCALES` orders them."""
    view = scene.initial["view"]
    rise = view["height"] - view["target"][2]
    return math.degrees(math.atan2(rise, view["distance"])), math.hypot(rise, view["distance"])


@dataclass(frozen=True, kw_only=True)
class LabelTable:
    """Labels of N clips as tensors.

    `color_of_body` (N, M + 1) and `shape_of_body` (N, M + 1) map a body's index to its class; the last column is the
    background, so that the renderer's -1 indexes it. `shape_of_body` is -1 where no described object is. `clip` maps
    a label to its class indices (N,). `view` (N, 2) holds pitch and distance in units of `VIEW_SCALES`.
    """

    color_of_body: Tensor
    shape_of_body: Tensor
    clip: dict[str, Tensor]
    view: Tensor

    def __len__(self) -> int:
        return len(self.color_of_body)

    def _each(self, change: Callable[[Tensor], Tensor]) -> "LabelTable":
        return LabelTable(
            color_of_body=change(self.color_of_body),
            shape_of_body=change(self.shape_of_body),
            clip={name: change(value) for name, value in self.clip.items()},
            view=change(self.view),
        )

    def to(self, device: torch.device | str) -> "LabelTable":
        return self._each(lambda tensor: tensor.to(device))

    def select(self, index: Tensor) -> "LabelTable":
        """The labels of some clips, in the order of `index` (B,)."""
        return self._each(lambda tensor: tensor[index])


def label_table(scenes: Sequence[Scene]) -> LabelTable:
    """Labels of N scenes. Raises ValueError for a motion, camera or floor outside the vocabularies."""
    classes = vocabularies()
    width = max(len(scene.bodies) for scene in scenes) + 1
    colors = torch.full((len(scenes), width), BACKGROUND)
    shapes = torch.full((len(scenes), width), NO_SHAPE)
    for row, scene in enumerate(scenes):
        for column, body in enumerate(scene.bodies):
            described = body.role == "object"
            colors[row, column] = COLOR_NAMES.index(body.color) if described else PROP
            shapes[row, column] = SHAPES.index(body.shape) if described else NO_SHAPE
    facts = [clip_labels(scene) for scene in scenes]
    clip = {name: torch.tensor([names.index(fact[name]) for fact in facts]) for name, names in classes.items()}
    center, scale = torch.tensor(list(VIEW_SCALES.values())).T
    view = (torch.tensor([view_labels(scene) for scene in scenes]) - center) / scale
    return LabelTable(color_of_body=colors, shape_of_body=shapes, clip=clip, view=view)


def dense_targets(body_index: Tensor, table: LabelTable, cell: int = 2) -> tuple[Tensor, Tensor]:
    """The share of every cell covered by each color and by each shape.

    `body_index` (B, K, H, W) integers, -1 for the background; `table` holds the same B clips. Returns colors
    (B, K, 10, H / cell, W / cell), which sum to 1 over the classes, and shapes (B, K, 4, ...), which sum to the share
    of the cell that described objects cover. Shares instead of classes keep the edge of a body at sub-pixel accuracy.
    """
    flat = rearrange(body_index.long(), "b k h w -> b (k h w)")
    background = table.color_of_body.shape[1] - 1
    flat = torch.where(flat < 0, background, flat)
    shape = dict(zip(("k", "h", "w"), body_index.shape[1:]))
    color = rearrange(table.color_of_body.gather(1, flat), "b (k h w) -> b k h w", **shape)
    kind = rearrange(table.shape_of_body.gather(1, flat), "b (k h w) -> b k h w", **shape)
    colors = F.one_hot(color, len(COLOR_NAMES)).float()
    shapes = F.one_hot(kind + 1, len(SHAPES) + 1)[..., 1:].float()
    pattern = "b k (h i) (w j) c -> b k c h w"
    return reduce(colors, pattern, "mean", i=cell, j=cell), reduce(shapes, pattern, "mean", i=cell, j=cell)
