"""Reading of the recorded reference tensors (`tests/golden/`) and key lists (`tests/manifests/`)."""

import json
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor

GOLDEN = Path(__file__).parent / "golden"
MANIFESTS = Path(__file__).parent / "manifests"


@dataclass(frozen=True, kw_only=True)
class Golden:
    """One golden file: `tensors` by full key, `metadata` with every JSON value parsed.

    Files that keep all their metadata in one entry named `json` are unfolded, so `metadata["config"]` works for all.
    """

    tensors: dict[str, Tensor]
    metadata: dict

    def __getitem__(self, key: str) -> Tensor:
        return self.tensors[key]

    def under(self, prefix: str) -> dict[str, Tensor]:
        """Tensors whose key starts with `prefix` (a trailing slash is added), by the rest of their key."""
        prefix = prefix.rstrip("/") + "/"
        return {key.removeprefix(prefix): value for key, value in self.tensors.items() if key.startswith(prefix)}

    @property
    def weights(self) -> dict[str, Tensor]:
        return self.under("weights")

    @property
    def config(self) -> dict:
        return self.metadata["config"]


def parse_metadata(metadata: dict[str, str]) -> dict:
    """Metadata values of a safetensors file, parsed as JSON where they are JSON."""
    parsed = {}
    for key, value in metadata.items():
        try:
            parsed[key] = json.loads(value)
        except json.JSONDecodeError:
            parsed[key] = value
    return parsed | parsed.pop("json", {})


def read_golden(name: str) -> Golden:
    """Reads `tests/golden/NAME.safetensors`."""
    with safe_open(GOLDEN / f"{name}.safetensors", framework="pt") as file:
        tensors = {key: file.get_tensor(key) for key in file.keys()}
        return Golden(tensors=tensors, metadata=parse_metadata(file.metadata() or {}))


def read_golden_json(name: str) -> dict:
    """Reads `tests/golden/NAME.json`."""
    return json.loads((GOLDEN / f"{name}.json").read_text())


def read_manifest(name: str) -> dict[str, tuple[int, ...]]:
    """Reads `tests/manifests/NAME.json` in any of its three forms: shape by key, in the file's own naming."""
    manifest = json.loads((MANIFESTS / f"{name}.json").read_text())
    entries = manifest.get("tensors", manifest)
    return {key: tuple(entry["shape"]) for key, entry in entries.items() if key != "_meta"}


def read_manifest_meta(name: str) -> dict:
    """The `_meta` entry of a manifest, empty where there is none."""
    return json.loads((MANIFESTS / f"{name}.json").read_text()).get("_meta", {})


def relative_error(actual: Tensor, expected: Tensor) -> float:
    """Largest absolute difference over the largest absolute expected value."""
    assert actual.shape == expected.shape, f"shape {tuple(actual.shape)} instead of {tuple(expected.shape)}"
    scale = expected.double().abs().max().clamp_min(torch.finfo(torch.float64).tiny)
    return ((actual.double() - expected.double()).abs().max() / scale).item()
