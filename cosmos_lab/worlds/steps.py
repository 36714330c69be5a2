"""The renderer's inner steps, each a pure pointwise function of rays, ready to be fused by a compiler.

Ray tensors are (V, A, H, W): views, samples of a pixel, rows, columns. A body's columns are (V, 1, 1, 1).
"""

import torch
from einops import rearrange
from torch import Tensor

from . import shading
from .pack import solid
from .rays import NEAREST, Vec, advance, entry, signed_distance
from .shading import CONTACT, Look, Stage, Surface
from .stage import haze, sky

# Leaving a surface by this much (metres) keeps shadow rays from starting inside their own body.
LIFT = 1e-3


def nearer(
    distance: Tensor, index: Tensor, number: Tensor, origin: Vec, direction: Vec, columns: tuple[Tensor, ...],
    *, kinds: tuple[int, ...],
) -> tuple[Tensor, Tensor]:  # fmt: skip
    body = solid(columns)
    found = entry(body.locate(origin), body.inward(direction), body.size, body.kind, kinds)
    closer = found < distance
    return torch.where(closer, found, distance), torch.where(closer, number, index)


def obstruct(
    lit: list[Tensor], near: list[Tensor], point: Vec, normal: Vec, suns: list[Vec], columns: tuple[Tensor, ...],
    *, kinds: tuple[int, ...],
) -> tuple[list[Tensor], list[Tensor]]:  # fmt: skip
    body = solid(columns)
    inner, out = body.locate(point), body.inward(normal)
    start = advance(inner, out, LIFT)
    hits = [entry(start, body.inward(sun), body.size, body.kind, kinds) < torch.inf for sun in suns]
    free = [before & ~hit for before, hit in zip(lit, hits)]
    probes = [advance(inner, out, reach) for reach, _ in CONTACT]
    room = [torch.minimum(d, signed_distance(p, body.size, body.kind, kinds)) for d, p in zip(near, probes)]
    return free, room


def floor_distance(origin: Vec, direction: Vec) -> Tensor:
    down = direction[2] < -1e-5
    distance = -origin[2] / torch.where(down, direction[2], -1.0)
    return torch.where(down & (distance > NEAREST), distance, torch.inf)


def _gather(table: Tensor, index: Tensor) -> tuple[Tensor, ...]:
    """Columns of each ray's body, shaped like `index`; rays without a body get those of slot 0."""
    views, slots, _ = table.shape
    start = slots * torch.arange(views, device=table.device)
    flat = index.clamp_min(0).long() + rearrange(start, "v -> v 1 1 1")
    return tuple(rearrange(table, "v n c -> c (v n)")[:, flat].unbind(0))


def _seen_body(index: Tensor, table: Tensor, point: Vec, pixel: Tensor) -> Surface:
    columns = _gather(table, index)
    look = Look(columns[16:19], *columns[19:22])
    return shading.body_surface(point, solid(columns), look, pixel)


def first_surface(
    origin: Vec, direction: Vec, distance: Tensor, index: Tensor, table: Tensor, scene: Stage,
    texture: tuple[Tensor, ...], pixel: Tensor, *, floors: tuple[str, ...],
) -> tuple[Vec, Surface, Tensor, Tensor]:  # fmt: skip
    """Point, surface, distance and body of what each ray meets first; sky has infinite distance and index -1."""
    floor = floor_distance(origin, direction)
    index = torch.where(floor < distance, -1, index)
    distance = torch.minimum(floor, distance)
    reach = torch.where(distance < torch.inf, distance, 1.0)
    point = advance(origin, direction, reach)
    body = _seen_body(index, table, point, pixel * reach)
    ground = shading.floor_surface(point, direction, pixel * reach, scene, texture, floors)
    surface = _choose(index >= 0, body, ground)
    return point, surface, distance, index


def _choose(condition: Tensor, yes: Surface, no: Surface) -> Surface:
    return Surface(
        normal=tuple(torch.where(condition, a, b) for a, b in zip(yes.normal, no.normal)),
        albedo=tuple(torch.where(condition, a, b) for a, b in zip(yes.albedo, no.albedo)),
        highlight=torch.where(condition, yes.highlight, no.highlight),
        reflectance=torch.where(condition, yes.reflectance, no.reflectance),
    )


def compose(
    point: Vec, direction: Vec, distance: Tensor, index: Tensor, surface: Surface, lit: list[Tensor],
    near: list[Tensor], mirror: tuple[Vec, Tensor, Tensor] | None, table: Tensor, scene: Stage, pixel: Tensor,
) -> Tensor:  # fmt: skip
    """Radiance after tone mapping (3, V, A, H, W): surface, its reflections, haze and sky."""
    sunlight = sum(free.to(pixel.dtype) for free in lit) / len(lit)
    shade = shading.contact_shade(near)
    radiance = shading.shine(surface, direction, scene, sunlight, shade)
    on_body = index >= 0
    glossy = shading.with_surroundings(radiance, surface, direction, scene, shade)
    radiance = tuple(torch.where(on_body, g, r) for g, r in zip(glossy, radiance))
    if mirror is not None:
        image, share = _mirror_image(point, mirror, table, scene, pixel * distance, surface.reflectance)
        radiance = tuple(torch.where(on_body, r, r + (m - r) * share) for r, m in zip(radiance, image))
    hit = distance < torch.inf
    veil = torch.where(hit, haze(torch.where(hit, distance, 0.0)), 1.0)
    background = sky(direction[2], scene.zenith, scene.horizon)
    veiled = tuple(r * (1 - veil) + b * veil for r, b in zip(radiance, background))
    return torch.stack([shading.tone(part.clamp_min(0.0)) for part in veiled])


def _mirror_image(
    point: Vec, mirror: tuple[Vec, Tensor, Tensor], table: Tensor, scene: Stage, pixel: Tensor, reflectance: Tensor
) -> tuple[Vec, Tensor]:
    """What the floor mirrors and how strongly; a body's image fades with its distance into the sky's."""
    direction, distance, index = mirror
    reach = torch.where(distance < torch.inf, distance, 1.0)
    there = advance(point, direction, reach)
    surface = _seen_body(index, table, there, pixel)
    body = shading.shine(surface, direction, scene, 1.0, 0.8)
    behind = sky(direction[2], scene.zenith, scene.horizon)
    clear = torch.where(distance < torch.inf, torch.exp(-reach / scene.mirror_reach), 0.0)
    image = tuple(s + (b - s) * clear for s, b in zip(behind, body))
    return image, shading.fresnel(reflectance, direction[2], 0.4)
