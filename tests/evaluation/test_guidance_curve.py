"""Obedience as a function of guidance, on random weights."""

from dataclasses import replace

import numpy as np
import pytest
from made_worlds import reading
from random_nano import random_nano  # noqa: F401 (fixture)
from test_evaluate import folder  # noqa: F401 (fixture)
from test_obedience import PROMPT, RIGHT, shown

from cosmos_lab.cli import main
from cosmos_lab.evaluation.guidance_curve import GuidanceExtent, guidance_figures, kept
from cosmos_lab.evaluation.report import Evaluation


def test_several_guidances_give_one_table(random_nano, folder, tmp_path):  # noqa: F811
    command = ["evaluate", str(random_nano), "--folder", str(folder), "--prompts", "4", "--num_steps", "1", "--quiet",
               "--device", "cpu", "--guidance", "2", "1", "--save_path", str(tmp_path / "curve.json")]  # fmt: skip
    assert main(command) == 0
    found = Evaluation.load(tmp_path / "curve.json")
    names = [figure.name for figure in found.figures]
    assert len(names) == 18 and names[0] == "guidance 1: whole prompt" and names[-1] == "guidance 2: permanence"
    assert all(figure.number <= 4 for figure in found.figures) and len(found.details["prompts"]) == 4


def test_an_edit_takes_one_guidance(capsys):
    assert main(["evaluate", "--only", "edits", "--guidance", "1", "2"]) == 2
    assert "one --guidance" in capsys.readouterr().err


def test_the_extent_is_checked():
    with pytest.raises(ValueError, match="even number"):
        GuidanceExtent(prompts=5)
    with pytest.raises(ValueError, match="one guidance"):
        GuidanceExtent(guidances=())


def test_rates_of_readings_become_rows():
    clips = [shown(*RIGHT), shown(*RIGHT, floor="sand"), replace(shown(*RIGHT), certainty=0.1), reading()]
    rates = kept(clips, [PROMPT] * 4)
    assert rates["floor"].value == rates["prompt"].value == 0.25 and rates["permanence"].value == 0.5
    perfect = {"rendered": kept(clips[:1], [PROMPT]), "reconstructed": kept(clips[:2], [PROMPT] * 2)}
    rows = {figure.name: figure for figure in guidance_figures(3.0, rates, perfect)}
    floor = rows["guidance 3: floor"]
    assert (floor.value, floor.rendered, floor.reconstructed, floor.number) == (0.25, 1.0, 0.5, 4)
    assert np.isfinite(rows["guidance 3: whole prompt"].spread)
