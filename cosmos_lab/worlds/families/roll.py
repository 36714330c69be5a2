"""Balls and lying cylinders roll across the floor; some meet a resting object and send it off."""

import math

import numpy as np

from ..physics import free
from ..scene import Body, Rollout, Scene
from .stage import Design, Stage, after, reach, shift, standing_height, turn

MOTIONS = ("roll left", "roll right", "roll toward", "roll away", "roll left and hit", "roll right and hit")
SPEEDS = {"slowly": 0.8, "quickly": 1.5}  # m/s
IN_DEPTH = 0.7  # of that speed for what comes nearer or goes away, so that it stays in the picture
HEADINGS = {"right": (1.0, 0.0), "left": (-1.0, 0.0), "toward": (0.0, -1.0), "away": (0.0, 1.0)}


def heading(motion: str) -> np.ndarray:
    """The unit vector (2,) on the floor along which a motion goes."""
    return np.array(next(vector for word, vector in HEADINGS.items() if word in motion.split()))


def speed_of(motion: str, word: str) -> float:
    """The speed in m/s that a speed word means for a motion."""
    return SPEEDS[word] * (IN_DEPTH if "toward" in motion or "away" in motion else 1.0)


def rolling(body: Body, spot, velocity, *, density: float = 500.0, restitution: float = 0.0) -> dict:
    """The start of a body that rolls without slipping: spin = z x velocity / radius. Cylinders lie across the way."""
    radius, (vx, vy) = body.size[0], velocity
    across = turn([0, 0, 1], math.degrees(math.atan2(vy, vx)))
    pose = across if body.shape == "sphere" else after(across, turn([1, 0, 0], 90.0))
    return free(
        [spot[0], spot[1], radius],
        quaternion=pose,
        velocity=[vx, vy, 0.0],
        spin=[-vy / radius, vx / radius, 0.0],
        density=density,
        friction=0.6,
        restitution=restitution,
        priority=2,
    )


def _begin(stage: Stage, motion: str, speed: float) -> np.ndarray:
    if "toward" in motion:
        return np.array([stage.uniform(-0.9, 0.9), stage.uniform(0.5, 1.0)])
    if "away" in motion:
        return np.array([stage.uniform(-0.7, 0.7), stage.uniform(-1.0, -0.4)])
    back = stage.uniform(1.1, 1.6) if speed > 0.9 else stage.uniform(0.5, 1.3)
    return np.array([-heading(motion)[0] * back, stage.uniform(-0.3, 0.6)])


def draw(rng: np.random.Generator, design: Design) -> Scene:
    """One ball, cylinder or capsule rolling at one of two speeds, perhaps into a resting object, beside still ones."""
    stage = Stage(rng, design)
    hits = design.motion.endswith("hit")
    word = stage.choice(tuple(SPEEDS))
    speed = speed_of(design.motion, word)
    actor = stage.thing("actor0", stage.choice(("sphere", "cylinder", "capsule")))
    begin = _begin(stage, design.motion, speed)
    yaw = math.radians(stage.uniform(-6, 6))
    x, y = heading(design.motion)
    way = np.array([math.cos(yaw) * x - math.sin(yaw) * y, math.sin(yaw) * x + math.cos(yaw) * y])
    stage.add(actor, rolling(actor, begin, speed * way, restitution=0.5 if hits else 0.0))
    stage.claim(begin, begin + 3.0 * speed * way, reach(actor) + (0.3 if hits else 0.1))
    struck = []
    if hits:
        target = stage.thing("struck0", stage.choice(("sphere", "box", "cylinder")))
        spot = begin + way * (speed * stage.uniform(0.45, 0.9) + reach(actor) + reach(target))
        yaw = turn([0, 0, 1], stage.uniform(-20, 20))
        height = standing_height(target.shape, target.size)
        stage.add(target, free([*spot, height], quaternion=yaw, density=120.0, friction=0.25))
        struck = [target.name]
    resting = stage.rest()
    return stage.scene({"actors": [actor.name], "struck": struck, "resting": resting, "speed": word})


def verify(rollout: Rollout) -> bool:
    """The actor keeps its way and speed within 3 % until a hit, touches nothing else, and a hit moves the target."""
    scene = rollout.scene
    actor, way = scene.facts["actors"][0], heading(scene.motion)
    meets = [event for event in rollout.events if "floor" not in event[2:] and event[1] == "contact"]
    struck = scene.facts["struck"]
    if any(set(event[2:]) != {actor, *struck} for event in meets) or bool(meets) != bool(struck):
        return False
    end = meets[0][0] if meets else np.inf
    if struck and not (0.25 < end < 1.5 and np.abs(shift(rollout, struck[0])[-1, :2] @ way) > 0.12):
        return False
    times = np.arange(len(rollout.position)) / rollout.fps
    moved = np.linalg.norm(shift(rollout, actor)[:, :2], axis=1)
    straight = moved[times < end] - speed_of(scene.motion, scene.facts["speed"]) * times[times < end]
    along = shift(rollout, actor)[times < end][-1, :2] @ way
    return bool(np.abs(straight).max() < 0.03 * moved.max() + 0.01 and along > 0.15)
