"""Rays against the four solids of the nano world: first hit, normal and signed distance, in closed form.

A vector is a tuple of three tensors that broadcast against each other. Separate components keep every formula
pointwise, which lets a compiler fuse a whole intersection into one kernel, and constants such as a light's direction
stay small tensors until they meet a ray. Everything here works in the body's own axes; `Solid.inward` and
`Solid.outward` change between these and the world's.
"""

from typing import NamedTuple

import torch
from torch import Tensor

Vec = tuple[Tensor, Tensor, Tensor]

ROUND, BOX, CYLINDER = 0, 1, 2
KIND = {"sphere": ROUND, "capsule": ROUND, "box": BOX, "cylinder": CYLINDER}
EVERY_KIND = (ROUND, BOX, CYLINDER)

# A ray may not hit closer than this (metres): it keeps a ray that leaves a surface from hitting where it starts.
NEAREST = 1e-4


class Solid(NamedTuple):
    """One body's geometry: center, rotation (rows of the body-to-world matrix), size as in `scene.Body`, and kind.

    A sphere is a capsule of half length zero, so both are of the kind ROUND.
    """

    center: Vec
    rows: tuple[Vec, Vec, Vec]
    size: Vec
    kind: Tensor

    def inward(self, v: Vec) -> Vec:
        """World direction -> body axes (the transposed rotation)."""
        x, y, z = self.rows
        return tuple(x[i] * v[0] + y[i] * v[1] + z[i] * v[2] for i in range(3))

    def outward(self, v: Vec) -> Vec:
        """Body direction -> world axes."""
        return tuple(dot(row, v) for row in self.rows)

    def locate(self, point: Vec) -> Vec:
        """World point -> body axes."""
        return self.inward(subtract(point, self.center))


def dot(a: Vec, b: Vec) -> Tensor:
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


def subtract(a: Vec, b: Vec) -> Vec:
    return a[0] - b[0], a[1] - b[1], a[2] - b[2]


def advance(origin: Vec, direction: Vec, t: Tensor | float) -> Vec:
    """origin + t direction."""
    return origin[0] + t * direction[0], origin[1] + t * direction[1], origin[2] + t * direction[2]


def normalize(v: Vec) -> Vec:
    scale = torch.rsqrt(dot(v, v).clamp_min(1e-20))
    return v[0] * scale, v[1] * scale, v[2] * scale


def reflect(direction: Vec, normal: Vec) -> Vec:
    return advance(direction, normal, -2 * dot(direction, normal))


def entry(origin: Vec, direction: Vec, size: Vec, kind: Tensor, kinds: tuple[int, ...] = EVERY_KIND) -> Tensor:
    """Distance along a unit `direction` to the solid's surface, infinite where the ray misses.

    Origins must lie outside the solid, so the entry is the first hit and any finite value also answers a shadow ray.
    `kinds` names the kinds that occur in `kind`; formulas of the others are left out.
    """
    infinity = torch.full((), torch.inf, device=direction[0].device)
    result = infinity
    near, far = _radial(origin, direction, size[0])
    if ROUND in kinds:
        result = _capsule(origin, direction, size, near, far)
    if CYLINDER in kinds:
        low, high = _slab(origin[2], direction[2], size[1])
        low, high = torch.maximum(low, near), torch.minimum(high, far)
        result = torch.where(kind == CYLINDER, torch.where(low < high, low, torch.inf), result)
    if BOX in kinds:
        result = torch.where(kind == BOX, _box(origin, direction, size), result)
    return torch.where(result > NEAREST, result, torch.inf)


def _radial(origin: Vec, direction: Vec, radius: Tensor) -> tuple[Tensor, Tensor]:
    """Interval inside the infinite cylinder about z; (inf, -inf) where the ray misses it.

    The discriminant is written with the cross product: b² - ac loses half the digits for a small body far away.
    """
    a = (direction[0] ** 2 + direction[1] ** 2).clamp_min(1e-9)
    b = origin[0] * direction[0] + origin[1] * direction[1]
    cross = origin[0] * direction[1] - origin[1] * direction[0]
    discriminant = a * radius**2 - cross**2
    root = torch.sqrt(discriminant.clamp_min(1e-20))
    hit = discriminant > 0
    return torch.where(hit, (-b - root) / a, torch.inf), torch.where(hit, (-b + root) / a, -torch.inf)


def _capsule(origin: Vec, direction: Vec, size: Vec, near: Tensor, far: Tensor) -> Tensor:
    """The side of the tube, or the cap on whose side the ray enters the infinite cylinder."""
    touched = near < far
    height = origin[2] + torch.where(touched, near, 0.0) * direction[2]
    side = touched & (height.abs() < size[1])
    cap = (origin[0], origin[1], origin[2] - torch.sign(height) * size[1])
    middle = -dot(cap, direction)
    closest = advance(cap, direction, middle)
    discriminant = size[0] ** 2 - dot(closest, closest)
    on_cap = torch.where(discriminant > 0, middle - torch.sqrt(discriminant.clamp_min(1e-20)), torch.inf)
    return torch.where(side, near, on_cap)


def _slab(origin: Tensor, direction: Tensor, half: Tensor) -> tuple[Tensor, Tensor]:
    inverse = 1 / torch.where(direction.abs() < 1e-9, 1e-9, direction)
    middle, reach = -origin * inverse, half * inverse.abs()
    return middle - reach, middle + reach


def _box(origin: Vec, direction: Vec, size: Vec) -> Tensor:
    slabs = [_slab(o, d, s) for o, d, s in zip(origin, direction, size)]
    low = torch.maximum(torch.maximum(slabs[0][0], slabs[1][0]), slabs[2][0])
    high = torch.minimum(torch.minimum(slabs[0][1], slabs[1][1]), slabs[2][1])
    return torch.where(low < high, low, torch.inf)


def normal(point: Vec, size: Vec, kind: Tensor) -> Vec:
    """Outward unit normal at a surface `point`, both in body axes."""
    x, y, z = point
    around = normalize((x, y, z - torch.clamp(z, -size[1], size[1])))
    over = [p.abs() - s for p, s in zip(point, size)]
    on_x, on_y = (over[0] >= over[1]) & (over[0] >= over[2]), over[1] >= over[2]
    face = (on_x, ~on_x & on_y, ~on_x & ~on_y)
    boxed = tuple(torch.where(on, torch.sign(p), 0.0) for on, p in zip(face, point))
    lid = z.abs() - size[1] > torch.sqrt(x**2 + y**2) - size[0]
    spoke = normalize((x, y, torch.zeros_like(z)))
    turned = (torch.where(lid, 0.0, spoke[0]), torch.where(lid, 0.0, spoke[1]), torch.where(lid, torch.sign(z), 0.0))
    is_box, is_cylinder = kind == BOX, kind == CYLINDER
    return tuple(
        torch.where(is_box, b, torch.where(is_cylinder, c, r)) for r, b, c in zip(around, boxed, turned)
    )


def signed_distance(point: Vec, size: Vec, kind: Tensor, kinds: tuple[int, ...] = EVERY_KIND) -> Tensor:
    """Distance from `point` (body axes) to the surface, negative inside."""
    x, y, z = point
    result = torch.full((), torch.inf, device=x.device)
    if ROUND in kinds:
        axial = z - torch.clamp(z, -size[1], size[1])
        result = torch.sqrt((x**2 + y**2 + axial**2).clamp_min(1e-20)) - size[0]
    if CYLINDER in kinds:
        spread = torch.sqrt((x**2 + y**2).clamp_min(1e-20)) - size[0], z.abs() - size[1]
        result = torch.where(kind == CYLINDER, _corner(spread[0], spread[0], spread[1], flat=True), result)
    if BOX in kinds:
        result = torch.where(kind == BOX, _corner(x.abs() - size[0], y.abs() - size[1], z.abs() - size[2]), result)
    return result


def _corner(x: Tensor, y: Tensor, z: Tensor, flat: bool = False) -> Tensor:
    """Distance to the corner region {x, y, z <= 0}; `flat` counts x and y, then equal, once."""
    inside = torch.maximum(torch.maximum(x, y), z).clamp_max(0.0)
    square = x.clamp_min(0) ** 2 + z.clamp_min(0) ** 2
    if not flat:
        square = square + y.clamp_min(0) ** 2
    return inside + torch.sqrt(square.clamp_min(1e-20))
