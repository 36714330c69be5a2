"""Screen windows outside which a body cannot change the picture, so that a CPU may leave the rest alone.

Bounds come from spheres around the bodies, so they are generous; what is computed inside a window is what would have
been computed there anyway, and pictures are the same bit for bit with or without windows.
"""

import torch
from torch import Tensor

from .pack import Packed
from .rays import ROUND
from .shading import CONTACT

Window = tuple[slice, slice]

# How far (metres) contact shade reaches: a probe stands off the surface by the largest reach and looks as far again.
SHADE_REACH = 2 * max(reach for reach, _ in CONTACT) + 0.02


def windows(packed: Packed, clip: Tensor, frame: Tensor, *, height: int, width: int) -> dict[str, list[Window]]:
    """Rows and columns that each body may touch in any of the views (clip, frame).

    Keys: "seen" directly, "mirrored" in the floor, "shaded" by shadow or contact.
    """
    center, radius = packed.position[clip, frame], _bounding_radius(packed)[clip]
    sun = packed.stage[clip, None, 0:3]
    view = _Camera(packed, clip, frame, height=height, width=width)
    # The shadow ends where the sun's ray through the center has passed below the floor by the body's radius.
    fall = (center[..., 2:] + radius[..., None]).clamp(0, 50) / sun[..., 2:]
    # The rim of the sun's disk casts farther: by its radius over the path, along the floor.
    spread = radius + 1.3 * packed.stage[clip, None, 6] * (fall / sun[..., 2:])[..., 0]
    flipped = center * torch.tensor([1.0, 1.0, -1.0])
    shade = torch.minimum(view.bound(center, radius + SHADE_REACH), view.bound(center - sun * fall, spread))
    return {
        "seen": _slices(view.bound(center, radius), height=height, width=width),
        "mirrored": _slices(view.bound(flipped, radius), height=height, width=width),
        "shaded": _slices(shade, height=height, width=width),
    }


def _bounding_radius(packed: Packed) -> Tensor:
    """Radius (B, N) of a sphere that holds the body."""
    x, y, z = packed.size.unbind(-1)
    turned = torch.where(packed.kind == ROUND, x + y, torch.sqrt(x**2 + y**2 + z**2))
    return 1.01 * turned + 0.01


class _Camera:
    """Bounds of spheres in pixels, for V views."""

    def __init__(self, packed: Packed, clip: Tensor, frame: Tensor, *, height: int, width: int):
        self.eye = packed.eye[clip, frame][:, None]
        forward = torch.nn.functional.normalize(packed.target[clip, frame][:, None] - self.eye, dim=-1)
        up = torch.tensor([0.0, 0.0, 1.0]).expand_as(forward)
        right = torch.nn.functional.normalize(torch.linalg.cross(forward, up), dim=-1)
        self.axes = right, -torch.linalg.cross(right, forward), forward
        self.focal = height / 2 / packed.tangent[clip, None]
        self.middle = width / 2, height / 2

    def bound(self, center: Tensor, radius: Tensor) -> Tensor:
        """(left, top, -right, -bottom) in pixels, (4, V, N); minus infinity where a sphere reaches the eye's plane."""
        right, down, depth = (((center - self.eye) * axis).sum(-1) for axis in self.axes)
        near, far = depth - radius, depth + radius
        edges = []
        for sign in (1, -1):
            for offset, middle in zip((right, down), self.middle):
                edge = sign * offset - radius
                edges.append(self.focal * torch.minimum(edge / near, edge / far) + sign * middle)
        return torch.where(near > 0.1, torch.stack(edges), -torch.inf)


def _slices(bound: Tensor, *, height: int, width: int) -> list[Window]:
    """The smallest window over all views, a pixel larger on every side; empty for a body outside the picture."""
    low = (bound.amin(1) - 1).clamp(-1e6, 1e6).floor().long()
    left, top, right, bottom = low[0], low[1], -low[2], -low[3]
    columns = zip(left.clamp(0, width).tolist(), right.clamp(0, width).tolist())
    rows = zip(top.clamp(0, height).tolist(), bottom.clamp(0, height).tolist())
    return [(slice(*row), slice(*column)) for row, column in zip(rows, columns)]
