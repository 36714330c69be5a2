"""A ball tips the first of a row of dominoes, and the row topples."""

import math

import numpy as np

from ..physics import free
from ..scene import COLORS, Body, Rollout, Scene
from .roll import rolling
from .stage import Design, Stage, reach, shift, touches, turn, upright

MOTIONS = ("topple left", "topple right")
SIZE = (0.05, 0.14, 0.27)  # metres, half extents
SPEED = 1.6  # m/s


def draw(rng: np.random.Generator, design: Design) -> Scene:
    """Five to eight dominoes of one or two colors in a straight row, and a small ball of another color behind it."""
    stage = Stage(rng, design)
    sign = 1.0 if design.motion.endswith("right") else -1.0
    count, gap = int(rng.integers(5, 9)), stage.uniform(0.23, 0.30)
    yaw = stage.uniform(-14, 14)
    way = sign * np.array([math.cos(math.radians(yaw)), math.sin(math.radians(yaw))])
    first = np.array([0.0, stage.uniform(-0.1, 0.5)]) - way * ((count - 1) * gap / 2 - 0.25)
    colors, names = [stage.color() for _ in range(int(rng.integers(1, 3)))], []
    for index in range(count):
        body = Body(name=f"domino{index}", shape="box", size=SIZE, color=colors[index % len(colors)])
        spot = first + way * gap * index
        stage.add(body, free([*spot, SIZE[2]], quaternion=turn([0, 0, 1], yaw), density=150.0, friction=0.4))
        names.append(body.name)
    ball = stage.thing("actor0", "sphere", "small")
    begin = first - way * (stage.uniform(0.2, 0.45) + reach(ball) + SIZE[0])
    stage.add(ball, rolling(ball, begin, SPEED * way, density=400.0))
    stage.claim(begin, first + way * gap * (count + 2), 0.4)
    stage.claim([-1.2, -0.7], [1.2, -0.7], 0.3)  # nothing stands before the row
    resting = stage.rest(1)
    group = {"kind": "dominoes", "names": names, "colors": [color for color in COLORS if color in colors]}
    facts = {"actors": [ball.name], "struck": names, "resting": resting, "group": group}
    return stage.scene(facts, {"crowd": True})


def verify(rollout: Rollout) -> bool:
    """Every domino but perhaps the last lies tilted by 45 degrees the right way at the end; the row stood before."""
    scene, names = rollout.scene, rollout.scene.facts["group"]["names"]
    sign = 1.0 if scene.motion.endswith("right") else -1.0
    contact = min(touches(rollout, scene.facts["actors"][0], names[0]), default=np.inf)
    if not 0.1 < contact < 0.8 or any(touches(rollout, a, b) for a in scene.facts["resting"] for b in names):
        return False
    fallen = [upright(rollout, name)[-1] < 0.75 for name in names]
    before = slice(0, int(contact * rollout.fps) + 1)
    started = max(np.linalg.norm(shift(rollout, name)[before], axis=1).max() for name in names)
    return bool(all(fallen) and started < 0.02 and all(sign * shift(rollout, name)[-1, 0] > 0.02 for name in names))
