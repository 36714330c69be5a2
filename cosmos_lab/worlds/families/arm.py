"""A robot arm of four joints pushes an object aside, or lifts it with a suction pad.

The joints are servos that follow angles found by damped least squares on the pad's Jacobian. Pushing is contact alone;
lifting welds the object to the pad at their first contact, which stands for the suction.
"""

import numpy as np

from ..physics import fixed, free, hinged, start_state
from ..scene import Rollout, Scene
from .stage import Design, Stage, shift, standing_height, upright

MOTIONS = ("push left", "push right", "lift")
UPPER, FOREARM, HAND = 0.75, 0.68, 0.22  # metres, joint to joint
PAD = 0.012  # half the thickness of the suction pad
JOINTS = ("turret", "upper", "forearm", "hand")
_SERVO = 3000.0


def _knob(stage: Stage, name: str, parent: str, height: float, radius: float) -> None:
    stage.prop(name, "sphere", [radius, 0.0, 0.0], "graphite", fixed([0, 0, height], parent=parent, solid=False))


def _link(stage: Stage, name: str, parent: str, base: float, length: float, radius: float) -> None:
    """A steel link that hinges about y where it stands on `parent`, `base` above the parent's middle."""
    start = hinged(
        [0, 0, base + length / 2],
        axis=[0, 1, 0],
        anchor=[0, 0, -length / 2],
        parent=parent,
        servo=_SERVO,
        weightless=True,
        solid=name != "upper",
    )
    stage.prop(name, "capsule", [radius, length / 2, 0.0], "graphite" if name == "hand" else "steel", start)
    if name != "upper":
        _knob(stage, f"{name} joint", name, -length / 2, 0.1 if name == "forearm" else 0.085)


def _robot(stage: Stage, spot: np.ndarray) -> None:
    """An arm that points straight up at angles 0, its base on the floor at `spot` (2,)."""
    stage.prop("base", "cylinder", [0.19, 0.06, 0.0], "graphite", fixed([*spot, 0.06], solid=False))
    turret = hinged(
        [0, 0, 0.16], axis=[0, 0, 1], anchor=[0, 0, 0], parent="base", servo=_SERVO, weightless=True, solid=False
    )
    stage.prop("turret", "cylinder", [0.11, 0.1, 0.0], "steel", turret)
    _knob(stage, "shoulder", "turret", 0.1, 0.13)
    _link(stage, "upper", "turret", 0.1, UPPER, 0.08)
    _link(stage, "forearm", "upper", UPPER / 2, FOREARM, 0.07)
    _link(stage, "hand", "forearm", FOREARM / 2, HAND, 0.055)
    pad = fixed([0, 0, HAND / 2 + 0.055 + PAD], parent="hand") | {"density": 100.0}
    stage.prop("pad", "cylinder", [0.09, PAD, 0.0], "graphite", pad)


def solve(scene: Scene, tips: np.ndarray, spot: np.ndarray, damping: float = 0.03) -> tuple[np.ndarray, float]:
    """Joint angles (T, 4) that bring the pad's face to `tips` (T, 3) pointing down, and the worst miss in metres.

    Damped least squares, dq = J' (J J' + damping^2)^-1 e (Wampler 1986); J stacks the pad's 3x4 position Jacobian on
    the row of the hand's pitch, the sum of the three hinges about y, which is to be pi.
    """
    import mujoco

    model, data = start_state(scene)
    places = [model.joint(name).qposadr[0] for name in JOINTS]
    speeds = [model.joint(name).dofadr[0] for name in JOINTS]
    away = tips[0, :2] - spot
    q = np.array([np.arctan2(away[1], away[0]), 0.2, 1.6, np.pi - 1.8])
    angles, worst, jacobian = [], 0.0, np.zeros((3, model.nv))
    for tip in tips:
        for _ in range(40 if not angles else 6):
            data.qpos[places] = q
            mujoco.mj_kinematics(model, data)
            mujoco.mj_comPos(model, data)
            pad = data.body("pad")
            face = pad.xpos + pad.xmat.reshape(3, 3)[:, 2] * PAD
            error = np.append(tip - face, np.pi - q[1:].sum())
            if np.abs(error).max() < 1e-3:
                break
            mujoco.mj_jac(model, data, jacobian, None, face, pad.id)
            rows = np.vstack([jacobian[:, speeds], [0.0, 1.0, 1.0, 1.0]])
            q = q + rows.T @ np.linalg.solve(rows @ rows.T + damping**2 * np.eye(4), error)
        worst = max(worst, float(np.abs(error[:3]).max()))
        angles.append(q)
    return np.array(angles), worst


def _along(points: list, seconds: list[float], num_pixel_frames: int = 33) -> np.ndarray:
    """A path (T, 3) through points at given seconds, easing in and out of each."""
    times, path = np.arange(num_pixel_frames) / 16.0, np.empty((num_pixel_frames, 3))
    path[:] = points[0]
    for start, end, begin, stop in zip(points[:-1], points[1:], seconds[:-1], seconds[1:]):
        s = np.clip((times - begin) / (stop - begin), 0.0, 1.0)[:, None]
        path += (s * s * (3.0 - 2.0 * s)) * (np.asarray(end) - np.asarray(start))
    return path


def _tips(stage: Stage, motion: str, middle: np.ndarray, half: float, height: float) -> np.ndarray:
    if motion == "lift":
        above = middle * [1, 1, 0] + [0, 0, 2 * height + stage.uniform(0.15, 0.3)]
        touch, high = above * [1, 1, 0] + [0, 0, 2 * height - 0.01], stage.uniform(0.4, 0.5)
        return _along([above, touch, touch, touch + [0, 0, high]], [0.1, 0.75, 0.85, 1.8])
    sign = 1.0 if motion.endswith("right") else -1.0
    start = middle * [1, 1, 0] + [-sign * (half + 0.09 + stage.uniform(0.08, 0.2)), 0, 0.08]
    end = middle * [1, 1, 0] + [sign * (stage.uniform(0.4, 0.65) - half), 0, 0.08]
    return _along([start, end], [0.1, 1.7])


def draw(rng: np.random.Generator, design: Design) -> Scene:
    """An arm behind a cube (or, now and then, an upright cylinder) that it pushes half a metre aside or lifts."""
    stage = Stage(rng, design)
    load = stage.thing("load", "box" if rng.random() < 0.7 else "cylinder")
    height = standing_height(load.shape, load.size)
    sign = {"push left": -1.0, "push right": 1.0, "lift": 0.0}[design.motion]
    middle = np.array([-sign * 0.3 + stage.uniform(-0.2, 0.2), stage.uniform(-0.3, 0.1), height])
    stage.add(load, free(middle, density=100.0))
    swing = np.radians(stage.choice((-1, 1)) * stage.uniform(25, 65))
    away = 0.8 if design.motion == "lift" else 0.85
    spot = middle[:2] + [sign * 0.2 + away * np.sin(swing), away * np.cos(swing)]
    _robot(stage, spot)
    tips = _tips(stage, design.motion, middle, load.size[0], height)
    stage.claim(spot, middle, 0.35)
    stage.claim(spot, spot + [0.0, 1.5], 0.4)  # nothing stands right behind the arm
    stage.claim(middle - [0.5, 0, 0], middle + [sign * 0.9, 0, 0], 0.35)
    resting = stage.rest()
    grasp = {"hand": "pad", "load": load.name, "after": 0.3} if design.motion == "lift" else None
    scene = stage.scene({"actors": [load.name], "resting": resting}, {"grasp": grasp})
    angles, miss = solve(scene, tips, spot)
    for joint, angle in zip(JOINTS, angles[0]):
        stage.starts[joint]["angle"] = round(float(angle), 6)
    scene.initial["control"] = [[round(float(angle), 6) for angle in row] for row in angles]
    scene.facts["miss"] = round(miss, 6)
    return scene


def verify(rollout: Rollout) -> bool:
    """The pad or hand touches the load; a push carries it 25 cm straight aside, a lift 25 cm up; it stays upright."""
    scene, moved = rollout.scene, shift(rollout, "load")
    meets = [set(event[2:]) for event in rollout.events if "floor" not in event[2:]]
    robot = {"pad", "hand", "forearm", "upper"}
    if scene.facts["miss"] > 0.02 or any(not pair <= robot | {"load"} for pair in meets) or not meets:
        return False
    if scene.motion == "lift":
        grasped = any(event[1] == "grasp" for event in rollout.events)
        return bool(grasped and moved[-1, 2] > 0.25 and upright(rollout, "load").min() > 0.97)
    sign = 1.0 if scene.motion.endswith("right") else -1.0
    straight = np.abs(moved[:, 1]).max() < 0.15 and upright(rollout, "load").min() > 0.97
    return bool(sign * moved[-1, 0] > 0.25 and straight)
