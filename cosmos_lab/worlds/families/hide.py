"""A ball rolls behind something and comes out on the other side."""

import numpy as np

from ..physics import free
from ..scene import SIZES, Body, Rollout, Scene
from .roll import heading, rolling
from .stage import Design, Stage, hidden_share, in_picture, reach, shift, wall

MOTIONS = ("pass behind to the left", "pass behind to the right")
SPEEDS = {"slowly": 1.1, "quickly": 1.6}  # m/s


def _cover(stage: Stage, actor: Body) -> list[str]:
    """A screen of the stage or, for small actors, a large box; the names of objects so added."""
    x, y = stage.uniform(-0.25, 0.25), stage.uniform(-0.7, -0.4)
    stage.claim([x - 0.6, y], [x + 0.6, y], 0.15)
    if actor.size == SIZES[actor.shape]["small"] and stage.rng.random() < 0.4:
        box = stage.thing("cover", "box", "large")
        stage.add(box, free([x, y, box.size[2]]))
        return [box.name]
    half = [stage.uniform(0.35, 0.6), 0.03, stage.uniform(0.34, 0.5)]
    wall(stage, "cover", [x, y, half[2]], half, stage.material())
    return []


def draw(rng: np.random.Generator, design: Design) -> Scene:
    """A ball or lying cylinder rolling past the far side of a screen or of a large box."""
    stage = Stage(rng, design)
    word = stage.choice(tuple(SPEEDS))
    actor = stage.thing("actor0", stage.choice(("sphere", "sphere", "cylinder", "capsule")))
    cover = _cover(stage, actor)
    way = heading(design.motion)
    back = stage.uniform(1.1, 1.6) if word == "quickly" else stage.uniform(0.95, 1.2)
    begin = np.array([-way[0] * back, stage.uniform(0.0, 0.5)])
    stage.add(actor, rolling(actor, begin, SPEEDS[word] * way))
    stage.claim(begin, begin + 4.0 * way, reach(actor) + 0.1)
    resting = cover + stage.rest(2 - len(cover))
    behind = {"behind": cover[0] if cover else "screen"}
    return stage.scene({"actors": [actor.name], "resting": resting, "speed": word} | behind)


def verify(rollout: Rollout) -> bool:
    """The actor is seen, then wholly hidden for two pixel frames or more, then seen again."""
    scene = rollout.scene
    actor, cover = scene.facts["actors"][0], scene.index("cover")
    hidden = hidden_share(rollout, actor)
    if any("floor" not in event[2:] for event in rollout.events) or (hidden == 1.0).sum() < 2:
        return False
    ends = (hidden[:3] == 0.0).all() and (hidden[-3:] == 0.0).all() and in_picture(rollout, actor)[-3:].all()
    along = shift(rollout, actor)[-1, 0] * heading(scene.motion)[0]
    return bool(ends and along > 1.0 and rollout.position[0, cover, 1] < rollout.track(actor)[0, 1])
