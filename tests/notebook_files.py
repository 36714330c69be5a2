"""The notebooks that there are, and views of their cells."""

import json
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[1] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("[0-9]*.ipynb"))


def cells(path: Path, kind: str | None = None) -> list[dict]:
    """The cells of one kind, their sources joined."""
    found = json.loads(path.read_text(encoding="utf-8"))["cells"]
    for cell in found:
        cell["source"] = "".join(cell["source"])
    return [cell for cell in found if kind in (None, cell["cell_type"])]


def prose(path: Path) -> str:
    return "\n".join(cell["source"] for cell in cells(path, "markdown"))


def code(path: Path) -> str:
    return "\n".join(cell["source"] for cell in cells(path, "code"))


def outputs(path: Path) -> list[dict]:
    return [output for cell in cells(path, "code") for output in cell["outputs"]]
