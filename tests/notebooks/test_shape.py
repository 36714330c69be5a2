"""The standard that every notebook keeps."""

import re
from statistics import median

import pytest
from notebook_files import FOLDER, NOTEBOOKS, cells, code, outputs, prose

from cosmos_lab.notebook.claims import read_claims
from cosmos_lab.notebook.execute import stale
from cosmos_lab.notebook.normalize import WIDGET
from cosmos_lab.notebook.readme import with_notebooks

PICTURES = ("image/png", "image/jpeg")
FORBIDDEN = (
    r"^\s*[%!]", r"sys\.path", "pip install", "__version__", "https?://", r"[\"']/(home|tmp|root)/", "urllib|requests",
)  # fmt: skip

every = pytest.mark.parametrize("path", NOTEBOOKS, ids=[path.stem for path in NOTEBOOKS])


def is_visible(output: dict) -> bool:
    data = output.get("data", {})
    return any(mime in data for mime in PICTURES) or "<video" in "".join(data.get("text/html", ""))


@every
def test_length(path):
    words = len(re.findall(r"\w[\w'-]*", prose(path)))
    assert 25 <= len(cells(path)) <= 50
    assert 1200 <= words <= 2200
    assert len(re.findall(r"\$\$", prose(path))) / 2 <= 4
    assert path.stat().st_size <= 1.5e6


@every
def test_code_cells_are_short(path):
    lengths = [sum(bool(line.strip()) for line in cell["source"].split("\n")) for cell in cells(path, "code")]
    assert median(lengths) <= 7
    assert max(lengths) <= 20


@every
def test_opening(path):
    first = cells(path)[0]
    assert first["cell_type"] == "markdown" and first["source"].startswith("# ") and "?" in first["source"]
    opening = "\n".join(cell["source"] for cell in cells(path)[:3])
    for part in ("You will learn", "You need", "Reading time", "Machine time"):
        assert part in opening, f"the opening box lacks {part!r}"


@every
def test_first_result_within_three_code_cells(path):
    assert any(is_visible(output) for cell in cells(path, "code")[:3] for output in cell["outputs"])


@every
def test_sections_and_links(path):
    text = prose(path)
    for heading in ("What the official systems do differently", "Summary", "Where next"):
        assert re.search(rf"^##+ .*{heading}", text, flags=re.M), f"no section {heading!r}"
    # 00 speaks of all parts; the others name each generation where it differs.
    for generation in ("Cosmos 1.0", "Predict1", "Predict2", "Predict2.5"):
        assert generation in text
    links = re.findall(r"\]\(([^)#]+?)\)", text)
    assert any(link.endswith(".ipynb") for link in links)
    for link in links:
        assert not link.startswith("http"), f"{link} needs a network"
        assert (FOLDER / link).exists(), f"the link {link} leads nowhere"


@every
@pytest.mark.parametrize("pattern", FORBIDDEN)
def test_runs_offline_and_alone(path, pattern):
    assert not re.search(pattern, code(path), flags=re.M)


@every
def test_no_remote_pictures(path):
    assert not re.search(r"!\[[^\]]*\]\(http|<img[^>]+http", prose(path))


@every
def test_is_executed_and_normalised(path):
    counts = [cell["execution_count"] for cell in cells(path, "code")]
    assert counts == list(range(1, len(counts) + 1))
    for output in outputs(path):
        assert output["output_type"] != "error"
        assert output.get("name") != "stderr"
        assert WIDGET not in output.get("data", {})
        shown = "".join(map(str, [output.get("text", ""), output.get("data", {}).get("text/plain", "")]))
        assert not re.search(r"\b0x[0-9a-f]{6,}|it/s\b|\d ms\b", shown), shown[:200]


@every
def test_is_fresh(path):
    assert stale(path) is None


@every
def test_pictures_have_alternative_texts(path):
    for output in outputs(path):
        for mime in PICTURES:
            if mime in output.get("data", {}):
                plain = "".join(output["data"].get("text/plain", ""))
                assert len(output["metadata"].get(mime, {}).get("alt", "") or plain) > 20


@every
def test_claims_have_controls(path):
    claims = read_claims(path)
    assert len(claims) >= 3
    for claim in claims:
        assert claim["holds"], claim["text"]
        assert claim["controls"], f"no negative control: {claim['text']}"
        assert not any(holds for _, _, holds in claim["controls"]), claim["text"]


@every
def test_exercises(path):
    found = cells(path)
    stubs = [i for i, cell in enumerate(found) if "raise NotImplementedError" in cell["source"]]
    solutions = [cell for cell in found if "solution" in cell["metadata"].get("tags", [])]
    assert 2 <= len(stubs) <= 3 and len(solutions) >= 2
    assert all(cell["metadata"]["jupyter"]["source_hidden"] for cell in solutions)
    for word in ("Difficulty", "Minutes", "Trains"):
        assert prose(path).count(f"**{word}") >= len(stubs)
    verdicts = ["".join(o["data"].get("text/plain", "")) for o in outputs(path) if "data" in o]
    for state in ("TODO", "OK"):
        assert sum(text.startswith(f"{state}: ") for text in verdicts) >= 2, f"fewer than two verdicts {state}"


@every
def test_one_widget_and_the_librarys_source(path):
    assert code(path).count("widgets.explore(") == 1
    assert "lab.source(" in code(path)


def test_readme_shows_every_notebook_and_its_claims():
    assert NOTEBOOKS
    readme = (FOLDER.parent / "README.md").read_text(encoding="utf-8")
    for name in ("notebooks", "claims"):
        assert f"<!-- {name}: begin -->" in readme and f"<!-- {name}: end -->" in readme
    assert readme == with_notebooks(readme, NOTEBOOKS), "run `make notebooks`: README is not what the notebooks say"
    for path in NOTEBOOKS:
        assert (FOLDER.parent / "assets" / "notebooks" / f"{path.stem}.jpg").is_file()
