"""The camera: where it stands, how it moves, and where a point of the world lands in the picture.

Pinhole projection with square pixels; +u runs right, +v down, pixel (0, 0) covers [0, 1) x [0, 1).
"""

import math

import numpy as np

from .scene import CAMERAS

PAN = math.radians(14.0)  # one amount a move, so that caption and first picture fix the whole path
ORBIT = math.radians(24.0)
ZOOM = 0.75  # distance at the end over distance at the start of a zoom in


def _about_z(vectors: np.ndarray, angles: np.ndarray) -> np.ndarray:
    """Vectors (T, 3) turned about the vertical by angles (T,), counterclockwise from above."""
    cos, sin = np.cos(angles), np.sin(angles)
    x, y, z = vectors.T
    return np.stack([cos * x - sin * y, sin * x + cos * y, z], axis=-1)


def path(
    camera: str,
    view: dict[str, float | list[float]],
    num_pixel_frames: int = 33,
    reference_pixel_frames: int = 33,
) -> tuple[np.ndarray, np.ndarray]:
    """Eye and target (T, 3) of a camera move, centered on the still view, easing in and out (3s^2 - 2s^3).

    `view` holds target (3,) in metres, distance and height of the eye in metres, azimuth in degrees (0 looks along +y).
    A move lasts `reference_pixel_frames`; a longer clip holds its end. ValueError for an unknown camera.
    """
    if camera not in CAMERAS:
        raise ValueError(f"unknown camera {camera!r}; choose one of {', '.join(CAMERAS)}")
    s = np.clip(np.arange(num_pixel_frames) / max(reference_pixel_frames - 1, 1), 0.0, 1.0)
    swing = s * s * (3.0 - 2.0 * s) - 0.5  # -1/2 .. 1/2
    azimuth = math.radians(view["azimuth"])
    back = np.array([math.sin(azimuth), -math.cos(azimuth), 0.0]) * view["distance"]
    target = np.tile(np.asarray(view["target"], dtype=np.float64), (num_pixel_frames, 1))
    back = np.tile(back + [0.0, 0.0, view["height"] - target[0, 2]], (num_pixel_frames, 1))
    if camera.startswith("orbit"):
        back = _about_z(back, (ORBIT if camera.endswith("right") else -ORBIT) * swing)
    if camera.startswith("zoom"):
        back = back * np.exp((math.log(ZOOM) if camera.endswith("in") else -math.log(ZOOM)) * swing)[:, None]
    eye = target + back
    if camera.startswith("pan"):
        target = eye + _about_z(-back, (-PAN if camera.endswith("right") else PAN) * swing)
    return eye, target


def axes(eye: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Unit vectors right, up and forward (..., 3) of a camera at `eye` looking at `target`, z up."""
    forward = target - eye
    forward = forward / np.linalg.norm(forward, axis=-1, keepdims=True)
    right = np.cross(forward, [0.0, 0.0, 1.0])
    right = right / np.linalg.norm(right, axis=-1, keepdims=True)
    return right, np.cross(right, forward), forward


def project(
    points: np.ndarray,
    eye: np.ndarray,
    target: np.ndarray,
    field_of_view: float = 38.0,
    height: int = 112,
    width: int = 192,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pixel coordinates (u, v) and depth in metres of points (T, N, 3) seen from eye and target (T, 3), each (T, N).

    `field_of_view` is vertical, in degrees. Points behind the eye have depth <= 0 and meaningless (u, v).
    """
    right, up, forward = (axis[:, None] for axis in axes(eye, target))
    offset = points - eye[:, None]
    depth = (offset * forward).sum(axis=-1)
    focal = 0.5 * height / math.tan(math.radians(field_of_view) / 2.0)
    safe = np.where(np.abs(depth) < 1e-6, 1e-6, depth)
    u = 0.5 * width + focal * (offset * right).sum(axis=-1) / safe
    v = 0.5 * height - focal * (offset * up).sum(axis=-1) / safe
    return u, v, depth
