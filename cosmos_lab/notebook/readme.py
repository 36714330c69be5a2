"""What README shows of the notebooks: a map with a picture and the question of each, and the table of their claims.

Both stand between comments, `<!-- notebooks: begin -->` … `end`, `<!-- claims: begin -->` … `end`, and are made anew
from the executed notebooks.
"""

import base64
import io
import json
import re
from collections.abc import Iterable
from pathlib import Path

from cosmos_lab.notebook.claims import claims_table

MAP, CLAIMS = "notebooks", "claims"


def with_notebooks(text: str, notebooks: Iterable[Path | str]) -> str:
    """A README with its map and its table made anew; a part whose comments are not there is left out."""
    notebooks = sorted(map(Path, notebooks))
    return _between(_between(text, MAP, notebook_map(notebooks)), CLAIMS, claims_table(notebooks))


def notebook_map(notebooks: Iterable[Path | str], *, pictures: str = "assets/notebooks") -> str:
    """A Markdown table: the notebook's picture (as `save_thumbnail` leaves it), its title, its question."""
    rows = ["| | notebook | the question |", "|---|---|---|"]
    for path in sorted(map(Path, notebooks)):
        title, question = headline(path)
        picture = f"![A figure of notebook {title}]({pictures}/{path.stem}.jpg)"
        rows.append(f"| {picture} | [{title}](notebooks/{path.name}) | {question} |")
    return "\n".join(rows) + "\n"


def headline(notebook: Path) -> tuple[str, str]:
    """A notebook's title and its question, the first bold sentence that ends with a question mark."""
    first = "".join(_cells(notebook)[0]["source"])
    question = re.search(r"\*\*([^*]+\?)\*\*", first)
    return first.split("\n", 1)[0].lstrip("# ").strip(), question.group(1) if question else ""


def save_thumbnail(notebook: Path, folder: Path, *, width: int = 320) -> None:
    """The notebook's first picture as `folder/STEM.jpg`; nothing where it has none."""
    from PIL import Image

    outputs = [output.get("data", {}) for cell in _cells(notebook) for output in cell.get("outputs", [])]
    found = [data[mime] for data in outputs for mime in ("image/png", "image/jpeg") if mime in data]
    if not found:
        return
    image = Image.open(io.BytesIO(base64.b64decode("".join(found[0])))).convert("RGB")
    folder.mkdir(parents=True, exist_ok=True)
    small = image.resize((width, round(image.height * width / image.width)), Image.Resampling.LANCZOS)
    small.save(folder / f"{notebook.stem}.jpg", quality=88)


def _between(text: str, name: str, content: str) -> str:
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    if begin not in text or end not in text:
        return text
    before, rest = text.split(begin, 1)
    return f"{before}{begin}\n{content}{end}{rest.split(end, 1)[1]}"


def _cells(notebook: Path) -> list[dict]:
    return json.loads(notebook.read_text(encoding="utf-8"))["cells"]
