"""TorchScript archives (`encoder.jit`, `decoder.jit`) read as data: tensors by name. Their code is never looked at.

An archive is a zip of code, a pickle that describes the module tree, and one raw file for each storage. The pickle is
read by an unpickler that knows tensors and containers and takes every class of the archive for an empty object with
attributes; whatever else it asks for is an error.
"""

import io
import pickle
from collections import OrderedDict
from collections.abc import Callable, Iterator
from math import prod
from pathlib import Path
from zipfile import ZIP_STORED, BadZipFile, ZipFile

import torch
from torch import Tensor

from cosmos_lab.runtime.checkpoints import WeightsError

STORAGES = {
    "FloatStorage": torch.float32, "HalfStorage": torch.float16, "BFloat16Storage": torch.bfloat16,
    "DoubleStorage": torch.float64, "LongStorage": torch.int64, "IntStorage": torch.int32,
    "ShortStorage": torch.int16, "CharStorage": torch.int8, "ByteStorage": torch.uint8, "BoolStorage": torch.bool,
}  # fmt: skip
PLAIN_LISTS = ("build_intlist", "build_tensorlist", "build_doublelist", "build_boollist")


class ScriptObject:
    """What an archive's class becomes: attributes, no behaviour."""

    def __setstate__(self, state: object) -> None:
        # Modules are dictionaries of attributes; objects with a state of their own hold no weights.
        self.__dict__.update(state if isinstance(state, dict) else {})


def read_torchscript(path: str | Path) -> dict[str, Tensor]:
    """Tensors by their dotted name, as `torch.jit.load(path).state_dict()` would give, without running anything.

    Raises WeightsError for a file that is no TorchScript archive, is cut off, or asks for code.
    """
    path = Path(path)
    if not path.is_file():
        raise WeightsError(f"the weight file {path} is missing")
    try:
        with ZipFile(path) as archive:
            root = _root(archive, path)
            module = _Reader(archive, root, path).load()
            return dict(_tensors(module, prefix="", path=path))
    except BadZipFile as error:
        raise WeightsError(f"{path} is cut off or no TorchScript archive ({error}). Download it again") from error
    except pickle.UnpicklingError as error:
        raise WeightsError(f"{path} is refused: {error}. Nothing of it was run") from error
    except (EOFError, KeyError, IndexError, AttributeError, TypeError, ValueError, RuntimeError) as error:
        raise WeightsError(f"{path} is a damaged TorchScript archive ({error}). Download it again") from error


class _Reader(pickle.Unpickler):
    def __init__(self, archive: ZipFile, root: str, path: Path) -> None:
        super().__init__(io.BytesIO(_stored(archive, f"{root}/data.pkl")))
        self.archive, self.root, self.path = archive, root, path
        self.storages: dict[str, Tensor] = {}

    def find_class(self, module: str, name: str) -> object:
        if module.split(".")[0] == "__torch__":
            return type(name, (ScriptObject,), {})
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if module == "torch" and name in STORAGES:
            return STORAGES[name]
        known = self._functions().get((module, name))
        if known is None:
            raise pickle.UnpicklingError(f"its pickle asks for {module}.{name}, which is not data")
        return known

    def persistent_load(self, pid: object) -> Tensor:
        """A storage: ("storage", dtype, file name, device, number of elements)."""
        kind, dtype, name, _device, count = pid
        if kind != "storage" or not isinstance(dtype, torch.dtype) or not str(name).isalnum():
            raise pickle.UnpicklingError(f"its pickle refers to {pid!r}, which is no storage")
        if name not in self.storages:
            self.storages[name] = self._storage(str(name), dtype, int(count))
        return self.storages[name]

    def _storage(self, name: str, dtype: torch.dtype, count: int) -> Tensor:
        data = bytearray(_stored(self.archive, f"{self.root}/data/{name}"))
        if len(data) < count * dtype.itemsize:
            raise ValueError(f"storage {name} has {len(data)} bytes for {count} numbers")
        return torch.frombuffer(data, dtype=dtype, count=count) if count else torch.empty(0, dtype=dtype)

    @staticmethod
    def _functions() -> dict[tuple[str, str], Callable[..., object]]:
        """The functions that a module's pickle may call. New ones each time: a pickle can set attributes on them."""

        def tensor(storage: Tensor, offset: int, size: tuple, stride: tuple, *_ignored: object) -> Tensor:
            last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True)) if prod(size) else 0
            if min((offset, *size, *stride), default=0) < 0 or last >= max(storage.numel(), 1):
                raise ValueError(f"a tensor of size {tuple(size)} lies outside its storage")
            return torch.as_strided(storage, tuple(size), tuple(stride), offset)

        def parameter(data: Tensor, *_ignored: object) -> Tensor:
            return data

        def unchanged(value: object, *_ignored: object) -> object:
            return value

        plain = {("torch.jit._pickle", name): unchanged for name in (*PLAIN_LISTS, "restore_type_tag")}
        return plain | {
            ("torch._utils", "_rebuild_tensor_v2"): tensor,
            ("torch._utils", "_rebuild_parameter"): parameter,
        }


def _stored(archive: ZipFile, name: str) -> bytes:
    """An entry's bytes. Compressed ones do not occur in an honest archive, and could unpack to any size."""
    entry = archive.getinfo(name)
    if entry.compress_type != ZIP_STORED:
        raise ValueError(f"its entry {name} is compressed")
    return archive.read(entry)


def _root(archive: ZipFile, path: Path) -> str:
    """The folder inside the archive that holds `data.pkl` and `code/`."""
    names = archive.namelist()
    roots = [name.removesuffix("/data.pkl") for name in names if name.endswith("/data.pkl") and name.count("/") == 1]
    if len(roots) != 1 or not any(name.startswith(f"{roots[0]}/code/") for name in names):
        raise WeightsError(f"{path} is no TorchScript archive: it has no module and code in it. Is it another file?")
    return roots[0]


def _tensors(module: object, prefix: str, path: Path, depth: int = 0) -> Iterator[tuple[str, Tensor]]:
    if not isinstance(module, ScriptObject) or depth > 64:
        raise WeightsError(f"{path} holds no module tree: {prefix or 'its root'} is a {type(module).__name__}")
    for name, value in vars(module).items():
        if isinstance(value, Tensor):
            yield f"{prefix}{name}", value
        elif isinstance(value, ScriptObject):
            yield from _tensors(value, f"{prefix}{name}.", path, depth + 1)
