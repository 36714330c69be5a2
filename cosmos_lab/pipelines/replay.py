"""Make a generation again from its provenance."""

import json
from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path

from cosmos_lab.files import sha256
from cosmos_lab.pipelines.call import Call
from cosmos_lab.pipelines.edit import Edit
from cosmos_lab.pipelines.generate import Pipeline, load
from cosmos_lab.pipelines.generation import PROVENANCE_VERSION, Generation
from cosmos_lab.pipelines.long import LongCall, generate_long
from cosmos_lab.pipelines.settings import Settings
from cosmos_lab.pipelines.source import Source


def replay(made: Generation | str | Path, *, pipe: Pipeline | None = None, progress: bool = True) -> Generation:
    """The same pixel frames again, on the same machine: `replay(clip) == clip`.

    `made` is a Generation, its provenance file (.json), or the saved clip beside which that file lies. The model is
    loaded by its name unless `pipe` is given. Raises ValueError when weights or input have changed since, or when
    the file cannot say all (input, noise or embeddings that were given in memory).
    """
    provenance = made.provenance if isinstance(made, Generation) else read_provenance(made)
    pipe = pipe or load(
        provenance["model"], device=provenance["device"], dtype=provenance["dtype"],
        conventions=provenance.get("conventions", "official"), like=provenance.get("like"),
    )  # fmt: skip
    if pipe.model.digest != provenance["weights"]:
        raise ValueError(
            f"it was made with weights {provenance['weights'][:12]}…, but {pipe.name} now has "
            f"{pipe.model.digest[:12]}…; pass a pipe with the former"
        )
    call = made.call if isinstance(made, Generation) else None
    call = call or _call(provenance, pipe)
    run = generate_long if isinstance(call, LongCall) else Pipeline.generate
    return run(pipe, call, progress=progress)


def read_provenance(path: str | Path) -> dict[str, object]:
    """The provenance file at `path`, or beside a saved clip. Raises FileNotFoundError and ValueError."""
    path = Path(path)
    path = path if path.suffix == ".json" else path.with_suffix(".json")
    if not path.is_file():
        raise FileNotFoundError(f"there is no provenance {path}; it is written beside each saved clip")
    try:
        provenance = json.loads(path.read_text(encoding="utf-8"))
        known = provenance["provenance"]
        provenance["settings"], provenance["weights"]  # noqa: B018 (a missing one raises)
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is no provenance of a clip: {error}") from error
    if known != PROVENANCE_VERSION:
        raise ValueError(f"{path} has version {known}, not {PROVENANCE_VERSION}; use the release that wrote it")
    return provenance


def _call(provenance: Mapping[str, object], pipe: Pipeline) -> Call | LongCall:
    if provenance["given_by_hand"]:
        names = ", ".join(provenance["given_by_hand"])
        raise ValueError(f"{names} were given in memory and are not in the file; pass them to the pipeline yourself")
    known = {field.name for field in fields(Settings)}
    settings = Settings(**{name: value for name, value in provenance["settings"].items() if name in known})
    source = _source(provenance["input"], settings, pipe) if provenance["input"] else None
    if settings.strength is not None:
        return Call(settings=settings, output=provenance["output"], edit=Edit(source=source))
    if settings.task != "long_video":
        return Call(settings=settings, source=source, output=provenance["output"])
    task, count = ("video2world", settings.num_conditional_frames) if source else ("text2world", 0)
    first = replace(settings, task=task, num_conditional_frames=count, num_chunks=None)
    return LongCall(settings=settings, first=Call(settings=first, source=source))


def _source(described: Mapping[str, object], settings: Settings, pipe: Pipeline) -> Source:
    if settings.task == "text2world":
        aspect = pipe.card.aspect_of(settings.height, settings.width)
        options = {"negative_prompt": settings.negative_prompt, "seed": settings.seed, "aspect_ratio": aspect}
        return pipe.first_frame(settings.prompt, {**options, "progress": False})
    path = described["path"]
    if path is None:
        raise ValueError("its input was given in memory and is not in the file; call the pipeline with it again")
    if not Path(path).is_file():
        raise FileNotFoundError(f"its input {path} is gone")
    if sha256(path) != described["sha256"]:
        raise ValueError(f"its input {path} has changed since: the SHA-256 is no longer {described['sha256']}")
    if settings.strength is not None:
        return Source.first(path, num_pixel_frames=settings.num_pixel_frames, alpha=pipe.card.pictures.alpha)
    return Source.of(path, num_conditional_frames=settings.num_conditional_frames, alpha=pipe.card.pictures.alpha)
