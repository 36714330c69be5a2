"""The table of results: every claim of the notebooks, read from their committed outputs."""

import json
from collections.abc import Iterable
from pathlib import Path

CLAIM_MIME = "application/vnd.cosmos-lab.claim+json"


def read_claims(notebook: Path | str) -> list[dict[str, object]]:
    """The claims in a notebook's outputs, in order, as the fields of `check.Row`."""
    cells = json.loads(Path(notebook).read_text(encoding="utf-8"))["cells"]
    outputs = [output for cell in cells for output in cell.get("outputs", [])]
    return [output["data"][CLAIM_MIME] for output in outputs if CLAIM_MIME in output.get("data", {})]


def claims_table(notebooks: Iterable[Path | str], *, folder: str = "notebooks") -> str:
    """A Markdown table of claims: notebook, statement, what was measured, what was demanded, what the control gave."""
    rows = ["| notebook | claim | measured | demanded | negative control |", "|---|---|---|---|---|"]
    for notebook in sorted(map(Path, notebooks)):
        for claim in read_claims(notebook):
            controls = "; ".join(f"{name}: {measured}" for name, measured, _ in claim["controls"])
            text = claim["text"] + (f" ({claim['scope']} only)" if claim["scope"] else "")
            link = f"[{notebook.stem[:2]}]({folder}/{notebook.name})"
            cells = (text, claim["measured"], claim["bound"], controls)
            rows.append(f"| {link} | " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(rows) + "\n"
