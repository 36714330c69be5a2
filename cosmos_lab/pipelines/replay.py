"""Make a generation again from its provenance."""

from collections.abc import Mapping
from pathlib import Path

from cosmos_lab.files import sha256
from cosmos_lab.pipelines.call import Call
from cosmos_lab.pipelines.edit import Edit
from cosmos_lab.pipelines.generate import Pipeline, load
from cosmos_lab.pipelines.generation import Generation
from cosmos_lab.pipelines.long import LongCall, first_settings
from cosmos_lab.pipelines.painter import Painter, painted
from cosmos_lab.pipelines.provenance import SETTINGS, loading_from_json, read_provenance
from cosmos_lab.pipelines.settings import Settings
from cosmos_lab.pipelines.source import Source


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
    pipe = load(provenance["model"], like=provenance["like"], **common, **loading_from_json(provenance["loaded"]))
    if provenance["painter"]:
        painter = provenance["painter"]
        pipe.open_first_frame = Painter(name=painter["model"], options=common | loading_from_json(painter["loaded"]))
    return pipe


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
