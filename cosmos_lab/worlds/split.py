"""The combinations that training never sees, each of whose members it sees often alone.

Obedience on them tells composition from memory. A pair of a color (or floor, or camera) and a family is withheld for
every object of such scenes, still ones included.
"""

from .scene import Scene

COLOR_SHAPE = (
    ("red", "cylinder"),
    ("green", "sphere"),
    ("blue", "capsule"),
    ("pink", "box"),
    ("purple", "cylinder"),
)
COLOR_FAMILY = (("orange", "pendulum"), ("cyan", "ramp"), ("blue", "arm"), ("yellow", "roll"))
FLOOR_FAMILY = (("grass", "arm"), ("wood", "dominoes"), ("sand", "roll"), ("checker", "hide"))
CAMERA_FAMILY = (("orbit left", "fall"), ("zoom in", "roll"), ("pan right", "tower"))
SPLITS = ("train", "withheld", "any")


def withheld_stage(family: str, floor: str, camera: str) -> bool:
    """Whether training never sees this family on this floor or with this camera."""
    return (floor, family) in FLOOR_FAMILY or (camera, family) in CAMERA_FAMILY


def withheld_combinations(scene: Scene) -> tuple[str, ...]:
    """The withheld combinations a scene holds, such as "red cylinder" or "grass arm", sorted."""
    found = {f"{body.color} {body.shape}" for body in scene.objects if (body.color, body.shape) in COLOR_SHAPE}
    found |= {f"{body.color} {scene.family}" for body in scene.objects if (body.color, scene.family) in COLOR_FAMILY}
    found |= {f"{scene.floor} {scene.family}" for pair in FLOOR_FAMILY if pair == (scene.floor, scene.family)}
    found |= {f"{scene.camera} {scene.family}" for pair in CAMERA_FAMILY if pair == (scene.camera, scene.family)}
    return tuple(sorted(found))


def is_withheld(scene: Scene) -> bool:
    """Whether the scene holds any combination that training never sees."""
    return bool(withheld_combinations(scene))


def admits(split: str, scene: Scene) -> bool:
    """Whether a scene belongs to a split; ValueError for an unknown one."""
    if split not in SPLITS:
        raise ValueError(f"unknown split {split!r}; choose one of {', '.join(SPLITS)}")
    return split == "any" or is_withheld(scene) == (split == "withheld")
