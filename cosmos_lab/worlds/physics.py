"""Rigid-body physics: a scene goes in, the pose of everything at every pixel frame comes out.

MuJoCo integrates at 1/480 s (crowds of bodies: 1/192 s) under 9.81 m/s^2. `free`, `fixed` and `hinged` write the
entries of `scene.initial["bodies"]`, which this module alone reads. Beside them `scene.initial` may hold
`view` (see `camera.path`), `control` (rows of joint angles that the servos follow, 16 a second), `grasp` ({hand, load,
after}: the load is welded to the hand at their first contact after that many seconds) and `crowd` (longer time steps).
"""

import math

import numpy as np

from . import camera
from .scene import Body, Rollout, Scene

GRAVITY = 9.81
BOUNCE = 0.8  # coefficient of restitution of every falling ball
LOOKS = 96  # times a second that contacts are read, more often than any contact that matters lasts
OVERLAP = 0.005  # metres of penetration at the start that are a fault of the scene
SETTLING = 0.03  # seconds in which bodies that start at rest take up their own weight

_CONTACT_RATE = 260.0  # rad/s of the contact spring: a bounce lasts 12 ms and dents 1 cm


def _numbers(values) -> list[float]:
    return [round(float(value), 6) for value in values]


def free(
    position,
    *,
    quaternion=(1.0, 0.0, 0.0, 0.0),
    velocity=(0.0, 0.0, 0.0),
    spin=(0.0, 0.0, 0.0),
    density: float = 250.0,
    friction: float = 0.5,
    restitution: float = 0.0,
    priority: int = 1,
) -> dict:
    """The start of a body that nothing holds.

    Position in metres, quaternion (w, x, y, z), velocity in m/s and spin in rad/s along world axes, density in kg/m^3.
    Where two bodies touch, friction and restitution (0 to 0.95) are those of the higher `priority`.
    """
    return {
        "joint": "free",
        "position": _numbers(position),
        "quaternion": _numbers(quaternion),
        "velocity": _numbers(velocity),
        "spin": _numbers(spin),
        "density": density,
        "friction": friction,
        "restitution": restitution,
        "priority": priority,
    }


def fixed(position, *, quaternion=(1.0, 0.0, 0.0, 0.0), parent: str | None = None, solid: bool = True) -> dict:
    """The start of a body rigidly attached to the ground, or to `parent` (then the pose is in the parent's frame)."""
    return {
        "joint": "fixed",
        "position": _numbers(position),
        "quaternion": _numbers(quaternion),
        "parent": parent,
        "solid": solid,
        "density": 250.0,
        "friction": 0.5,
        "restitution": 0.0,
        "priority": 0,
    }


def hinged(
    position,
    *,
    axis,
    anchor,
    angle: float = 0.0,
    parent: str | None = None,
    density: float = 250.0,
    solid: bool = True,
    servo: float = 0.0,
    weightless: bool = False,
) -> dict:
    """The start of a body on a hinge, its pose given at angle 0 in the frame of `parent` (or the world).

    `axis` and `anchor` are in the body's frame, `angle` in radians. `servo` > 0 is the stiffness in N m/rad of a
    well damped position servo (it lags 40 ms); `weightless` compensates gravity, as robot arms do.
    """
    return fixed(position, parent=parent, solid=solid) | {
        "joint": "hinge",
        "axis": _numbers(axis),
        "anchor": _numbers(anchor),
        "angle": round(float(angle), 6),
        "density": density,
        "servo": servo,
        "weightless": weightless,
    }


def _words(values) -> str:
    return " ".join(repr(float(value)) for value in values)


def _steps(scene: Scene) -> int:
    """Time steps between two looks at the contacts."""
    return 2 if scene.initial.get("crowd") else 5


def _contact(restitution: float) -> str:
    """MJCF attributes of a contact with the given restitution.

    Between touching bodies MuJoCo's reference acceleration is -b v - k r: a damped spring, whose rebound keeps the
    fraction exp(-pi zeta / sqrt(1 - zeta^2)) of the speed. We choose k = omega^2 and b = 2 zeta omega.
    """
    if restitution <= 0.0:
        return 'solref="0.0125 1"'
    log = math.log(min(restitution, 0.95))
    zeta = -log / math.hypot(math.pi, log)
    return f'solref="{-(_CONTACT_RATE**2)} {-2.0 * zeta * _CONTACT_RATE}" solimp="0.99 0.99 0.001"'


def _geom(body: Body, start: dict) -> str:
    """The MJCF geom of a body.

    MuJoCo loses all digits where a cylinder stands upright on a plane to within 1e-12 rad, and throws it. A speck of
    mass, 1/2000 radius of imbalance, keeps the tilt near 1e-7 rad, which no picture shows.
    """
    solid = "" if start.get("solid", True) else ' contype="0" conaffinity="0"'
    speck = ""
    if body.shape == "cylinder":
        mass = 1e-3 * start["density"] * 2.0 * math.pi * body.size[0] ** 2 * body.size[1]
        place = f'pos="{0.5 * body.size[0]} 0 0" mass="{mass}"'
        speck = f'<geom type="sphere" size="0.001" {place} contype="0" conaffinity="0"/>'
    return speck + (
        f'<geom name="{body.name}" type="{body.shape}" size="{_words(body.size)}" density="{start["density"]}" '
        f'friction="{start["friction"]} 0.005 0.0001" priority="{start["priority"]}" '
        f"{_contact(start['restitution'])}{solid}/>"
    )


def _joint(body: Body, start: dict) -> str:
    if start["joint"] == "free":
        return "<freejoint/>"
    if start["joint"] == "hinge":
        swing = 'damping="0" armature="0"' if not start["servo"] else 'armature="0.3"'
        return f'<joint name="{body.name}" axis="{_words(start["axis"])}" pos="{_words(start["anchor"])}" {swing}/>'
    return ""


def _tree(scene: Scene, parent: str | None) -> str:
    starts = scene.initial["bodies"]
    text = ""
    for body in scene.bodies:
        start = starts[body.name]
        if start.get("parent") == parent:
            lift = ' gravcomp="1"' if start.get("weightless") else ""
            pose = f'pos="{_words(start["position"])}" quat="{_words(start["quaternion"])}"'
            inside = _joint(body, start) + _geom(body, start) + _tree(scene, body.name)
            text += f'<body name="{body.name}" {pose}{lift}>{inside}</body>'
    return text


def mjcf(scene: Scene) -> str:
    """The scene as MuJoCo XML. Nested bodies of one mechanism do not collide with one another."""
    starts = scene.initial["bodies"]
    servos = "".join(
        f'<position joint="{name}" kp="{start["servo"]}" kv="{0.04 * start["servo"]}"/>'
        for name, start in starts.items()
        if start.get("servo")
    )
    grasp = scene.initial.get("grasp")
    weld = f'<weld body1="{grasp["hand"]}" body2="{grasp["load"]}" active="false"/>' if grasp else ""
    chain = [name for name, start in starts.items() if start["joint"] == "hinge" or start.get("parent")]
    excludes = "".join(
        f'<exclude body1="{first}" body2="{second}"/>' for i, first in enumerate(chain) for second in chain[i + 1 :]
    )
    return (
        f'<mujoco><option timestep="{1.0 / LOOKS / _steps(scene)!r}" gravity="0 0 {-GRAVITY}" cone="elliptic" '
        f'integrator="implicitfast"/><worldbody><geom name="floor" type="plane" size="0 0 1" friction="0.5"/>'
        f"{_tree(scene, None)}</worldbody><actuator>{servos}</actuator><equality>{weld}</equality>"
        f"<contact>{excludes}</contact></mujoco>"
    )


def _rotation(quaternion) -> np.ndarray:
    w, x, y, z = quaternion
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )


def start_state(scene: Scene) -> tuple["mujoco.MjModel", "mujoco.MjData"]:  # noqa: F821
    """MuJoCo's model and data at time 0 of a scene. Needs the package mujoco (extra `train`)."""
    import mujoco

    model = mujoco.MjModel.from_xml_string(mjcf(scene))
    data = mujoco.MjData(model)
    for name, start in scene.initial["bodies"].items():
        if start["joint"] == "fixed":
            continue
        joint = model.body(name).jntadr[0]
        place, speed = model.jnt_qposadr[joint], model.jnt_dofadr[joint]
        if start["joint"] == "hinge":
            data.qpos[place] = start["angle"]
        else:
            data.qvel[speed : speed + 3] = start["velocity"]
            data.qvel[speed + 3 : speed + 6] = _rotation(start["quaternion"]).T @ start["spin"]
    mujoco.mj_forward(model, data)
    return model, data


def _touching(data) -> set[tuple[int, int]]:
    """Pairs of geom ids in contact, the smaller first."""
    return {(min(pair), max(pair)) for pair in data.contact.geom[: data.ncon].tolist()}


def _weld(model, data, hand: str, load: str) -> None:
    """Close the grasp where the two bodies now are."""
    import mujoco

    holder, held = data.body(hand), data.body(load)
    inverse, relative = np.empty(4), np.empty(4)
    mujoco.mju_negQuat(inverse, holder.xquat)
    mujoco.mju_mulQuat(relative, inverse, held.xquat)
    model.eq_data[0, :3] = 0.0
    model.eq_data[0, 3:6] = holder.xmat.reshape(3, 3).T @ (held.xpos - holder.xpos)
    model.eq_data[0, 6:10] = relative
    data.eq_active[0] = 1


class _Run:
    """One scene in motion: advances MuJoCo from look to look and notes what begins to touch."""

    def __init__(self, scene: Scene):
        self.model, self.data = start_state(scene)
        self.grasp = scene.initial.get("grasp")
        self.steps = _steps(scene)
        self.control = np.asarray(scene.initial.get("control", np.zeros((1, 0))), dtype=np.float64)
        self.bodies = np.array([self.model.body(body.name).id for body in scene.bodies])
        self.touching = _touching(self.data)
        self.events: list[tuple[float, str, str, str]] = []
        for pair in self.data.contact.geom[: self.data.ncon][self.data.contact.dist[: self.data.ncon] < -OVERLAP]:
            self._note("overlap", *(self.model.geom(geom).name for geom in pair))

    def poses(self) -> tuple[np.ndarray, np.ndarray]:
        import mujoco

        mujoco.mj_kinematics(self.model, self.data)
        return self.data.xpos[self.bodies], self.data.xquat[self.bodies]

    def advance(self) -> None:
        """One look further: 1/96 s."""
        import mujoco

        if self.model.nu:
            row = min((self.data.time + 1.0 / LOOKS) * 16.0, len(self.control) - 1.0)
            low, share = int(row), row - int(row)
            high = min(low + 1, len(self.control) - 1)
            self.data.ctrl[:] = (1 - share) * self.control[low] + share * self.control[high]
        mujoco.mj_step(self.model, self.data, nstep=self.steps)
        now = _touching(self.data)
        if self.data.time > SETTLING:
            for first, second in sorted(now - self.touching):
                self._note("contact", self.model.geom(first).name, self.model.geom(second).name)
        self.touching = now
        if self.grasp and self.data.time > self.grasp["after"] and not self.data.eq_active[0]:
            self._take(self.grasp["hand"], self.grasp["load"])

    def _note(self, kind: str, first: str, second: str) -> None:
        self.events.append((round(self.data.time, 4), kind, first, second))

    def _take(self, hand: str, load: str) -> None:
        geoms = self.model.geom(hand).id, self.model.geom(load).id
        if (min(geoms), max(geoms)) in self.touching:
            _weld(self.model, self.data, hand, load)
            self._note("grasp", hand, load)


def simulate(scene: Scene, num_pixel_frames: int = 33, fps: float = 16.0) -> Rollout:
    """Move a scene for `num_pixel_frames` at `fps` and record every pose; the first pixel frame is the start.

    `events` holds (seconds, "contact", body, body) for every touch that begins, the floor under the name "floor", and
    (seconds, "grasp", hand, load); (0.0, "overlap", body, body) says that a scene starts with bodies inside each other.
    Deterministic for one MuJoCo version on one kind of machine. ValueError when fps
    does not divide 96, the rate at which contacts are read.
    """
    looks = LOOKS / fps
    if num_pixel_frames < 1 or looks < 1 or abs(looks - round(looks)) > 1e-9:
        raise ValueError(f"need at least 1 pixel frame and a rate that divides {LOOKS} (16, 24, 32, 48), not {fps} fps")
    run = _Run(scene)
    position = np.empty((num_pixel_frames, len(scene.bodies), 3))
    quaternion = np.empty((num_pixel_frames, len(scene.bodies), 4))
    for index in range(num_pixel_frames):
        for _ in range(round(looks) if index else 0):
            run.advance()
        position[index], quaternion[index] = run.poses()
    eye, target = camera.path(scene.camera, scene.initial["view"], num_pixel_frames, round(2.0 * fps) + 1)
    return Rollout(
        scene=scene,
        position=position,
        quaternion=quaternion,
        eye=eye,
        target=target,
        fps=float(fps),
        events=tuple(run.events),
    )
