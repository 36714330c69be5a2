"""Light on surfaces: sun with shadow, hemisphere of sky, contact shade, highlight, mirror image, tone.

Radiance is linear RGB with components as a `Vec`. One view is one picture of one clip; ray tensors are (V, A, H, W).
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from . import stage
from .rays import BOX, Solid, Vec, advance, dot, normal, normalize, reflect

# Reach (metres) and depth of the two shades that fall around a contact.
CONTACT = ((0.07, 0.42), (0.30, 0.36))

STRIPE = (0.93, 0.92, 0.88)

EDGE = 0.014  # metres


class Look(NamedTuple):
    albedo: Vec
    highlight: Tensor
    reflectance: Tensor
    stripe: Tensor


class Stage(NamedTuple):
    """A clip's lights and floor, every entry (V, 1, 1, 1)."""

    to_sun: Vec
    sun: Vec
    radius: Tensor
    ambient: Vec
    bounce: Vec
    zenith: Vec
    horizon: Vec
    mirror: Tensor
    mirror_reach: Tensor
    floor: Tensor


class Surface(NamedTuple):
    """What light needs to know of a point: outward normal, albedo, highlight, reflectance at normal incidence."""

    normal: Vec
    albedo: Vec
    highlight: Tensor
    reflectance: Tensor


def read_stage(row: tuple[Tensor, ...]) -> Stage:
    """Names for the columns that `pack` writes."""
    vectors = [row[0:3], row[3:6], row[6], row[7:10], row[10:13], row[13:16], row[16:19]]
    return Stage(*vectors, *row[19:22])


def sun_samples(scene: Stage, *, pixel_samples: int, rays: int) -> list[Vec]:
    """Directions to `rays` points of the sun's disk for every pixel sample, as vectors (V, A, 1, 1).

    The A x rays points of a pixel lie on one sunflower spiral and the samples take turns, so that the average over a
    pixel sees an even disk without any jitter.
    """
    total = pixel_samples * rays
    x, y, z = scene.to_sun
    axis = normalize((y, -x, torch.zeros_like(x)))
    other = (axis[1] * z, -axis[0] * z, axis[0] * y - axis[1] * x)
    turn = torch.arange(pixel_samples, device=scene.radius.device)[:, None, None]
    directions = []
    for i in range(rays):
        order = i * pixel_samples + turn
        reach = scene.radius * torch.sqrt((order + 0.5) / total) * (1.0 if total > 1 else 0.0)
        angle = order * (math.pi * (3 - math.sqrt(5)))
        wide, high = reach * torch.cos(angle), reach * torch.sin(angle)
        directions.append(normalize(advance(advance(scene.to_sun, axis, wide), other, high)))
    return directions


def body_surface(point: Vec, body: Solid, look: Look, pixel: Tensor) -> Surface:
    """Surface of the body at a world point on it; `pixel` is the sample's width there in metres.

    A marked body carries a light band around its plane x = 0 and another around the x > 0 half of its plane z = 0, so
    that a turn about any axis shows. A box is darker along its edges, which parts stacked boxes of one color. Bands
    and edges are as soft as the sample is wide.
    """
    inner = body.locate(point)
    edge = (0.5 * pixel).clamp_min(1e-4)
    around = _soft(0.24 * body.size[0] - inner[0].abs(), edge)
    half = _soft(0.16 * body.size[0] - inner[2].abs(), edge) * _soft(inner[0], edge)
    share = look.stripe * torch.maximum(around, half)
    seam = 1 - 0.30 * _soft(EDGE - _edge_distance(inner, body.size), edge.clamp_min(0.4 * EDGE))
    seam = torch.where(body.kind == BOX, seam, 1.0)
    albedo = tuple((a + (s - a) * share) * seam for a, s in zip(look.albedo, STRIPE))
    return Surface(body.outward(normal(inner, body.size, body.kind)), albedo, look.highlight, look.reflectance)


def _edge_distance(point: Vec, size: Vec) -> Tensor:
    """Distance to the nearest edge of a box from a point on one of its faces: the middle one of three margins."""
    x, y, z = (s - p.abs() for p, s in zip(point, size))
    return torch.maximum(torch.minimum(x, y), torch.minimum(torch.maximum(x, y), z))


def floor_surface(
    point: Vec, direction: Vec, pixel: Tensor, scene: Stage, texture: tuple[Tensor, ...], floors: tuple[str, ...]
) -> Surface:
    """Surface of the floor where a ray of width `pixel` arrives along `direction`."""
    slope = direction[2].abs().clamp_min(1e-3)
    flat = torch.sqrt((1 - slope**2).clamp_min(1e-6))
    along, across = pixel / slope, pixel
    ux, uy = direction[0] / flat, direction[1] / flat
    wide = torch.sqrt((along * ux) ** 2 + (across * uy) ** 2), torch.sqrt((along * uy) ** 2 + (across * ux) ** 2)
    albedo = (0.5, 0.5, 0.5)
    for name in floors:
        here = scene.floor == stage.FLOOR_NUMBER[name]
        found = stage.floor_albedo(name, point[0], point[1], wide, texture)
        albedo = tuple(torch.where(here, new, old) for new, old in zip(found, albedo))
    zero = torch.zeros_like(slope)
    return Surface((zero, zero, zero + 1), albedo, zero, scene.mirror)


def _soft(signed: Tensor, edge: Tensor) -> Tensor:
    """0 to 1 across an edge of half width `edge`."""
    x = (0.5 + 0.5 * signed / edge).clamp(0, 1)
    return x * x * (3 - 2 * x)


def shine(surface: Surface, direction: Vec, scene: Stage, sunlight: Tensor | float, shade: Tensor | float) -> Vec:
    """Radiance that leaves a surface against `direction`.

    Lambert sun times `sunlight` (the visible share of the sun), a hemisphere of sky over bounced light times `shade`,
    and a Blinn-Phong highlight with exponent 36.
    """
    n = surface.normal
    facing = dot(n, scene.to_sun).clamp_min(0.0) * sunlight
    sky = 0.5 + 0.5 * n[2]
    half = normalize(tuple(s - d for s, d in zip(scene.to_sun, direction)))
    gleam = surface.highlight * torch.pow(dot(n, half).clamp_min(1e-4), 36.0) * torch.where(facing > 0, sunlight, 0.0)
    return tuple(
        a * (s * facing + (b + (z - b) * sky) * shade) + s * gleam
        for a, s, z, b in zip(surface.albedo, scene.sun, scene.ambient, scene.bounce)
    )


def fresnel(reflectance: Tensor, cosine: Tensor, cap: float) -> Tensor:
    """Schlick's approximation, limited to `cap`: a perfect mirror at grazing angles would hide the floor's haze."""
    grazing = 1 - cosine.clamp(0, 1)
    return torch.minimum(reflectance + reflectance * 5.0 * grazing**4, torch.full_like(reflectance, cap))


def with_surroundings(radiance: Vec, surface: Surface, direction: Vec, scene: Stage, shade: Tensor | float) -> Vec:
    """Adds a body's faint reflection of sky and ground, strongest on steel and at its rim."""
    bounced = reflect(direction, surface.normal)
    share = fresnel(surface.reflectance, -dot(direction, surface.normal), 0.6)
    above = _soft(bounced[2], torch.full_like(share, 0.25))
    sky = stage.sky(bounced[2], scene.zenith, scene.horizon)
    return tuple(r + (s * above + b * (1 - above) - r) * share * shade for r, s, b in zip(radiance, sky, scene.bounce))


def contact_shade(near: list[Tensor]) -> Tensor:
    """Share of ambient light left, from the distance to the nearest solid at each reach of CONTACT above a surface.

    Above open ground the distance equals the reach and nothing is lost.
    """
    left = 1.0
    for distance, (reach, depth) in zip(near, CONTACT):
        open_share = (distance / reach).clamp(0, 1)
        left = left * (1 - depth * (1 - open_share) ** 1.5)
    return left


def tone(radiance: Tensor) -> Tensor:
    """Linear up to 0.7, then a smooth shoulder to 1."""
    knee = 0.7
    return torch.where(radiance < knee, radiance, knee + (1 - knee) * torch.tanh((radiance - knee) / (1 - knee)))


def to_srgb(linear: Tensor) -> Tensor:
    """The sRGB transfer function (IEC 61966-2-1)."""
    curved = 1.055 * torch.pow(linear.clamp_min(0.0031308), 1 / 2.4) - 0.055
    return torch.where(linear <= 0.0031308, 12.92 * linear, curved)
