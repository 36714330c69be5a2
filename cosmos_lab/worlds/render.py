"""Pictures of the nano world: a ray tracer in plain torch, the same code on every device.

Each pixel averages samples x samples rays. A ray finds its nearest body or the floor, looks for the sun past every
other body, feels how open its surroundings are, and on a smooth floor follows the mirror image once. Bodies are
visited one after another with a running nearest hit, so memory does not grow with their number.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import torch
from einops import rearrange, reduce
from torch import Tensor

from . import camera, shading
from .pack import Packed, body_table, pack, slot
from .rays import EVERY_KIND, Vec
from .scene import FLOORS, Rollout
from .shading import CONTACT, Stage
from .stage import MIRROR
from .steps import compose, first_surface, floor_distance, nearer, obstruct
from .view import primary_rays
from .window import Window, windows

Clips = Packed | Rollout | list[Rollout] | tuple[Rollout, ...]

Nested = "Tensor | Sequence[Nested]"


@dataclass(frozen=True, kw_only=True)
class Pictures:
    """pixels (B, T, H, W, 3) uint8 sRGB; body_index (B, T, H, W) int8, the body seen at the pixel's center, -1 none."""

    pixels: Tensor
    body_index: Tensor


def render(
    clips: Clips,
    *,
    height: int = 112,
    width: int = 192,
    samples: int = 2,
    num_pixel_frames: int | None = None,
    device: torch.device | str | None = None,
    chunk: int | None = None,
    compile: bool | str = False,
) -> Pictures:
    """Pictures of B clips of T pixel frames, deterministic in the rollouts and their scenes' seeds.

    `num_pixel_frames` renders only the first ones, which are the same as in the whole clip (None: all). `samples` is
    per side of a pixel (2 gives four rays). `chunk` pixel frames are traced together (default 1 on CPU, where it keeps
    tensors in cache, else 256: some 5 GB at full size) and never changes a pixel. `compile` fuses the inner steps with
    torch.compile (a string names its backend) for chunks of one size, equal up to rounding. The result lies on `device`
    (default: where `clips` is packed, else CPU). Raises ValueError for sizes or samples below 1, and for more pixel
    frames than there are.
    """
    packed = _beginning(_packed(clips, device), num_pixel_frames)
    tracer = _Tracer(packed, height=height, width=width, samples=samples, chunk=chunk, compile=compile)
    batch, frames = packed.eye.shape[:2]
    pixels = torch.empty(batch * frames, height, width, 3, dtype=torch.uint8, device=packed.device)
    index = torch.empty(batch * frames, height, width, dtype=torch.int8, device=packed.device)
    with torch.no_grad():
        for views, rays in tracer.chunks():
            pixels[views] = (255 * tracer.values(views, rays)).round().to(torch.uint8)
            index[views] = tracer.body_index(views)
    split = {"b": batch, "t": frames}
    return Pictures(
        pixels=rearrange(pixels, "(b t) h w c -> b t h w c", **split),
        body_index=rearrange(index, "(b t) h w -> b t h w", **split),
    )


def render_values(
    clips: Clips,
    *,
    height: int = 112,
    width: int = 192,
    samples: int = 2,
    device: torch.device | str | None = None,
    chunk: int | None = None,
    compile: bool | str = False,
) -> Tensor:
    """Display values (B, T, H, W, 3) float32 in [0, 1]: what `render` rounds to pixels.

    Differentiable in the tensors of a `Packed` through shading; which body a ray meets carries no gradient.
    """
    packed = _packed(clips, device)
    tracer = _Tracer(packed, height=height, width=width, samples=samples, chunk=chunk, compile=compile)
    done = [(views, tracer.values(views, rays)) for views, rays in tracer.chunks()]
    order = torch.cat([views for views, _ in done]).argsort()
    values = torch.cat([value for _, value in done])[order]
    return rearrange(values, "(b t) h w c -> b t h w c", b=packed.eye.shape[0])


def project(
    rollout: Rollout, points: np.ndarray, *, height: int = 112, width: int = 192
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Where world points (T, N, 3) of a rollout appear: x, y in pixels and depth in metres, each (T, N).

    The pixel in column i and row j covers [i, i + 1) x [j, j + 1): its center is (i + 0.5, j + 0.5). A point in front
    of the camera has depth > 0.
    """
    view = {"field_of_view": rollout.field_of_view, "height": height, "width": width}
    return camera.project(np.asarray(points), np.asarray(rollout.eye), np.asarray(rollout.target), **view)


def _packed(clips: Clips, device: torch.device | str | None) -> Packed:
    if isinstance(clips, Packed):
        return clips if device is None else clips.to(device)
    return pack([clips] if isinstance(clips, Rollout) else clips, "cpu" if device is None else device)


def _beginning(packed: Packed, num_pixel_frames: int | None) -> Packed:
    if num_pixel_frames is None:
        return packed
    length = packed.eye.shape[1]
    if not 1 <= num_pixel_frames <= length:
        raise ValueError(f"num_pixel_frames lies between 1 and the clip's {length}, not {num_pixel_frames}")
    moving = ("position", "quaternion", "eye", "target")
    return replace(packed, **{name: getattr(packed, name)[:, :num_pixel_frames] for name in moving})


class _Tracer:
    """Traces chunks of views; a view is one pixel frame of one clip, numbered clip-major."""

    def __init__(
        self, packed: Packed, *, height: int, width: int, samples: int, chunk: int | None, compile: bool | str
    ):
        if min(height, width, samples, 1 if chunk is None else chunk) < 1:
            raise ValueError(
                f"height, width, samples and chunk must be at least 1, got {height}, {width}, {samples}, {chunk}"
            )
        size = chunk or (1 if packed.device.type == "cpu" else 256)
        # Compiled steps serve chunks of one size only: few views are filled up.
        self.size = size if compile else min(size, packed.eye.shape[0] * packed.eye.shape[1])
        self.packed, self.height, self.width, self.samples = packed, height, width, samples
        self.backend = "inductor" if compile is True else compile
        # Compiled steps serve any scene: one program for all slots and floors, instead of one for each combination.
        self.kinds = [EVERY_KIND] * len(packed.kinds) if compile else packed.kinds
        self.floors = FLOORS if compile else packed.floors
        moved = any(part.requires_grad for part in (packed.position, packed.quaternion, packed.eye, packed.target))
        self.windowed = packed.device.type == "cpu" and not compile and not moved
        self.mirrors = any(MIRROR[floor][0] > 0 for floor in packed.floors)

    def chunks(self) -> Iterator[tuple[Tensor, int]]:
        """View numbers (V,) of each chunk with their number of shadow rays; clips of unequal number never mix."""
        frames = self.packed.eye.shape[1]
        for rays in sorted(set(self.packed.rays)):
            clips = torch.tensor([b for b, count in enumerate(self.packed.rays) if count == rays])
            views = rearrange(clips[:, None] * frames + torch.arange(frames), "b t -> (b t)").to(self.packed.device)
            for part in views.split(self.size):
                yield part, rays

    def values(self, views: Tensor, rays: int) -> Tensor:
        """Display values (V, H, W, 3) in [0, 1]."""
        views, count = self._filled(views), len(views)
        table, scene, texture = self._views(views)
        windows = self._windows(views)
        origin, direction = self._rays(views, self.samples)
        distance, index = self._nearest(origin, direction, table, windows["seen"])
        pixel = rearrange(self._tangent(views), "v -> v 1 1 1") * (2 / (self.height * self.samples))
        point, surface, distance, index = self._step(first_surface)(
            origin, direction, distance, index, table, scene, texture, pixel, floors=self.floors
        )
        suns = shading.sun_samples(scene, pixel_samples=self.samples**2, rays=rays)
        lit, near = self._surroundings(point, surface.normal, suns, table, windows["shaded"])
        mirror = None
        if self.mirrors:
            mirrored = (direction[0], direction[1], -direction[2])
            mirror = (mirrored, *self._nearest(point, mirrored, table, windows["mirrored"]))
        color = self._step(compose)(point, direction, distance, index, surface, lit, near, mirror, table, scene, pixel)
        return shading.to_srgb(reduce(color, "c v a h w -> v h w c", "mean")[:count])

    def body_index(self, views: Tensor) -> Tensor:
        """Body seen at pixel centers (V, H, W) int8."""
        views, count = self._filled(views), len(views)
        origin, direction = self._rays(views, 1)
        distance, index = self._nearest(origin, direction, self._views(views)[0], self._windows(views)["seen"])
        index = torch.where(floor_distance(origin, direction) < distance, -1, index)
        return rearrange(index, "v 1 h w -> v h w").to(torch.int8)[:count]

    def _filled(self, views: Tensor) -> Tensor:
        """Compiled steps get chunks of one size, the last view repeated: another size would be compiled anew."""
        missing = self.size - len(views) if self.backend else 0
        return torch.cat([views, views[-1:].expand(missing)])

    def _views(self, views: Tensor) -> tuple[Tensor, Stage, tuple[Tensor, ...]]:
        clip, frame = self._split(views)
        rows = self.packed.stage[clip], self.packed.texture[clip]
        scene, texture = (tuple(rearrange(row, "v c -> c v 1 1 1").unbind(0)) for row in rows)
        return body_table(self.packed, clip, frame), shading.read_stage(scene), texture

    def _split(self, views: Tensor) -> tuple[Tensor, Tensor]:
        frames = self.packed.eye.shape[1]
        return views // frames, views % frames

    def _tangent(self, views: Tensor) -> Tensor:
        return self.packed.tangent[self._split(views)[0]]

    def _rays(self, views: Tensor, samples: int) -> tuple[Vec, Vec]:
        at = self._split(views)
        size = {"height": self.height, "width": self.width, "samples": samples}
        return primary_rays(self.packed.eye[at], self.packed.target[at], self._tangent(views), **size)

    def _windows(self, views: Tensor) -> dict[str, list[Window | None]]:
        if not self.windowed:
            return dict.fromkeys(("seen", "mirrored", "shaded"), [None] * len(self.kinds))
        return windows(self.packed, *self._split(views), height=self.height, width=self.width)

    def _nearest(
        self, origin: Vec, direction: Vec, table: Tensor, windows: list[Window | None]
    ) -> tuple[Tensor, Tensor]:
        """Distance to the first body along each ray, inf for none, and the body's slot, -1 for none."""
        step = self._step(nearer)
        distance = torch.full_like(direction[0], torch.inf)
        index = torch.full_like(direction[0], -1, dtype=torch.int32)
        for i, (kinds, window) in enumerate(zip(self.kinds, windows)):
            number = torch.full_like(table[:1, 0, 0], i, dtype=torch.int32)
            inside = _cut((distance, index, origin, direction), window)
            found = step(inside[0], inside[1], number, *inside[2:], slot(table, i), kinds=kinds)
            distance, index = _paste((distance, index), found, window)
        return distance, index

    def _surroundings(
        self, point: Vec, normal: Vec, suns: list[Vec], table: Tensor, windows: list[Window | None]
    ) -> tuple[list[Tensor], list[Tensor]]:
        """For every direction in `suns` whether it is free, and for every reach of CONTACT the room around."""
        step = self._step(obstruct)
        lit = [torch.ones_like(point[0], dtype=torch.bool) for _ in suns]
        near = [point[2] + reach * normal[2] for reach, _ in CONTACT]
        for i, (kinds, window) in enumerate(zip(self.kinds, windows)):
            inside = _cut((lit, near, point, normal), window)
            found = step(*inside, suns, slot(table, i), kinds=kinds)
            lit, near = (_paste(old, new, window) for old, new in zip((lit, near), found))
        return lit, near

    def _step(self, function: Callable) -> Callable:
        return _compiled(function, self.backend) if self.backend else function


@lru_cache
def _compiled(function: Callable, backend: str) -> Callable:
    return torch.compile(function, backend=backend, dynamic=False)


def _cut(parts: Nested, window: Window | None) -> Nested:
    """The window of every ray tensor in a nest of sequences; small tensors that broadcast stay whole."""
    if window is None:
        return parts
    if isinstance(parts, Tensor):
        return parts if parts.shape[-2:] == (1, 1) else parts[(..., *window)]
    return tuple(_cut(part, window) for part in parts)


def _paste(old: Sequence[Tensor], new: Sequence[Tensor], window: Window | None) -> Sequence[Tensor]:
    """`old` with `new` written into its window."""
    if window is None:
        return new
    for whole, part in zip(old, new):
        whole[(..., *window)] = part
    return old
