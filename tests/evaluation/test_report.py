"""Figures, tables and files of an evaluation."""

import math

import pytest

from cosmos_lab.evaluation.report import Evaluation, Figure

FIGURES = (
    Figure(
        name="obedience: color", value=0.985, spread=0.004, rendered=0.998, baseline=0.12, note="chance", least=0.98
    ),
    Figure(name="physics: gravity", kind="ratio", value=11.0, least=9.32, most=10.3),
    Figure(name="joint: 2 objects", value=0.7),
)


@pytest.fixture
def evaluation():
    return Evaluation(figures=FIGURES, provenance={"model": "nano"}, details={"laws": {"fall": {"sigma": 0.02}}})


def test_what_is_reached_is_marked(evaluation):
    assert [figure.met for figure in evaluation.figures] == [True, False, None]
    assert Figure(name="unmeasured", least=0.5).met is None
    # A clip maker whose falls all take the same time has no ratio; renders have.
    evasive = Figure(name="unmeasured", least=0.5, rendered=1.0)
    assert evasive.met is False and evasive.row()[2] == "none ✗"
    rows = list(evaluation.table)
    assert rows[0]["nano"] == "98.5% ± 0.4% ✓" and rows[0]["reach"] == "≥ 98.0%"
    assert rows[0]["rendered clips"] == "99.8%" and rows[0]["baseline"] == "12.0% (chance)"
    assert rows[1]["nano"] == "11.000 ✗" and rows[1]["reach"] == "≥ 9.320 and ≤ 10.300" and rows[2]["nano"] == "70.0%"


def test_it_shows_itself_in_three_ways(evaluation):
    assert "obedience: color" in repr(evaluation) and "<table>" in evaluation._repr_html_()
    lines = evaluation.markdown().splitlines()
    assert len(lines) == 5 and all(line.count("|") == lines[0].count("|") for line in lines)


def test_saved_and_loaded(evaluation, tmp_path):
    evaluation.save(tmp_path / "evaluation.json")
    again = Evaluation.load(tmp_path / "evaluation.json")
    assert repr(again) == repr(evaluation)
    assert again.details == evaluation.details and again.provenance == {"model": "nano"}
    assert "NaN" not in (tmp_path / "evaluation.json").read_text()
    assert math.isinf(again.figures[0].most)


def test_unknown_names_and_kinds_are_refused(evaluation):
    assert evaluation.figure("joint: 2 objects").value == 0.7
    with pytest.raises(ValueError, match="there are obedience: color"):
        evaluation.figure("beauty")
    with pytest.raises(ValueError, match="unknown kind"):
        Figure(name="x", kind="furlong")
