"""The files that describe many clips: Predict2's JSON array and the JSON lines of Cosmos 1.0 and Predict1."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Row:
    """One entry of a batch file; `problem` says what is wrong with it."""

    label: str
    prompt: str = ""
    given: str | None = None
    output: str | None = None
    problem: str = ""


def read_array(path: str | Path, *, given: str | None, output: str) -> list[Row]:
    """Predict2's form: a JSON array of objects with `prompt`, the field `output` and, where one is named, `given`.

    Raises FileNotFoundError, and ValueError with item, line and column where the whole is no such array; what is wrong
    with one entry is its row's problem.
    """
    text, fields = read_text(path), _fields(given, output)
    try:
        entries = parse(text)
    except json.JSONDecodeError as error:
        place = f"{path}, item {_item_at(text, error.pos)}, line {error.lineno}, column {error.colno}"
        raise ValueError(f"{place}: {error.msg}; the file holds a JSON array: [{_example(fields)}]") from error
    if not isinstance(entries, list) or not entries:
        raise ValueError(f"{path} holds no items; it is a JSON array: [{_example(fields)}]")
    return [_row(f"item {number}", entry, fields) for number, entry in enumerate(entries, start=1)]


def read_lines(path: str | Path, *, given: str | None) -> list[Row]:
    """The form of Cosmos 1.0 and Predict1: a JSON object with `prompt`, and `given` where named, in every line.

    Raises FileNotFoundError, and ValueError for a file without lines.
    """
    fields = _fields(given)
    rows = [_line(label, text, fields) for label, text in numbered_lines(path)]
    if not rows:
        raise ValueError(f"{path} holds no lines; each is an object such as {_example(fields)}")
    return rows


def numbered_lines(path: str | Path) -> Iterator[tuple[str, str]]:
    """("line N", text) of the lines of a file that are not blank."""
    # Not splitlines: a prompt may hold the line separators of Unicode.
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        if line.strip():
            yield f"line {number}", line


def read_text(path: str | Path) -> str:
    """A file's text. Raises FileNotFoundError, and ValueError where it is no text."""
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is no UTF-8 text: {error}") from error


def parse(text: str) -> object:
    """The value of JSON text. Raises JSONDecodeError, also for what is JSON but too large to be read."""
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        raise
    except (RecursionError, ValueError) as error:
        raise json.JSONDecodeError(f"too deep or too long to be read ({error})", text, 0) from error


def broken_text(entry: object) -> str:
    """What is wrong with the characters of an entry, or nothing: half a character can be neither read nor written."""
    try:
        json.dumps(entry, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        return f"{ascii(error.object[error.start])} is half a character, write the whole one"
    return ""


def _item_at(text: str, position: int) -> int:
    """The number of the array's item that holds a position of its text: one more than whole items stand before it."""
    while (position := text.rfind(",", 0, position)) > 0:
        try:
            return len(parse(text[:position] + "]")) + 1
        except json.JSONDecodeError:
            continue
    return 1


def _fields(given: str | None, output: str | None = None) -> dict[str, str]:
    """What a file calls the parts of its rows, by their names here."""
    names = {"given": given, "prompt": "prompt", "output": output}
    return {ours: theirs for ours, theirs in names.items() if theirs}


def _line(label: str, text: str, fields: Mapping[str, str]) -> Row:
    try:
        return _row(label, parse(text), fields)
    except json.JSONDecodeError as error:
        return Row(label=label, problem=f"no JSON at column {error.colno}: {error.msg}")


def _row(label: str, entry: object, fields: Mapping[str, str]) -> Row:
    if not isinstance(entry, dict):
        return Row(label=label, problem=f"an object was expected, not {json.dumps(entry)[:40]}")
    if broken := broken_text(entry):
        return Row(label=label, problem=broken)
    texts = {ours: entry[theirs] for ours, theirs in fields.items() if isinstance(entry.get(theirs), str)}
    full = {fields[ours] for ours, text in texts.items() if text.strip()}
    problems = [f"lacks {name!r}" for name in fields.values() if name not in entry]
    problems += [f"{name!r} is no text or empty" for name in fields.values() if name in entry and name not in full]
    return Row(label=label, **texts, problem="; ".join(problems))


def _example(fields: Mapping[str, str]) -> str:
    return json.dumps(dict.fromkeys(fields.values(), "…"), ensure_ascii=False)
