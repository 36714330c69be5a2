"""What there is to run, and whether this machine can: `lab.models()` and `lab.doctor()`."""

import os
import shutil
import sys
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from cosmos_lab.tables import Table

if TYPE_CHECKING:
    from cosmos_lab.config import Card

PACKAGES = (
    "einops", "numpy", "safetensors", "transformers", "imageio", "av", "pillow", "matplotlib", "ipywidgets", "tqdm",
)  # fmt: skip

# What each check returns: does it hold, what was found, and what to do if it does not.
Finding = tuple[bool, str, str]


def models(checkpoints: str | Path = "checkpoints") -> Table:
    """Every model of the catalog: task, size, pictures and length, and whether its files are here."""
    from cosmos_lab import catalog

    rows = []
    for card in catalog.cards().values():
        height, width = card.size_of()
        clip = "" if card.num_pixel_frames == 1 else f", {card.num_pixel_frames} at {card.fps:g} fps"
        here = "yes" if _present(card, checkpoints) else "no"
        rows.append((card.name, card.size, ", ".join(card.tasks), f"{width}x{height}{clip}", here))
    return Table(("model", "size", "tasks", "pixels", "files here"), tuple(rows))


def doctor() -> Table:
    """Ten checks of this machine, each with its fix."""
    rows = []
    for name, check in CHECKS.items():
        holds, found, fix = check()
        rows.append(("ok" if holds else "PROBLEM", name, found, "" if holds else fix))
    return Table(("", "check", "found", "fix"), tuple(rows))


def _present(card: "Card", checkpoints: str | Path) -> bool:
    from cosmos_lab.runtime.checkpoints import MANIFEST, find_folder
    from cosmos_lab.runtime.official import is_present

    if "folder" in card.files:
        return (find_folder(card.name) / MANIFEST).is_file()
    return is_present(card, checkpoints)


def _python() -> Finding:
    return sys.version_info >= (3, 11), sys.version.split()[0], "install Python 3.11 or newer"


def _torch() -> Finding:
    found = version("torch")
    major, minor = (int(part) for part in found.split(".")[:2])
    return (major, minor) >= (2, 11), found, "pip install -c constraints.txt torch"


def _packages() -> Finding:
    absent = [name for name in PACKAGES if not _installed(name)]
    return not absent, "all there" if not absent else f"without {', '.join(absent)}", f"pip install {' '.join(absent)}"


def _installed(name: str) -> bool:
    try:
        return bool(version(name))
    except PackageNotFoundError:
        return False


def _encoder() -> Finding:
    import numpy as np

    from cosmos_lab import video

    try:
        size = len(video.video_bytes(np.zeros((2, 16, 16, 3), dtype=np.uint8), fps=16))
    except (ImportError, ValueError, OSError) as error:
        return False, str(error), "pip install --force-reinstall av (its wheels carry x264)"
    return size > 0, f"writes H.264 (av {version('av')})", ""


def _nano() -> Finding:
    from cosmos_lab.runtime.checkpoints import WeightsError, find_folder, verify

    try:
        return True, f"weights {verify(find_folder('nano'))[:12]}, undamaged", ""
    except WeightsError as error:
        return False, str(error), "restore assets/nano (git checkout assets/nano), or install the wheel again"


def _cores() -> Finding:
    import torch

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    threads = torch.get_num_threads()
    found = f"{threads} threads on {cores} cores"
    return threads <= cores, found, f"export OMP_NUM_THREADS={cores}: more threads are slower"


def _memory() -> Finding:
    if not hasattr(os, "sysconf") or "SC_PHYS_PAGES" not in os.sysconf_names:
        return True, "unknown on this system", ""
    gib = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    return gib >= 3, f"{gib:.1f} GiB", "nano needs 2 GiB for itself: close other programs"


def _disk() -> Finding:
    free = shutil.disk_usage(".").free / 2**30
    writable = os.access(".", os.W_OK)
    found = f"{free:.1f} GiB free, {'writable' if writable else 'read-only'}"
    return writable and free > 1, found, "work in a folder that you may write to, with 1 GiB free"


def _gpu() -> Finding:
    import torch

    if not torch.cuda.is_available():
        return True, "none; nano runs on the CPU", ""
    free, total = torch.cuda.mem_get_info()
    found = f"{torch.cuda.get_device_name()}, {free / 2**30:.0f} of {total / 2**30:.0f} GiB free"
    return free > 2**31, found, "free GPU memory, or load with device='cpu'"


def _simulator() -> Finding:
    there = find_spec("mujoco") is not None
    return True, "mujoco is there" if there else "none: only training needs it (extra 'train')", ""


CHECKS: dict[str, Callable[[], Finding]] = {
    "Python": _python,
    "torch": _torch,
    "packages": _packages,
    "video encoder": _encoder,
    "nano's weights": _nano,
    "threads": _cores,
    "memory": _memory,
    "disk": _disk,
    "GPU": _gpu,
    "simulator": _simulator,
}
