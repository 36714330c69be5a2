"""Outputs without what differs from run to run: times, progress bars, addresses, widget state, execution metadata."""

import re

Json = dict[str, object]
WIDGET = "application/vnd.jupyter.widget-view+json"
ADDRESS = re.compile(r"\b0x[0-9a-fA-F]{6,}\b")
# A generation writes how long its stages took in a <small> element of their own.
TIMES = re.compile(r"(?:<br>)?<small>(?:[\w ]+ [\d.]+ s(?: · )?)+</small>")


def normalize(notebook: Json) -> Json:
    """The notebook (nbformat 4 as plain JSON) with normalised outputs. Changed in place; idempotent."""
    notebook["nbformat"], notebook["nbformat_minor"] = 4, 5
    own = notebook["metadata"].get("cosmos_lab")
    notebook["metadata"] = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
        **({"cosmos_lab": own} if own else {}),
    }
    count = 0
    for number, cell in enumerate(notebook["cells"]):
        cell["id"] = f"cell-{number:02d}"
        _normalize_metadata(cell)
        if cell["cell_type"] == "code":
            count += 1
            _normalize_code(cell, count)
    return notebook


def _normalize_metadata(cell: Json) -> None:
    kept = {name: value for name, value in cell["metadata"].items() if name in ("tags", "jupyter")}
    if "solution" in kept.get("tags", []):
        kept["jupyter"] = {"source_hidden": True}
    cell["metadata"] = kept


def _normalize_code(cell: Json, count: int) -> None:
    was_run = cell.get("execution_count") is not None
    cell["execution_count"] = count if was_run else None
    outputs = [output for output in cell["outputs"] if not _is_noise(output)]
    for output in outputs:
        if output["output_type"] == "execute_result":
            output["execution_count"] = count
        if "text" in output:
            output["text"] = _clean(output["text"])
        for mime, value in output.get("data", {}).items():
            if mime.startswith("text/"):
                output["data"][mime] = _clean(value)
    cell["outputs"] = outputs


def _is_noise(output: Json) -> bool:
    """Standard error (warnings, progress bars) and widgets, whose state lives in a kernel that is gone."""
    return output.get("name") == "stderr" or WIDGET in output.get("data", {})


def _clean(text: str | list[str]) -> str:
    joined = text if isinstance(text, str) else "".join(text)
    return TIMES.sub("", ADDRESS.sub("0x…", joined))
