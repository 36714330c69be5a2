"""Scenes for longer than a clip: arms go back and forth, orbits go on; and clips from the middle of a motion.

A clip of the nano world lasts two seconds and shows how something begins. What follows is the same simulation, run on.
"""

from dataclasses import replace

import numpy as np

from . import camera
from .scene import Rollout, Scene

CLIP = 33  # pixel frames
# How many pixel frames after the start a later clip may begin. What swings and what an arm moves goes on for long, all
# else is at rest or gone by then; a pan or a zoom that the caption names must still be going on.
FIRST_OFFSET, LAST_OFFSET, LAST_OFFSET_LASTING, LAST_OFFSET_CAMERA = 4, 40, 140, 12
LASTING = ("pendulum", "arm")


def run_on(scene: Scene, num_pixel_frames: int) -> Rollout:
    """The rollout of a scene for longer than a clip; needs the simulator.

    An arm runs its path forward and back again and again, an orbit goes on evenly; every other camera holds its end.
    """
    from .physics import simulate

    return circled(simulate(repeating(scene, num_pixel_frames), num_pixel_frames))


def repeating(scene: Scene, num_pixel_frames: int) -> Scene:
    """The scene whose arm, if it has one, runs its path forward and back again and again."""
    path = scene.initial.get("control")
    if path is None:
        return scene
    back_and_forth = np.abs((np.arange(num_pixel_frames) + len(path) - 1) % (2 * len(path) - 2) - (len(path) - 1))
    return replace(scene, initial=scene.initial | {"control": [path[row] for row in back_and_forth]})


def circled(take: Rollout) -> Rollout:
    """The take with a camera that, where it orbits, keeps on: the angle of an orbit in two seconds, evenly."""
    if not take.scene.camera.startswith("orbit"):
        return take
    length, sign = len(take.position), 1 if take.scene.camera.endswith("right") else -1
    eye, target = camera.path("static", take.scene.initial["view"], length)
    angle = sign * camera.ORBIT * (np.arange(length) / (2 * take.fps) - 0.5)
    cos, sin = np.cos(angle), np.sin(angle)
    x, y, z = (eye - target).T
    return replace(take, eye=target + np.stack([cos * x - sin * y, sin * x + cos * y, z], axis=1), target=target)


def window(take: Rollout, start: int, num_pixel_frames: int = CLIP) -> Rollout:
    """The pixel frames of a take from `start` on; its scene, and so its captions, stay those of the beginning."""
    part = slice(start, start + num_pixel_frames)
    arrays = {name: getattr(take, name)[part] for name in ("position", "quaternion", "eye", "target")}
    return replace(take, **arrays, events=(), start=take.start + start)


def later(rollout: Rollout) -> Rollout:
    """A clip of the same scene from the middle of its motion; where it begins is drawn by the scene's seed.

    What has left the picture by then is missing from it, whatever its captions say: such clips are for continuation.
    """
    scene = rollout.scene
    last = LAST_OFFSET_LASTING if scene.family in LASTING else LAST_OFFSET
    last = LAST_OFFSET_CAMERA if scene.camera.startswith(("pan", "zoom")) else last
    start = int(np.random.default_rng(scene.seed).integers(FIRST_OFFSET, last + 1))
    return window(run_on(scene, start + CLIP), start)
