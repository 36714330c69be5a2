"""From a file's tensors to a module: every key must find its parameter, and every parameter its key.

Networks are built on the meta device, where they cost nothing, and each tensor is moved on its own from the mapped
file to the target device and dtype, so the peak is the finished network and one tensor.
"""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from cosmos_lab.runtime.checkpoints import WeightsError
from cosmos_lab.runtime.key_maps import carries_weights

NET, EMA = "net.", "net_ema."


def without_prefix(state: Mapping[str, Tensor], path: str | Path, *, ema: bool = False) -> dict[str, Tensor]:
    """The network's tensors of an official file: those under `net.`, or under `net_ema.`, the averaged weights.

    A file without any prefix is taken as it is. Counters, kernel state, rotary constants and the training loss's
    weighting are left out. Raises WeightsError where the file lacks the kind of weights that was asked for.
    """
    wanted, other = (EMA, NET) if ema else (NET, EMA)
    state = {key: value for key, value in state.items() if carries_weights(key.removeprefix(NET).removeprefix(EMA))}
    chosen = {key.removeprefix(wanted): value for key, value in state.items() if key.startswith(wanted)}
    has_other = any(key.startswith(other) for key in state)
    if chosen:
        return chosen | {key: value for key, value in state.items() if not key.startswith((NET, EMA))}
    if ema or has_other:
        there = f"only {other} keys" if has_other else "no prefixes"
        fix = "leave ema out" if ema else "ask for them with ema=True"
        raise WeightsError(f"{path} has no {wanted} keys but {there}: {fix}")
    return dict(state)


def build(
    make: Callable[[], nn.Module],
    state: Mapping[str, Tensor],
    source: str | Path,
    *,
    device: str | torch.device = "cpu",
    dtype: torch.dtype | None = None,
    tied: Mapping[str, str] | None = None,
) -> nn.Module:
    """A module, made on the meta device and filled from `state`; in evaluation mode, without gradients.

    `tied` maps a name of the module to the key that it shares. Floating tensors take `dtype` (None: the file's).
    Raises WeightsError listing the missing keys, the unexpected ones and those of another shape.
    """
    module = on_meta(make)
    expected = module.state_dict()
    state = dict(state) | {name: state[key] for name, key in (tied or {}).items() if key in state and name in expected}
    check(expected, state, source)
    moved: dict[int, Tensor] = {}
    for name in expected:
        _assign(module, name, _moved(state[name], moved, device=device, dtype=dtype))
    return module.eval().requires_grad_(False)


def on_meta(make: Callable[[], nn.Module]) -> nn.Module:
    """A module that has shapes and no memory."""
    with torch.device("meta"):
        return make()


def check(expected: Mapping[str, Tensor], given: Mapping[str, Tensor], source: str | Path) -> None:
    """Compare keys and shapes. Raises WeightsError with all differences, before anything is read."""
    missing = [key for key in expected if key not in given]
    unexpected = [key for key in given if key not in expected]
    shapes = [
        f"{key} {tuple(given[key].shape)} instead of {tuple(tensor.shape)}"
        for key, tensor in expected.items()
        if key in given and given[key].shape != tensor.shape
    ]
    problems = [
        f"{len(keys)} {what}: {_some(keys)}"
        for what, keys in (("missing", missing), ("not known to this model", unexpected), ("of another shape", shapes))
        if keys
    ]
    if problems:
        raise WeightsError(
            f"{source} does not fit this model. Keys {'; '.join(problems)}. It is the file of another model or size: "
            "choose the card that it belongs to, or the file of this card"
        )


def check_device(device: str | torch.device, dtype: torch.dtype) -> torch.device:
    """The device, where it is here and computes in `dtype`. Raises ValueError naming the fix; nothing is read yet."""
    device = torch.device(device)
    if not dtype.is_floating_point or dtype.itemsize not in (2, 4):
        raise ValueError(f"weights are computed with in float32, bfloat16 or float16, not {dtype}")
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ValueError("this machine has no CUDA device (or torch was installed without CUDA): use device='cpu'")
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise ValueError("this machine has no MPS device: use device='cpu'")
    if dtype == torch.bfloat16 and device.type == "cuda" and not _has_bfloat16(device):
        name = torch.cuda.get_device_name(device)
        raise ValueError(f"{name} has no bfloat16 (it came with Ampere): use dtype='float32', or another GPU")
    return device


def _has_bfloat16(device: torch.device) -> bool:
    return torch.cuda.get_device_capability(device)[0] >= 8


def _moved(
    tensor: Tensor, moved: dict[int, Tensor], *, device: str | torch.device, dtype: torch.dtype | None
) -> Tensor:
    """The tensor on its device; one that stands under several names is moved once."""
    if id(tensor) not in moved:
        moved[id(tensor)] = tensor.to(device=device, dtype=dtype if tensor.is_floating_point() else None)
    return moved[id(tensor)]


def _assign(module: nn.Module, name: str, tensor: Tensor) -> None:
    path, _, leaf = name.rpartition(".")
    owner = module.get_submodule(path)
    if leaf in owner._parameters:
        owner._parameters[leaf] = nn.Parameter(tensor, requires_grad=False)
    else:
        owner._buffers[leaf] = tensor


def _some(keys: Iterable[str], most: int = 8) -> str:
    keys = list(keys)
    return ", ".join(keys[:most]) + (f" and {len(keys) - most} more" if len(keys) > most else "")
