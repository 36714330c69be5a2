"""What all scene families share: drawing colors and places, and asking how much of a body the camera sees."""

import math
from dataclasses import dataclass

import numpy as np

from .. import camera
from ..physics import fixed, free
from ..scene import COLORS, MATERIALS, SIZES, Body, Rollout, Scene

WIDTH, HEIGHT = 192, 112  # the picture that scenes are framed for
ROOM_X, ROOM_Y = (-1.6, 1.6), (-0.7, 0.9)  # metres of floor on which objects rest
STILL = 0.02  # metres by which an object at rest may move


@dataclass(frozen=True, kw_only=True)
class Design:
    """The attributes of a scene that are drawn before its geometry, so that rejections cannot skew them.

    `resting` is how many objects shall lie about, beside those that act and as far as there is room for four in all.
    `piled` is the shape of what towers are built of.
    """

    seed: int
    family: str
    motion: str
    floor: str
    light: str
    camera: str
    resting: int = 0
    piled: str = "box"


def turn(axis, degrees: float) -> np.ndarray:
    """The quaternion (w, x, y, z) of a turn about `axis` by `degrees`."""
    axis = np.asarray(axis, dtype=np.float64) / np.linalg.norm(axis)
    half = math.radians(degrees) / 2.0
    return np.concatenate([[math.cos(half)], math.sin(half) * axis])


def after(second: np.ndarray, first: np.ndarray) -> np.ndarray:
    """The quaternion of the turn `first` followed by the turn `second`, both about world axes."""
    a, u, b, v = second[0], second[1:], first[0], first[1:]
    return np.concatenate([[a * b - u @ v], a * v + b * u + np.cross(u, v)])


def standing_height(shape: str, size) -> float:
    """How high the middle of an upright body is when it stands on the floor, in metres."""
    if shape == "box":
        return size[2]
    return {"sphere": size[0], "cylinder": size[1], "capsule": size[0] + size[1]}[shape]


def resting_pose(body: Body, degrees: float) -> tuple[np.ndarray, float]:
    """The quaternion of a body at rest on the floor, turned by so much, and the height of its middle in metres.

    Capsules lie, all others stand.
    """
    pose = turn([0, 0, 1], degrees)
    if body.shape == "capsule":  # upright it would fall over
        return after(pose, turn([0, 1, 0], 90.0)), body.size[0]
    return pose, standing_height(body.shape, body.size)


def reach(body: Body) -> float:
    """The radius of the sphere around a body, in metres."""
    if body.shape == "box":
        return math.hypot(*body.size)
    return {
        "sphere": body.size[0],
        "cylinder": math.hypot(body.size[0], body.size[1]),
        "capsule": body.size[0] + body.size[1],
    }[body.shape]


class Stage:
    """A scene being built: hands out distinct colors, keeps bodies with their starts, and remembers occupied floor.

    `claim` marks the strip of floor within `radius` of a segment as taken; `rest` puts still objects elsewhere.
    """

    def __init__(self, rng: np.random.Generator, design: Design):
        self.rng, self.design = rng, design
        self.bodies: list[Body] = []
        self.starts: dict[str, dict] = {}
        self._palette = [str(color) for color in rng.permutation(list(COLORS))]
        self._materials = [str(material) for material in rng.permutation(list(MATERIALS))]
        self._claims: list[tuple[np.ndarray, np.ndarray, float]] = []

    def color(self) -> str:
        """A color that no object of this scene has yet."""
        return self._palette.pop()

    def material(self) -> str:
        """A material that no prop of this scene has yet."""
        return self._materials.pop()

    def uniform(self, low: float, high: float) -> float:
        return float(self.rng.uniform(low, high))

    def choice(self, options):
        return options[int(self.rng.integers(len(options)))]

    def add(self, body: Body, start: dict) -> Body:
        self.bodies.append(body)
        self.starts[body.name] = start
        return body

    def thing(self, name: str, shape: str, word: str | None = None) -> Body:
        """A new object of a size drawn evenly (or the one asked for), in a fresh color; balls are marked."""
        size = SIZES[shape][word or self.choice(("small", "large"))]
        return Body(name=name, shape=shape, size=size, color=self.color(), marked=shape == "sphere")

    def prop(self, name: str, shape: str, size, material: str, start: dict) -> Body:
        return self.add(Body(name=name, shape=shape, size=tuple(size), color=material, role="prop"), start)

    def claim(self, start, end, radius: float) -> None:
        self._claims.append((np.asarray(start, dtype=np.float64)[:2], np.asarray(end, dtype=np.float64)[:2], radius))

    def is_free(self, spot: np.ndarray, radius: float) -> bool:
        """Whether a disc of floor lies clear of every claim."""
        for start, end, wide in self._claims:
            along = end - start
            share = np.clip((spot - start) @ along / max(along @ along, 1e-9), 0.0, 1.0)
            if np.linalg.norm(spot - start - share * along) < wide + radius:
                return False
        return True

    def spot(self, radius: float, x=ROOM_X, y=ROOM_Y) -> np.ndarray | None:
        """A free disc of floor, claimed at once; None when 30 throws find none."""
        for _ in range(30):
            spot = np.array([self.uniform(*x), self.uniform(*y)])
            if self.is_free(spot, radius):
                self.claim(spot, spot, radius)
                return spot
        return None

    def rest(self, most: int | None = None) -> list[str]:
        """The design's resting objects on free floor, capsules lying; their names.

        At most `most`, by default as many as make four objects in all.
        """
        names, most = [], 4 - sum(body.role == "object" for body in self.bodies) if most is None else most
        for index in range(min(self.design.resting, most)):
            body = self.thing(f"still{index}", self.choice(tuple(SIZES)))
            spot = self.spot(reach(body) + 0.1)
            if spot is not None:
                pose, height = resting_pose(body, self.uniform(-45, 45))
                self.add(body, free([*spot, height], quaternion=pose))
                names.append(body.name)
        return names

    def view(self) -> dict:
        """A random still camera: 3 to 3.8 m away, eye at 1 to 2 m, within 12 degrees of straight ahead."""
        return {
            "target": [round(self.uniform(-0.1, 0.1), 4), 0.0, round(self.uniform(0.5, 0.7), 4)],
            "distance": round(self.uniform(3.0, 3.8), 4),
            "height": round(self.uniform(1.0, 2.0), 4),
            "azimuth": round(self.uniform(-12.0, 12.0), 3),
        }

    def scene(self, facts: dict, initial: dict | None = None) -> Scene:
        """The finished scene. `facts` names at least the `actors`; `struck`, `resting` and `group` default to none."""
        facts = {"struck": [], "resting": [], "group": None, "speed": None} | facts
        return Scene(
            seed=self.design.seed,
            family=self.design.family,
            motion=self.design.motion,
            bodies=tuple(self.bodies),
            floor=self.design.floor,
            light=self.design.light,
            camera=self.design.camera,
            facts=facts,
            initial={"bodies": self.starts, "view": self.view()} | (initial or {}),
        )


def wall(stage: Stage, name: str, position, half, material: str, quaternion=(1.0, 0.0, 0.0, 0.0)) -> Body:
    """A slab of the stage, fixed to the ground."""
    return stage.prop(name, "box", half, material, fixed(position, quaternion=quaternion))


def silhouette(rollout: Rollout, name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Middle (u, v) and radius in pixels, each (T,), of the disc that surely holds a body's picture."""
    center = rollout.track(name)[:, None]
    u, v, depth = camera.project(center, rollout.eye, rollout.target, rollout.field_of_view, HEIGHT, WIDTH)
    focal = 0.5 * HEIGHT / math.tan(math.radians(rollout.field_of_view) / 2.0)
    return u[:, 0], v[:, 0], focal * reach(rollout.scene.body(name)) / np.maximum(depth[:, 0], 0.1)


def in_picture(rollout: Rollout, name: str, margin: float = 0.0) -> np.ndarray:
    """Whether the middle of a body lies at least `margin` radii inside the picture, (T,)."""
    u, v, radius = silhouette(rollout, name)
    edge = margin * radius
    return (u > edge) & (u < WIDTH - edge) & (v > edge) & (v < HEIGHT - edge)


def _crosses(eye: np.ndarray, points: np.ndarray, half: np.ndarray) -> np.ndarray:
    """Whether segments from eye (T, 1, 3) to points (T, P, 3) cross the box of half extents (3,), slab by slab."""
    along = points - eye
    along = np.where(np.abs(along) < 1e-9, 1e-9, along)
    near, far = (-half - eye) / along, (half - eye) / along
    enter = np.minimum(near, far).max(axis=-1)
    leave = np.maximum(near, far).min(axis=-1)
    return (enter < leave) & (leave > 0.0) & (enter < 1.0)


def hidden_share(rollout: Rollout, name: str, frames: slice = slice(None)) -> np.ndarray:
    """Which share of nine points across a body is hidden behind boxes of the scene, per pixel frame."""
    scene, index = rollout.scene, rollout.scene.index(name)
    eye, center = rollout.eye[frames], rollout.position[frames, index]
    right, up, _ = camera.axes(eye, center)
    angles = np.arange(8) * (math.pi / 4.0)
    radius = 0.85 * min(size for size in scene.bodies[index].size if size > 0)
    around = np.cos(angles)[:, None] * right[:, None] + np.sin(angles)[:, None] * up[:, None]
    points = center[:, None] + radius * np.concatenate([np.zeros_like(around[:, :1]), around], axis=1)
    hidden = np.zeros(points.shape[:2], dtype=bool)
    for other, body in enumerate(scene.bodies):
        if body.shape == "box" and other != index:
            axes = _axes(rollout.quaternion[frames, other])
            origin = rollout.position[frames, other][:, None]
            local_eye = np.einsum("tpi,tij->tpj", eye[:, None] - origin, axes)
            local_points = np.einsum("tpi,tij->tpj", points - origin, axes)
            hidden |= _crosses(local_eye, local_points, np.asarray(body.size))
    return hidden.mean(axis=1)


def _axes(quaternion: np.ndarray) -> np.ndarray:
    """Rotation matrices (T, 3, 3), columns the body's axes, of quaternions (T, 4)."""
    w, x, y, z = quaternion.T
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    return np.moveaxis(np.array(rows), -1, 0)


def upright(rollout: Rollout, name: str) -> np.ndarray:
    """The cosine of the tilt of a body against its start, (T,)."""
    axes = _axes(rollout.quaternion[:, rollout.scene.index(name)])
    return np.einsum("ti,i->t", axes[:, :, 2], axes[0, :, 2])


def touches(rollout: Rollout, first: str, second: str) -> list[float]:
    """The times in seconds at which two bodies begin to touch."""
    return [time for time, kind, *pair in rollout.events if kind == "contact" and set(pair) == {first, second}]


def shift(rollout: Rollout, name: str) -> np.ndarray:
    """Displacement (T, 3) of a body from its start, in metres."""
    track = rollout.track(name)
    return track - track[0]


def lies_still(rollout: Rollout, name: str) -> bool:
    """Whether a body stays where it starts."""
    return bool(np.linalg.norm(shift(rollout, name), axis=1).max() <= STILL)


def well_framed(rollout: Rollout) -> bool:
    """Whether a viewer sees the story: whole and apart at the start, in the picture for most of it.

    At the start no bodies overlap, every object lies wholly inside the picture, at least 70 % of it is not behind a
    box, and no two objects outside a tower or row cover each other much. Resting objects stay still and inside; the
    others may leave the picture for a tenth of the clip, and the cubes of a tower as their family says.
    """
    scene = rollout.scene
    if any(kind == "overlap" for _, kind, *_ in rollout.events):
        return False
    group = set(scene.facts["group"]["names"]) if scene.facts["group"] else set()
    discs = []
    for body in scene.objects:
        inside = in_picture(rollout, body.name)
        needed = 1.0 if body.name in scene.facts["resting"] else 0.0 if body.name in group else 0.9
        if not in_picture(rollout, body.name, margin=0.9)[0] or inside.mean() < needed:
            return False
        if body.name in scene.facts["resting"] and not lies_still(rollout, body.name):
            return False
        if body.name not in group:
            if hidden_share(rollout, body.name, slice(0, 1))[0] > 0.3:
                return False
            discs.append([values[0] for values in silhouette(rollout, body.name)])
    return all(
        math.hypot(a[0] - b[0], a[1] - b[1]) > 0.8 * (a[2] + b[2]) for i, a in enumerate(discs) for b in discs[:i]
    )
