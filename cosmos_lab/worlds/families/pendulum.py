"""A body on a string swings below a beam; sometimes something stands at the bottom of its way."""

import math

import numpy as np

from ..physics import fixed, free, hinged
from ..scene import Rollout, Scene
from .stage import Design, Stage, shift, standing_height, touches

MOTIONS = ("swing from the left", "swing from the right", "strike from the left", "strike from the right")
PIVOT_HEIGHT = 1.5  # metres


def _gallows(stage: Stage, pivot: np.ndarray) -> None:
    post, beam = stage.material(), 0.45
    foot = pivot + [0.0, beam, 0.0]
    half = PIVOT_HEIGHT / 2 + 0.03
    stage.prop("post", "cylinder", [0.05, half, 0.0], post, fixed([foot[0], foot[1], half]))
    lying = [math.sqrt(0.5), math.sqrt(0.5), 0.0, 0.0]
    start = fixed(pivot + [0.0, beam / 2, 0.0], quaternion=lying)
    stage.prop("beam", "capsule", [0.035, beam / 2, 0.0], post, start)


def _bob(stage: Stage, pivot: np.ndarray, degrees: float) -> tuple[str, float]:
    """Hang a body from the pivot, its lowest point 6 cm above the floor; its name and radius across the swing."""
    body = stage.thing("actor0", stage.choice(("sphere", "box", "cylinder")))
    half = standing_height(body.shape, body.size)
    string = PIVOT_HEIGHT - 0.06 - 2 * half
    middle = pivot - [0.0, 0.0, string / 2]
    angle = math.radians(degrees)
    swing = hinged(middle, axis=[0, 1, 0], anchor=[0, 0, string / 2], angle=angle, density=50.0, solid=False)
    stage.prop("string", "capsule", [0.014, string / 2, 0.0], stage.material(), swing)
    bob = fixed([0.0, 0.0, -string / 2 - half], parent="string") | {"density": 700.0, "restitution": 0.3, "priority": 2}
    stage.add(body, bob)
    return body.name, body.size[0]


def draw(rng: np.random.Generator, design: Design) -> Scene:
    """A bob released at 30 to 50 degrees; for a strike, a light object rests just past the lowest point."""
    stage = Stage(rng, design)
    sign = 1.0 if design.motion.endswith("left") else -1.0  # the way it goes first
    pivot = np.array([stage.uniform(-0.3, 0.3), stage.uniform(0.0, 0.4), PIVOT_HEIGHT])
    _gallows(stage, pivot)
    degrees = stage.uniform(30, 50)
    actor, radius = _bob(stage, pivot, sign * degrees)  # a positive turn about y carries what hangs to -x
    stage.claim(pivot - [1.4, 0, 0], pivot + [1.4, 0, 0], 0.45)
    stage.claim(pivot, pivot + [0.0, 0.45, 0.0], 0.2)
    struck = []
    if design.motion.startswith("strike"):
        body = stage.thing("struck0", stage.choice(("sphere", "box", "cylinder")))
        spot = pivot[:2] + [sign * (radius + body.size[0] + stage.uniform(0.02, 0.15)), 0.0]
        height = standing_height(body.shape, body.size)
        stage.add(body, free([*spot, height], density=120.0, friction=0.25))
        struck = [body.name]
    resting = stage.rest()
    return stage.scene({"actors": [actor], "struck": struck, "resting": resting, "release_degrees": round(degrees, 3)})


def verify(rollout: Rollout) -> bool:
    """The bob passes its lowest point; it meets nothing, or the struck object, which moves 15 cm away."""
    scene = rollout.scene
    actor, struck = scene.facts["actors"][0], scene.facts["struck"]
    sign = 1.0 if scene.motion.endswith("left") else -1.0
    meets = [set(event[2:]) for event in rollout.events if "floor" not in event[2:]]
    if any(pair != {actor, *struck} for pair in meets) or touches(rollout, actor, "floor"):
        return False
    swung = sign * shift(rollout, actor)[:, 0].max() if sign > 0 else -shift(rollout, actor)[:, 0].min()
    if struck:
        return bool(meets and sign * shift(rollout, struck[0])[-1, 0] > 0.15)
    return bool(swung > 0.7)
