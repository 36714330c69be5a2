"""A plank leans on a block: boxes slide down it, balls and cylinders roll down it."""

import math

import numpy as np

from ..physics import free
from ..scene import Body, Rollout, Scene
from .stage import Design, Stage, after, reach, shift, standing_height, turn, wall

MOTIONS = ("slide down left", "slide down right", "roll down left", "roll down right")
LENGTH, WIDTH, THICKNESS = 1.7, 0.7, 0.05  # metres


def _plank(stage: Stage, foot: np.ndarray, sign: float, degrees: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Add the plank and its block; return the up-slope and outward unit vectors and the plank's pose."""
    slope = math.radians(degrees)
    up = np.array([-sign * math.cos(slope), 0.0, math.sin(slope)])
    out = np.array([sign * math.sin(slope), 0.0, math.cos(slope)])
    pose = turn([0, 1, 0], sign * degrees)
    middle = foot + up * (LENGTH / 2 - 0.06) - out * THICKNESS / 2  # its lowest edge is sunk, so that no step is left
    wall(stage, "ramp", middle, [LENGTH / 2, WIDTH / 2, THICKNESS / 2], stage.material(), pose)
    top = foot + up * (LENGTH - 0.35)
    height = top[2] - THICKNESS / math.cos(slope) - 0.12 * math.tan(slope)
    wall(stage, "block", [top[0], foot[1], height / 2], [0.12, WIDTH / 2 - 0.04, height / 2], stage.material())
    return up, out, pose


def _actor(stage: Stage, slides: bool, place, pose: np.ndarray) -> Body:
    body = stage.thing("actor0", "box" if slides else stage.choice(("sphere", "cylinder")))
    if body.shape == "cylinder":
        pose = after(pose, turn([1, 0, 0], 90.0))
    position = place(body.size[0])
    friction = 0.16 if slides else 0.7
    stage.add(body, free(position, quaternion=pose, density=500.0, friction=friction, priority=3))
    return body


def _target(stage: Stage, foot: np.ndarray, sign: float) -> str:
    body = stage.thing("struck0", stage.choice(("sphere", "box", "cylinder")))
    spot = foot[:2] + np.array([sign * (stage.uniform(0.35, 0.8) + reach(body)), 0.0])
    start = free([*spot, standing_height(body.shape, body.size)], density=120.0, friction=0.2)
    stage.add(body, start)
    return body.name


def draw(rng: np.random.Generator, design: Design) -> Scene:
    """An actor at rest high on a plank of 18 to 30 degrees; a third of the scenes set a target at its foot."""
    stage = Stage(rng, design)
    sign = 1.0 if design.motion.endswith("right") else -1.0
    slides = design.motion.startswith("slide")
    foot = np.array([sign * stage.uniform(-0.3, 0.3), stage.uniform(-0.2, 0.4), 0.0])
    degrees = stage.uniform(22.0 if slides else 18.0, 30.0)
    up, out, pose = _plank(stage, foot, sign, degrees)
    away = stage.uniform(1.1, 1.3)
    actor = _actor(stage, slides, lambda radius: foot + up * away + out * radius, pose)
    stage.claim(foot + up * LENGTH, foot - up * 2.0, WIDTH / 2 + 0.1)
    struck = [_target(stage, foot, sign)] if rng.random() < 0.33 else []
    resting = stage.rest()
    facts = {"actors": [actor.name], "struck": struck, "resting": resting, "slope_degrees": round(degrees, 3)}
    return stage.scene(facts)


def verify(rollout: Rollout) -> bool:
    """The actor comes down the slope by half a metre the right way without leaving it, and strikes what it should."""
    scene = rollout.scene
    actor, struck = scene.facts["actors"][0], scene.facts["struck"]
    sign = 1.0 if scene.motion.endswith("right") else -1.0
    moved = shift(rollout, actor)
    meets = [set(event[2:]) for event in rollout.events if not {"floor", "ramp"} & set(event[2:])]
    if any(pair != {actor, *struck} for pair in meets) or bool(meets) != bool(struck):
        return False
    if struck and np.linalg.norm(shift(rollout, struck[0])[-1]) < 0.12:
        return False
    start = moved[:5]
    stays = np.abs(moved[:, 1]).max() < 0.15
    return bool(sign * moved[-1, 0] > 0.8 and moved[-1, 2] < -0.25 and (np.diff(start[:, 2]) <= 1e-3).all() and stays)
