"""Files that are written whole or not at all, and their fingerprints."""

import errno
import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

FULL = "No space left on this disk"


@contextmanager
def whole(path: str | Path) -> Iterator[Path]:
    """A path beside `path` to write to; it is renamed to `path` at the end, and removed if anything interrupts.

    Raises OSError, naming the folder, when nothing can be written there, and when the disk is full.
    """
    path = Path(path)
    check_writable(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # The suffix stays, because encoders choose the format by it.
    beside = path.with_name(f".{path.stem}.{os.getpid()}.part{path.suffix}")
    try:
        yield beside
        os.replace(beside, path)
    except OSError as error:
        if error.errno != errno.ENOSPC or not isinstance(error.strerror, str) or FULL in error.strerror:
            raise
        raise OSError(errno.ENOSPC, f"{FULL}: free some, or write elsewhere", str(path)) from error
    finally:
        beside.unlink(missing_ok=True)


def output_files(path: Path) -> tuple[Path, Path, Path]:
    """What saving a clip or picture at `path` writes: itself, its prompts and its provenance."""
    return path, path.with_suffix(".txt"), path.with_suffix(".json")


def check_writable(path: str | Path) -> None:
    """Raise the OSError, naming the fix, with which writing a file at `path` would end; nothing is created."""
    path = Path(path)
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder; give the name of a file in it")
    parents = path.absolute().parents
    existing = next(parent for parent in parents if os.path.lexists(parent))
    if not existing.is_dir():
        raise NotADirectoryError(f"cannot write into {path.parent}: a part of that path is a file")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise PermissionError(f"cannot write into {path.parent}; choose another folder")


def write_text(path: str | Path, text: str) -> None:
    with whole(path) as beside:
        beside.write_text(text, encoding="utf-8")


def json_text(value: object) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


def write_json(path: str | Path, value: object) -> None:
    write_text(path, json_text(value))


def sha256(path: str | Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
