"""Provenance: what makes a clip, and how its model was loaded, as JSON values: written, and read again."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import MISSING, asdict, fields
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, get_type_hints

import torch
from torch import Tensor

from cosmos_lab import __version__, catalog
from cosmos_lab.noise import Noise
from cosmos_lab.pipelines.call import Call
from cosmos_lab.pipelines.settings import Settings, described
from cosmos_lab.runtime.official import Lora

if TYPE_CHECKING:
    from cosmos_lab.pipelines.generate import Pipeline
    from cosmos_lab.pipelines.long import LongCall

VERSION = 2
# What a replay takes from a provenance file, with its types.
NEEDED = {
    "model": str, "weights": str, "loaded": dict, "conventions": str, "like": str | None, "settings": dict,
    "input": dict | None, "painter": dict | None, "given_by_hand": dict, "output": str, "device": str, "dtype": str,
}  # fmt: skip
SETTINGS = get_type_hints(Settings)
DEFAULTS = {field.name: field.default for field in fields(Settings) if field.default is not MISSING}


def describe(pipe: "Pipeline", call: "Call | LongCall") -> dict[str, object]:
    """What makes the clip of a call, before or after it is made.

    Its input is what was given; a first pixel frame that a model painted is known by that one's name and weights.
    """
    first = call.first
    read = pipe.model.text.tokenize([call.settings.prompt, call.settings.source_prompt or ""])
    painter = None if first.source is None else first.source.painter
    given = first.source if painter is None else None
    source = given if first.edit is None else first.edit.source
    return {
        "provenance": VERSION,
        "model": place(pipe.name),
        "weights": pipe.model.digest,
        "loaded": pipe.loaded,
        "conventions": first.conventions,
        "like": pipe.card.like,
        "settings": described(call.settings),
        "tokens": {"kept": int(read.mask[0].sum()), "dropped": read.dropped[0], "source_dropped": read.dropped[1]},
        "input": None if source is None else source.described(),
        "painter": painter,
        "given_by_hand": {name: _fingerprint(value) for name, value in first.replacing.items()},
        "output": first.output,
        "device": pipe.device.type,
        "dtype": str(pipe.dtype).removeprefix("torch."),
        "versions": _versions(),
    }


def loading_to_json(options: Mapping[str, object]) -> dict[str, object]:
    """The options of `load` that were given, as JSON values."""
    given = {name: asdict(value) if isinstance(value, Lora) else value for name, value in options.items() if value}
    return json.loads(json.dumps(given, default=lambda value: str(value).removeprefix("torch.")))


def loading_from_json(loaded: Mapping[str, object]) -> dict[str, object]:
    """The options again."""
    options = dict(loaded)
    if "lora" in options:
        options["lora"] = Lora(**options["lora"])
    if "text_dtype" in options:
        options["text_dtype"] = getattr(torch, options["text_dtype"])
    return options


def place(name: str | Path | None) -> str | Path | None:
    """What finds a model from any folder: its card's name, or the whole path."""
    is_path = name is not None and str(name) not in catalog.cards() and Path(name).exists()
    return str(Path(name).resolve()) if is_path else name


def read_provenance(path: str | Path) -> dict[str, object]:
    """The provenance file at `path`, or beside a saved clip. Raises FileNotFoundError and ValueError."""
    path = Path(path)
    path = path if path.suffix == ".json" or path.is_dir() else path.with_suffix(".json")
    if not path.is_file():
        raise FileNotFoundError(f"there is no provenance {path}; it is written beside each saved clip")
    try:
        provenance = json.loads(path.read_text(encoding="utf-8"))
        known = provenance["provenance"]
    except (ValueError, RecursionError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is no provenance of a clip: {error}") from error
    if known != VERSION:
        raise ValueError(f"{path} has version {known}, not {VERSION}; use the release that wrote it")
    _check_types(path, provenance, NEEDED)
    _check_types(path, {**DEFAULTS, **provenance["settings"]}, SETTINGS)
    return provenance


def _check_types(path: Path, values: Mapping[str, object], types: Mapping[str, type]) -> None:
    missing = [name for name in types if name not in values]
    if missing:
        raise ValueError(f"{path} is no provenance of a clip: it lacks {', '.join(missing)}")
    wrong = [name for name, kind in types.items() if not _fits(values[name], kind)]
    if wrong:
        raise ValueError(f"{path} is no provenance of a clip: {wrong[0]} is {values[wrong[0]]!r}, of another type")


def _fits(value: object, kind: type) -> bool:
    """Whether a JSON value is of a type; whole numbers are numbers, truth values are not."""
    return not isinstance(value, bool) and (isinstance(value, kind) or isinstance(value, int) and _fits(1.0, kind))


def _fingerprint(value: Noise | Tensor) -> str:
    if isinstance(value, Tensor):
        return hashlib.sha256(value.detach().float().cpu().contiguous().numpy().tobytes()).hexdigest()
    return repr(value)


def _versions() -> dict[str, str]:
    """Of all on which pixels, and the bytes of a saved clip, depend beside the machine."""
    others = ("torch", "transformers", "numpy", "av", "pillow")
    return {"cosmos_lab": __version__} | {name: _version(name) for name in others}


def _version(name: str) -> str:
    """A clip can be made, and measured, where nothing that writes files is installed."""
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"
