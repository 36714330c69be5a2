import json

import numpy as np
import pytest
import torch

from cosmos_lab.notebook.check import ClaimError, claim, measure, same
from cosmos_lab.notebook.claims import claims_table, read_claims
from cosmos_lab.notebook.readme import with_notebooks


@pytest.mark.parametrize(
    "bounds, good, bad",
    [
        ({"at_least": 2}, 2, 1.99),
        ({"at_most": 2}, 2, 2.01),
        ({"at_least": 1, "at_most": 2}, 1.5, 0.5),
        ({"equals": 3.0, "tolerance": 0.1}, 3.05, 3.2),
        ({"equals": True}, True, False),
    ],
)
def test_bounds(bounds, good, bad):
    claim("it holds", good, **bounds, control={"broken": bad})
    with pytest.raises(ClaimError, match="false"):
        claim("it does not hold", bad, **bounds)
    with pytest.raises(ClaimError, match="says nothing.*broken"):
        claim("its control holds too", good, **bounds, control={"broken": good})


def test_not_a_number_never_holds():
    with pytest.raises(ClaimError):
        claim("nan is small", float("nan"), at_most=1)


def test_seeds_are_averaged_or_each_must_hold_and_the_spread_is_shown():
    row = measure("mean", torch.tensor([1.0, 2.0, 3.0]), at_least=1.5)
    assert row.holds and row.measured == "2 (1 to 3, n = 3)"
    assert not measure("each", [1.0, 2.0, 3.0], at_least=1.5, over="every").holds


def test_a_claim_needs_a_bound_and_a_value():
    with pytest.raises(ValueError, match="at_least"):
        claim("nothing", 1)
    with pytest.raises(ValueError, match="no values"):
        claim("nothing", [], at_most=1)


def test_row_is_escaped_and_readable():
    bundle = measure("a < b", 1, at_least=0, control={"c > d": -1}, scope="nano")._repr_mimebundle_()
    assert "a &lt; b" in bundle["text/html"] and "c &gt; d" in bundle["text/html"]
    assert "[nano only]" in bundle["text/plain"] and "fails, as it must" in bundle["text/plain"]


def test_same():
    same("equal", torch.ones(3), np.ones(3))
    same("close", [1.0], [1.05], tolerance=0.1)
    with pytest.raises(ClaimError, match="greatest difference 0.2"):
        same("apart", [1.0], [1.2], tolerance=0.1)
    with pytest.raises(ClaimError, match="shapes"):
        same("unlike", [1.0], [1.0, 2.0])
    with pytest.raises(ClaimError):
        same("nan", [float("nan")], [1.0], tolerance=1)


@pytest.fixture
def notebook(tmp_path):
    row = measure("fast | slow", [1, 2], at_least=1, control={"none": 0}, scope="nano", unit="dB")
    bundle = json.loads(json.dumps(row._repr_mimebundle_()))
    outputs = [{"output_type": "display_data", "data": bundle, "metadata": {}}]
    path = tmp_path / "03_test.ipynb"
    first = {"cell_type": "markdown", "source": ["# 03 · Test\n", "\n", "**Why?** Because."]}
    path.write_text(json.dumps({"cells": [first, {"cell_type": "code", "outputs": outputs}]}))
    return path


def test_table_of_claims(notebook):
    assert read_claims(notebook)[0]["text"] == "fast | slow"
    last = claims_table([notebook]).strip().split("\n")[-1]
    first, rest = last.split(" | ", 1)
    assert first == "| [03](notebooks/03_test.ipynb)"
    assert rest == "fast \\| slow (nano only) | 1.5 dB (1 to 2, n = 2) | at least 1 dB | none: 0 dB |"


def test_readme_table_is_replaced(notebook):
    text = "a\n<!-- claims: begin -->\nold\n<!-- claims: end -->\nb\n"
    fresh = with_notebooks(text, [notebook])
    assert fresh.startswith("a\n") and fresh.endswith("\nb\n") and "old" not in fresh and "fast" in fresh
    assert with_notebooks(fresh, [notebook]) == fresh
    assert with_notebooks("no marks", [notebook]) == "no marks"


def test_map_of_notebooks(notebook):
    text = "<!-- notebooks: begin --><!-- notebooks: end -->"
    last = with_notebooks(text, [notebook]).split("\n")[-2]
    assert "[03 · Test](notebooks/03_test.ipynb) | Why? |" in last and "](assets/notebooks/03_test.jpg)" in last
