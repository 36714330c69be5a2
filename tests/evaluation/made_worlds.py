"""Clips with known answers: scenes written by hand instead of simulated, tracks and class maps drawn by hand."""

import numpy as np

from cosmos_lab.evaluation.colors import MIN_AREA
from cosmos_lab.evaluation.labels import BACKGROUND, COLOR_NAMES, PROP
from cosmos_lab.evaluation.reading import Reading, Track
from cosmos_lab.worlds import camera
from cosmos_lab.worlds.scene import SIZES, Body, Rollout, Scene

GRAVITY, FPS, LENGTH = 9.81, 16.0, 33
VIEW = {"target": [0.0, 0.0, 0.6], "distance": 4.0, "height": 1.5, "azimuth": 0.0}


def scene(bodies, *, family="fall", motion="bounce", camera="static", actors=("ball",), **facts):
    known = {"actors": list(actors), "struck": [], "resting": [], "group": None, "speed": None}
    starts = {body.name: {"position": [0.0, 0.0, 0.5]} for body in bodies}
    return Scene(
        seed=7, family=family, motion=motion, bodies=tuple(bodies), floor="wood", light="noon", camera=camera,
        facts=known | facts, initial={"view": VIEW, "bodies": starts},
    )  # fmt: skip


def ball(size="large", color="red"):
    return Body(name="ball", shape="sphere", size=SIZES["sphere"][size], color=color, marked=True)


def cube(color="blue", name="cube"):
    return Body(name=name, shape="box", size=SIZES["box"]["small"], color=color)


def rollout(made, paths):
    """Bodies that follow paths (T, 3) in metres without turning."""
    position = np.stack([np.broadcast_to(path, (LENGTH, 3)) for path in paths], axis=1).astype(float)
    quaternion = np.zeros((*position.shape[:2], 4))
    quaternion[..., 0] = 1
    eye, target = camera.path(made.camera, VIEW, LENGTH)
    return Rollout(scene=made, position=position, quaternion=quaternion, eye=eye, target=target, fps=FPS)


def falling_heights(start, floor, gravity=GRAVITY, bounce=0.8):
    """A ball dropped from rest, bouncing on `floor`; metres (T,)."""
    heights, height, speed = [], start, 0.0
    for _ in range(LENGTH):
        heights.append(height)
        for _ in range(100):  # exact between contacts: position and speed from the parabola of each small step
            step = 1 / FPS / 100
            height, speed = height + speed * step - 0.5 * gravity * step**2, speed - gravity * step
            if height < floor:
                height, speed = floor, -bounce * speed
    return np.array(heights)


def drop(start=1.35, gravity=GRAVITY, color="red"):
    """A large ball that falls beside a small blue cube, seen by a fixed camera."""
    body = ball(color=color)
    path = np.zeros((LENGTH, 3))
    path[:, 0], path[:, 2] = -0.5, falling_heights(start, body.size[0], gravity)
    return rollout(scene([body, cube()], resting=["cube"]), [path, np.array([0.7, 0.3, 0.16])])


def track(position, *, color="red", shape="sphere", area=300.0, whole=None):
    """A track along positions (T, 2) in pixels; area a number or (T,), 0 where nothing shows."""
    position = np.asarray(position, dtype=float)
    area = np.broadcast_to(np.asarray(area, dtype=float), len(position)).copy()
    visible = area > MIN_AREA
    return Track(
        color=color, shape=shape, shape_share=1.0, position=np.where(visible[:, None], position, np.nan), area=area,
        spread=np.full((len(position), 2), 0.5) * np.sqrt(area / np.pi)[:, None], visible=visible,
        whole=visible if whole is None else visible & whole,
    )  # fmt: skip


def reading(tracks=(), *, classes=None, certainty=0.9, pitch=10.0, features=None, **clip):
    """A reading of the given tracks; clip-level labels default to a plain bounce."""
    labels = {"motion": "bounce", "camera": "static", "floor": "wood", "light": "noon", "family": "fall", "count": "1"}
    labels |= clip
    return Reading(
        objects=tuple(tracks), clip=labels, confidence=dict.fromkeys(labels, 0.99), certainty=certainty, pitch=pitch,
        distance=4.0, features=np.zeros(4) if features is None else features,
        classes=np.full((LENGTH, 56, 96), BACKGROUND, dtype=np.uint8) if classes is None else classes,
    )  # fmt: skip


def paint(discs, *, prop=None, length=12, height=56, width=96):
    """Class maps (T, h, w): `discs` are (color, centers (T, 2) in cells or NaN, radius), later ones in front; `prop` is
    a rectangle (top, bottom, left, right) in front of everything."""
    classes = np.full((length, height, width), BACKGROUND, dtype=np.uint8)
    rows, columns = np.mgrid[:height, :width]
    for color, centers, radius in discs:
        for t, (x, y) in enumerate(centers):
            if np.isfinite(x):
                classes[t][(rows - y) ** 2 + (columns - x) ** 2 <= radius**2] = COLOR_NAMES.index(color)
    if prop:
        top, bottom, left, right = prop
        classes[:, top:bottom, left:right] = PROP
    return classes
