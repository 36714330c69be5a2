"""Where a command writes: never over a file that it needs, and nowhere that turns out closed after the work."""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from cosmos_lab.files import check_writable, output_files

Entry = TypeVar("Entry")


def sheet_of(output: Path) -> Path:
    """The contact sheet's place."""
    return output.with_name(f"{output.stem}_sheet.png")


def written(output: Path, *, sheet: bool) -> list[Path]:
    """All files that one output and, if wanted, its contact sheet write."""
    return [*output_files(output), *([sheet_of(output)] if sheet else [])]


def check(writes: Iterable[Path], needed: Iterable[object]) -> None:
    """Raises ValueError where a file would be written over a needed one, and OSError where it cannot be written."""
    _refuse(writes, needed)
    for path in writes:
        check_writable(path)


def of_batch(
    entries: Sequence[Entry], output: Callable[[Entry], Path], *, inputs: Sequence[object], files: Sequence[object],
    report: str | None, folder: Path | None = None,
) -> tuple[list[Entry], Path | None]:  # fmt: skip
    """The entries, with what is wrong with their outputs as their problem, and the place of the report.

    That is `report`, in `folder` or beside the first output. An output over an input costs its entry only. Raises
    ValueError where one lies over the `files` that describe the batch, or the report over anything that is read, and
    OSError where the report cannot be written.
    """
    outputs = [None if entry.problem else output(entry) for entry in entries]
    writes = [() if output is None else output_files(output) for output in outputs]
    _refuse([path for paths in writes for path in paths], files)
    over = _places(inputs)
    problems = [_overwriting(paths, over) for paths in writes]
    good = (output.parent for output, problem in zip(outputs, problems, strict=True) if output and not problem)
    place = Path(report) if report else _in_first(good if folder is None else [folder])
    if place is not None:
        check([place], [*files, *inputs])
    pairs = zip(entries, problems, strict=True)
    return [replace(entry, problem=entry.problem or problem) for entry, problem in pairs], place


def _refuse(writes: Iterable[Path], needed: Iterable[object]) -> None:
    problem = _overwriting(writes, _places(needed))
    if problem:
        raise ValueError(problem)


def _places(needed: Iterable[object]) -> dict[str, object]:
    return {_place(path): path for path in needed if path is not None}


def _overwriting(writes: Iterable[Path], over: Mapping[str, object]) -> str:
    """Which file would be written over which needed one, or nothing."""
    return next((f"writing {path} would overwrite {over[_place(path)]}, which is needed too: choose another name"
                 for path in writes if _place(path) in over), "")  # fmt: skip


def _place(path: object) -> str:
    try:
        return os.path.realpath(str(path))
    except ValueError:
        # A name that no file can have; whoever opens it says so.
        return str(path)


def _in_first(folders: Iterable[Path]) -> Path | None:
    """The report's place in the first folder that can be written to."""
    for folder in dict.fromkeys(folders):
        place = folder / "batch_report.json"
        with suppress(OSError):
            check_writable(place)
            return place
    return None
