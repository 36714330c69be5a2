"""What a nano world holds, and where everything is at each pixel frame.

A `Scene` is what we decide before time starts: the bodies, their looks, the stage, the camera and the light.
A `Rollout` is what the physics engine answers: the pose of every body and of the camera at every pixel frame.
Captions, pictures, ground truth and the ruler that reads generated clips are all functions of these two.
"""

import json
from dataclasses import asdict, dataclass, field

import numpy as np

SHAPES = ("sphere", "box", "cylinder", "capsule")

# The colors of described objects. Linear-ish RGB albedo in [0, 1], far apart so that shading cannot confuse them.
COLORS = {
    "red": (0.80, 0.06, 0.06),
    "orange": (0.95, 0.42, 0.03),
    "yellow": (0.95, 0.80, 0.08),
    "green": (0.10, 0.55, 0.14),
    "cyan": (0.10, 0.75, 0.80),
    "blue": (0.06, 0.18, 0.78),
    "purple": (0.42, 0.10, 0.62),
    "pink": (0.98, 0.48, 0.68),
}

# The looks of the stage: ramps, screens, strings, the robot arm. Never counted, never confused with an object's color.
MATERIALS = {
    "steel": (0.72, 0.73, 0.76),
    "graphite": (0.10, 0.10, 0.12),
    "plaster": (0.86, 0.84, 0.80),
    "slate": (0.30, 0.33, 0.38),
    "walnut": (0.34, 0.20, 0.12),
}

# Metres, in the sense of `Body.size`. Two sizes a shape, so that a picture fixes the scale of its world.
SIZES = {
    "sphere": {"small": (0.20, 0.0, 0.0), "large": (0.29, 0.0, 0.0)},
    "box": {"small": (0.18, 0.18, 0.18), "large": (0.26, 0.26, 0.26)},
    "cylinder": {"small": (0.17, 0.20, 0.0), "large": (0.24, 0.30, 0.0)},
    "capsule": {"small": (0.14, 0.15, 0.0), "large": (0.20, 0.21, 0.0)},
}

FLOORS = ("checker", "wood", "concrete", "grass", "sand")
LIGHTS = ("noon", "soft", "evening")
CAMERAS = ("static", "pan left", "pan right", "orbit left", "orbit right", "zoom in", "zoom out")
FAMILIES = ("fall", "roll", "ramp", "tower", "dominoes", "pendulum", "arm", "hide")


@dataclass(frozen=True, kw_only=True)
class Body:
    """One rigid body.

    `size` in metres: sphere (radius, 0, 0); box (half extents x, y, z); cylinder and capsule (radius, half length
    along the body's z axis, without the capsule's caps, 0). `color` is a key of COLORS for role "object" and of
    MATERIALS for role "prop". `marked` bodies carry a light stripe, so that spin can be seen.
    """

    name: str
    shape: str
    size: tuple[float, float, float]
    color: str
    role: str = "object"
    marked: bool = False

    def __post_init__(self):
        palette = {"object": COLORS, "prop": MATERIALS}
        if self.shape not in SHAPES:
            raise ValueError(f"unknown shape {self.shape!r}; choose one of {', '.join(SHAPES)}")
        if self.role not in palette or self.color not in palette[self.role]:
            raise ValueError(f"a {self.role} cannot be {self.color!r}; choose one of {', '.join(palette[self.role])}")


@dataclass(frozen=True, kw_only=True)
class Scene:
    """Everything decided before time starts.

    `motion` is the label that obedience is scored on (a key of `families.MOTIONS`); `facts` holds whatever else the
    captions may state (speed words, heights in metres, which body strikes which). `initial` holds what the physics
    needs to start (positions, velocities, joints); only `physics` reads it.
    """

    seed: int
    family: str
    motion: str
    bodies: tuple[Body, ...]
    floor: str
    light: str
    camera: str
    facts: dict = field(default_factory=dict)
    initial: dict = field(default_factory=dict)

    @property
    def objects(self) -> tuple[Body, ...]:
        """The bodies that captions name and that are counted."""
        return tuple(body for body in self.bodies if body.role == "object")

    def index(self, name: str) -> int:
        """Where the body called `name` stands in `bodies`, and so on axis N of a rollout."""
        for index, body in enumerate(self.bodies):
            if body.name == name:
                return index
        raise ValueError(f"no body {name!r}; this scene has {', '.join(body.name for body in self.bodies)}")

    def body(self, name: str) -> Body:
        """The body called `name`; ValueError lists the names there are."""
        return self.bodies[self.index(name)]

    def to_json(self) -> str:
        """The scene as one line of JSON, equal again after `from_json`."""
        return json.dumps(asdict(self), separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> "Scene":
        """The scene that `to_json` wrote."""
        fields = json.loads(text)
        bodies = tuple(Body(**{**body, "size": tuple(body["size"])}) for body in fields.pop("bodies"))
        return cls(bodies=bodies, **fields)


def size_word(body: Body) -> str | None:
    """`small` or `large`, or None for a size outside SIZES (the cubes of a tower, a domino, a prop)."""
    for word, size in SIZES[body.shape].items():
        if np.allclose(body.size, size):
            return word
    return None


@dataclass(frozen=True, kw_only=True)
class Rollout:
    """The simulator's answer for one clip of T pixel frames and N bodies.

    `position` (T, N, 3) metres, world axes: x to the right of the default camera, y away from it, z up, the floor at
    z = 0. `quaternion` (T, N, 4) as (w, x, y, z), unit length, body to world. `eye` and `target` (T, 3) metres,
    `field_of_view` degrees, vertical. `fps` pixel frames per second. `events` lists (seconds, kind, body, body), for
    instance a contact. A clip from the middle of a motion begins with pixel frame `start` of its simulation.
    """

    scene: Scene
    position: np.ndarray
    quaternion: np.ndarray
    eye: np.ndarray
    target: np.ndarray
    field_of_view: float = 38.0
    fps: float = 16.0
    events: tuple = ()
    start: int = 0

    def track(self, name: str) -> np.ndarray:
        """Positions (T, 3) of one body, in metres."""
        return self.position[:, self.scene.index(name)]

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Plain arrays for `numpy.savez` or safetensors (no pickle): poses in float32, the rest as UTF-8 bytes."""
        story = json.dumps([self.scene.to_json(), self.field_of_view, self.fps, self.events, self.start])
        poses = {name: getattr(self, name).astype(np.float32) for name in ("position", "quaternion", "eye", "target")}
        return poses | {"story": np.frombuffer(story.encode(), dtype=np.uint8).copy()}

    @classmethod
    def from_arrays(cls, arrays: dict[str, np.ndarray]) -> "Rollout":
        """The rollout that `to_arrays` took apart; poses come back in float64, rounded to float32."""
        scene, field_of_view, fps, events, start = json.loads(np.asarray(arrays["story"]).tobytes().decode())
        poses = {
            name: np.asarray(arrays[name], dtype=np.float64) for name in ("position", "quaternion", "eye", "target")
        }
        return cls(
            scene=Scene.from_json(scene),
            field_of_view=field_of_view,
            fps=fps,
            events=tuple(tuple(event) for event in events),
            start=start,
            **poses,
        )
