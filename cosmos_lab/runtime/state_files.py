"""Reading weight files as data: memory-mapped tensors by key, and one clear error for whatever is wrong with a file.

No file is executed. A pickle is read by torch's restricted reader, which builds tensors and containers and nothing
else; a TorchScript archive by `cosmos_lab.runtime.torchscript`.
"""

import io
import json
import pickle
from collections.abc import Iterable
from pathlib import Path
from zipfile import is_zipfile

import torch
from torch import Tensor

from cosmos_lab.runtime.checkpoints import WeightsError

WEB_PAGES = (b"<!doctype", b"<html", b"<?xml")
WRAPPERS = ("state_dict", "model")


def read_state(path: str | Path) -> dict[str, Tensor]:
    """Tensors by key of a `.safetensors`, `.safetensors.index.json`, `.pt`, `.pth`, `.bin` file or a folder of shards.

    They lie in the file until they are used, on the CPU and in the file's dtype. Kernel state (`_extra_state`, which
    official files keep as bytes) is left out. Raises WeightsError naming the file and the fix.
    """
    path = Path(path)
    if path.is_dir():
        return read_state(_weights_in(path))
    _check(path)
    if path.name.endswith(".index.json"):
        return _read_shards(path)
    return _read_safetensors(path) if path.suffix == ".safetensors" else _tensors(path, read_pickle(path))


def read_pickle(path: str | Path) -> object:
    """What a torch file holds: tensors, numbers, strings, bytes and containers of them, never code."""
    path = Path(path)
    _check(path)
    zipped = _magic(path).startswith(b"PK")
    if zipped and not is_zipfile(path):
        raise WeightsError(f"{path} is cut off: the end of the archive is missing. Download it again")
    try:
        with torch.serialization.safe_globals([io.BytesIO]):
            return torch.load(path, map_location="cpu", weights_only=True, mmap=zipped)
    except pickle.UnpicklingError as error:
        raise WeightsError(
            f"{path} is no plain weight file: it wants to run code, or is damaged ({_first_line(error)}). "
            "Nothing of it was run. Take the file from its publisher, or a .safetensors version of it"
        ) from error
    except (RuntimeError, EOFError, ValueError, OSError) as error:
        raise WeightsError(f"{path} cannot be read ({_first_line(error)}). Download it again") from error


def first_existing(paths: Iterable[Path], what: str, fix: str) -> Path:
    """The first path that is there; WeightsError listing all of them where none is."""
    paths = list(paths)
    found = next((path for path in paths if path.exists()), None)
    if found is None:
        raise WeightsError(f"there is no {what}: looked for {' and '.join(map(str, paths))}. {fix}")
    return found


def _weights_in(folder: Path) -> Path:
    names = ("model.safetensors.index.json", "model.safetensors", "diffusion_pytorch_model.safetensors.index.json",
             "diffusion_pytorch_model.safetensors", "pytorch_model.bin.index.json", "pytorch_model.bin")  # fmt: skip
    there = next((folder / name for name in names if (folder / name).exists()), None)
    if there is None:
        raise WeightsError(f"{folder} holds no weights: there is none of {', '.join(names)}. Download the folder again")
    return there


def _read_shards(index: Path) -> dict[str, Tensor]:
    try:
        places = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
    except (json.JSONDecodeError, KeyError, TypeError, UnicodeDecodeError) as error:
        raise WeightsError(f"{index} is damaged ({_first_line(error)}). Download it again") from error
    files = sorted(set(places.values()))
    absent = [name for name in files if not (index.parent / name).is_file()]
    if absent:
        count = f"{len(absent)} of {len(files)} shards"
        raise WeightsError(f"{index.parent} lacks {count}: {', '.join(absent)}. Download them")
    state = {key: tensor for name in files for key, tensor in read_state(index.parent / name).items()}
    missing = sorted(set(places) - set(state))
    if missing:
        raise WeightsError(f"the shards of {index} lack {len(missing)} keys of its index: {', '.join(missing[:5])}")
    return state


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            return {key: file.get_tensor(key) for key in file.keys()}
    except SafetensorError as error:
        raise WeightsError(f"{path} is cut off or damaged ({_first_line(error)}). Download it again") from error


def _tensors(path: Path, content: object) -> dict[str, Tensor]:
    for name in WRAPPERS:
        if isinstance(content, dict) and isinstance(content.get(name), dict):
            content = content[name]
    if not isinstance(content, dict):
        raise WeightsError(f"{path} holds a {type(content).__name__} and not tensors by name: is it another file?")
    state = {key: value for key, value in content.items() if "_extra_state" not in str(key)}
    foreign = [str(key) for key, value in state.items() if not isinstance(value, Tensor)]
    if foreign:
        some = ", ".join(foreign[:5])
        raise WeightsError(f"{path} holds other things than tensors: {some}. Is it a training checkpoint?")
    return state


def _check(path: Path) -> None:
    if not path.is_file():
        raise WeightsError(f"the weight file {path} is missing")
    start = _magic(path)
    if start.startswith(b"version https://git-lfs"):
        raise WeightsError(f"{path} is a Git LFS pointer, not the weights. Run `git lfs pull` there, or download it")
    if not start or start.lstrip().lower().startswith(WEB_PAGES):
        raise WeightsError(f"{path} is {'a web page' if start else 'empty'}, not a weight file. Download it again")


def _magic(path: Path) -> bytes:
    with open(path, "rb") as file:
        return file.read(64)


def _first_line(error: Exception) -> str:
    text = str(error).strip() or type(error).__name__
    wanted = [line.strip() for line in text.splitlines() if "GLOBAL" in line or "Unsupported" in line]
    return (wanted or text.splitlines())[0][:200]
