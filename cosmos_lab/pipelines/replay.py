"""Make a generation again from its provenance."""

import json
from collections.abc import Mapping
from dataclasses import MISSING, fields
from pathlib import Path
from typing import get_type_hints

from cosmos_lab.files import sha256
from cosmos_lab.pipelines.call import Call
from cosmos_lab.pipelines.edit import Edit
from cosmos_lab.pipelines.generate import Pipeline, load
from cosmos_lab.pipelines.generation import PROVENANCE_VERSION, Generation
from cosmos_lab.pipelines.loaded import from_json
from cosmos_lab.pipelines.long import LongCall, first_settings
from cosmos_lab.pipelines.painter import Painter, painted
from cosmos_lab.pipelines.settings import Settings
from cosmos_lab.pipelines.source import Source

# What a replay takes from a provenance file, with its types.
NEEDED = {
    "model": str, "weights": str, "loaded": dict, "conventions": str, "like": str | None, "settings": dict,
    "input": dict | None, "painter": dict | None, "given_by_hand": dict, "output": str, "device": str, "dtype": str,
}  # fmt: skip
SETTINGS = get_type_hints(Settings)
DEFAULTS = {field.name: field.default for field in fields(Settings) if field.default is not MISSING}


def replay(made: Generation | str | Path, *, pipe: Pipeline | None = None, progress: bool = True) -> Generation:
    """The same pixel frames again, on the same machine: `replay(clip) == clip`.

    `made` is a Generation, its provenance file (.json), or the saved clip beside which that file lies. The model is
    loaded as it was then unless `pipe` is given. Raises ValueError when weights or input have changed since, or when
    the file cannot say all (input, noise or embeddings that were given in memory).
    """
    provenance = made.provenance if isinstance(made, Generation) else read_provenance(made)
    pipe = pipe or _load(provenance)
    _check_weights(provenance["weights"], pipe.model.digest, pipe.name)
    call = made.call if isinstance(made, Generation) else None
    return (call or _call(provenance, pipe)).run(pipe, progress=progress)


def _load(provenance: Mapping[str, object]) -> Pipeline:
    common = {name: provenance[name] for name in ("device", "dtype", "conventions")}
    pipe = load(provenance["model"], like=provenance["like"], **common, **from_json(provenance["loaded"]))
    if provenance["painter"]:
        painter = provenance["painter"]
        pipe.open_first_frame = Painter(name=painter["model"], options=common | from_json(painter["loaded"]))
    return pipe


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
    if known != PROVENANCE_VERSION:
        raise ValueError(f"{path} has version {known}, not {PROVENANCE_VERSION}; use the release that wrote it")
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


def _call(provenance: Mapping[str, object], pipe: Pipeline) -> Call | LongCall:
    if provenance["given_by_hand"]:
        names = ", ".join(provenance["given_by_hand"])
        raise ValueError(f"{names} were given in memory and are not in the file; pass them to the pipeline yourself")
    settings = Settings(**{name: value for name, value in provenance["settings"].items() if name in SETTINGS})
    source = _source(provenance["input"], settings, pipe) if provenance["input"] else None
    is_edit, is_long = settings.strength is not None, settings.task == "long_video"
    call = Call(
        settings=first_settings(settings, has_input=source is not None) if is_long else settings,
        conventions=provenance["conventions"], source=None if is_edit else source, output=provenance["output"],
        edit=Edit(source=source) if is_edit else None,
    )  # fmt: skip
    call = painted(pipe, call)
    if provenance["painter"]:
        now = call.source.painter or {"model": pipe.name, "weights": pipe.model.digest}
        _check_weights(provenance["painter"]["weights"], now["weights"], now["model"])
    return LongCall(settings=settings, first=call) if is_long else call


def _check_weights(before: str, now: str, name: str) -> None:
    if before != now:
        raise ValueError(f"it was made with weights {before[:12]}…, but {name} now has {now[:12]}…; pass a pipe with "
                         "the former")  # fmt: skip


def _source(described: Mapping[str, object], settings: Settings, pipe: Pipeline) -> Source:
    path = described["path"]
    if path is None:
        raise ValueError("its input was given in memory and is not in the file; call the pipeline with it again")
    if not Path(path).is_file():
        raise FileNotFoundError(f"its input {path} is gone; put it back there")
    if sha256(path) != described["sha256"]:
        raise ValueError(f"its input {path} has changed since: the SHA-256 is no longer {described['sha256']}")
    if settings.strength is not None:
        return Source.first(path, num_pixel_frames=settings.num_pixel_frames, alpha=pipe.card.pictures.alpha)
    return Source.of(path, num_conditional_frames=settings.num_conditional_frames, alpha=pipe.card.pictures.alpha)
