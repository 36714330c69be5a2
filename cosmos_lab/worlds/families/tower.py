"""A tower of cubes, or of drums, is hit by a heavy ball, thrown or rolling."""

import numpy as np

from ..physics import GRAVITY, free
from ..scene import COLORS, Body, Rollout, Scene
from .roll import rolling
from .stage import Design, Stage, in_picture, shift, touches, turn

MOTIONS = ("tower hit from the left", "tower hit from the right")
HALF = 0.16  # metres, half the edge of a cube, half the width and height of a drum
SIZE = {"box": (HALF, HALF, HALF), "cylinder": (HALF, HALF, 0.0)}
ROWS = ((1, 1, 1, 1), (2, 2), (2, 2, 1), (1, 1, 1, 1, 1), (2, 2, 2), (3, 2, 1), (2, 2, 2, 1), (2, 2, 2, 2), (3, 3, 3))
SPEED = 3.0  # m/s


def _pile(stage: Stage, rows, foot: np.ndarray, colors: list[str]) -> list[str]:
    """Stack the rows, colors running round and round; the names of the cubes or drums."""
    shape = stage.design.piled
    yaw = turn([0, 0, 1], degrees := stage.uniform(-18, 18))
    along = np.array([np.cos(np.radians(degrees)), np.sin(np.radians(degrees)), 0.0])
    names = []
    for level, width in enumerate(rows):
        for column in range(width):
            middle = foot + along * (column - (width - 1) / 2) * (2 * HALF + 0.003) + [0, 0, HALF * (2 * level + 1)]
            color = colors[(column + level) % len(colors)]
            # Drums keep the names, so that only shape and size tell their scenes from those of cubes.
            body = Body(name=f"cube{len(names)}", shape=shape, size=SIZE[shape], color=color)
            stage.add(body, free(middle, quaternion=yaw, density=150.0))
            names.append(body.name)
    return names


def _striker(stage: Stage, foot: np.ndarray, tall: float, sign: float, thrown: bool) -> Body:
    ball = stage.thing("actor0", "sphere", None if thrown else "large")
    start = foot - [sign * stage.uniform(1.1, 1.5), 0.0, 0.0]
    if not thrown:
        stage.add(ball, rolling(ball, start, [sign * SPEED, 0.0], density=900.0))
        return ball
    start[2] = stage.uniform(ball.size[0] + 0.1, 0.9)
    time = (abs(start[0] - foot[0]) - 0.5) / SPEED
    climb = (0.65 * tall - start[2]) / time + 0.5 * GRAVITY * time  # so that it meets the upper half
    velocity = [sign * SPEED, 0.0, climb]
    stage.add(ball, free(start, velocity=velocity, density=900.0, priority=2))
    return ball


def draw(rng: np.random.Generator, design: Design) -> Scene:
    """Four to nine cubes (or drums) of one to three colors, and a ball of yet another color on its way."""
    stage = Stage(rng, design)
    sign = 1.0 if design.motion.endswith("left") else -1.0
    rows, colors = stage.choice(ROWS), [stage.color() for _ in range(int(rng.integers(1, 4)))]
    foot = np.array([sign * stage.uniform(-0.2, 0.25), stage.uniform(-0.2, 0.4), 0.0])
    names = _pile(stage, rows, foot, colors)
    thrown = bool(rng.random() < 0.6)
    ball = _striker(stage, foot, 2 * HALF * len(rows), sign, thrown)
    used = {stage.bodies[index].color for index in range(len(names))}
    group = {"kind": "tower", "names": names, "colors": [color for color in COLORS if color in used]}
    facts = {"actors": [ball.name], "struck": names, "group": group, "delivery": "thrown" if thrown else "rolling"}
    return stage.scene(facts, {"crowd": True})


def contact_time(rollout: Rollout) -> float:
    """When the ball first meets a cube, in seconds; infinity if never."""
    ball, names = rollout.scene.facts["actors"][0], rollout.scene.facts["group"]["names"]
    return min((time for name in names for time in touches(rollout, ball, name)), default=np.inf)


def verify(rollout: Rollout) -> bool:
    """The tower stands until the ball meets it, within a second; then at least a third of the cubes move 15 cm."""
    names, contact = rollout.scene.facts["group"]["names"], contact_time(rollout)
    if not 0.1 < contact < 1.0:
        return False
    moved = np.stack([np.linalg.norm(shift(rollout, name), axis=1) for name in names])
    before = int(contact * rollout.fps)
    inside = np.mean([in_picture(rollout, name).mean() for name in names])
    return bool(moved[:, : before + 1].max() < 0.02 and (moved[:, -1] > 0.15).mean() >= 0.34 and inside > 0.85)
