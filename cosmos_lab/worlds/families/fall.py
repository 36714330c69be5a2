"""Things let go in the air: boxes, cylinders and capsules fall and stay, balls bounce, thrown balls bounce along."""

import numpy as np

from ..physics import BOUNCE, GRAVITY, free
from ..scene import Rollout, Scene
from .stage import Design, Stage, after, reach, shift, standing_height, touches, turn

MOTIONS = ("fall", "bounce", "throw left", "throw right")
THROW = 1.3  # m/s


def _drop(stage: Stage, index: int, bouncy: bool) -> str | None:
    body = stage.thing(f"actor{index}", "sphere" if bouncy else stage.choice(("box", "cylinder", "capsule")))
    spot = stage.spot(reach(body) + 0.15, x=(-1.3, 1.3), y=(-0.4, 0.6))
    if spot is None:
        return None
    height = standing_height(body.shape, body.size) + stage.uniform(0.45, 1.3)
    tilt = turn([np.cos(angle := stage.uniform(0, 6.28)), np.sin(angle), 0.0], stage.uniform(3.0, 12.0))
    pose = after(tilt, turn([0, 0, 1], stage.uniform(-45, 45)))
    restitution = BOUNCE if bouncy else 0.2
    stage.add(body, free([*spot, height], quaternion=pose, restitution=restitution, priority=2))
    return body.name


def _throw(stage: Stage, sign: float) -> str:
    body = stage.thing("actor0", "sphere")
    height = body.size[0] + stage.uniform(0.5, 1.1)
    start = np.array([-sign * stage.uniform(0.9, 1.5), stage.uniform(-0.3, 0.6), height])
    velocity = [sign * THROW, 0.0, 0.0]
    stage.claim(start, start + [sign * 3.0, 0.0, 0.0], body.size[0] + 0.1)
    stage.add(body, free(start, velocity=velocity, friction=0.3, restitution=BOUNCE, priority=2))
    return body.name


def draw(rng: np.random.Generator, design: Design) -> Scene:
    """One to three bodies released at rest at different heights, or one ball thrown level, beside still objects."""
    stage = Stage(rng, design)
    if design.motion.startswith("throw"):
        actors = [_throw(stage, 1.0 if design.motion.endswith("right") else -1.0)]
    else:
        count = int(rng.choice([1, 2, 3], p=[0.45, 0.35, 0.2]))
        drops = (_drop(stage, index, design.motion == "bounce") for index in range(count))
        actors = [name for name in drops if name]
    resting = stage.rest()
    heights = {name: stage.starts[name]["position"][2] for name in actors}
    return stage.scene({"actors": actors, "resting": resting, "heights": heights})


def _falls_freely(rollout: Rollout, name: str) -> bool:
    """Whether nothing but gravity acts on a body until it meets the floor within the clip."""
    landings = touches(rollout, name, "floor")
    others = [time for time, *_, first, second in rollout.events if name in (first, second)]
    if not landings or landings[0] > 1.2 or min(others) < landings[0]:
        return False
    times = np.arange(len(rollout.position)) / rollout.fps
    before = times < landings[0]
    drop = -shift(rollout, name)[before, 2]
    return bool(np.abs(drop - 0.5 * GRAVITY * times[before] ** 2).max() < 0.02)


def rebound(rollout: Rollout, name: str) -> float:
    """How far a body rises again between its first and its second touch of the floor, in metres."""
    height, landings = rollout.track(name)[:, 2], touches(rollout, name, "floor")
    end = landings[1] if len(landings) > 1 else np.inf
    times = np.arange(len(height)) / rollout.fps
    air = height[(times > landings[0]) & (times < end)]
    return float(air.max() - height.min()) if len(air) else 0.0


def verify(rollout: Rollout) -> bool:
    """Every actor falls freely to the floor; balls rebound by 15 cm, others stay low; thrown balls travel 1 m."""
    motion, actors = rollout.scene.motion, rollout.scene.facts["actors"]
    meets = [event for event in rollout.events if "floor" not in event[2:]]
    if meets or not all(_falls_freely(rollout, name) for name in actors):
        return False
    if motion.startswith("throw"):
        sign = 1.0 if motion.endswith("right") else -1.0
        return rebound(rollout, actors[0]) > 0.15 and sign * shift(rollout, actors[0])[-1, 0] > 1.0
    if motion == "bounce":
        return all(rebound(rollout, name) > 0.15 for name in actors)
    return all(rebound(rollout, name) < 0.15 for name in actors)
