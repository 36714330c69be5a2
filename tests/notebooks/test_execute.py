"""Execution, normalisation and the stamp that tells a stale notebook."""

import copy
import json

import nbformat
import pytest
from nbclient.exceptions import CellExecutionError
from PIL import Image

from cosmos_lab.notebook import execute
from cosmos_lab.notebook.normalize import WIDGET, normalize


def written(path, *sources):
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in sources])
    nbformat.write(notebook, path)
    return path


@pytest.fixture(scope="module")
def executed(tmp_path_factory):
    noisy = """
import sys, ipywidgets
from IPython.display import display
from cosmos_lab.notebook import check, show
print('warning', file=sys.stderr)
display(ipywidgets.IntSlider())
print(object())
display(show.table(['a'], [[1.0]]), show.sigmas({'grid': [3.0, 2.0, 1.0]}, 'Falling'))
check.claim('one is one', 1, equals=1, control={'two': 2})
"""
    path = written(tmp_path_factory.mktemp("notebooks") / "00_test.ipynb", noisy, "40 + 2")
    assert execute.main([str(path)]) == 0
    return path


def test_outputs_are_normalised(executed):
    notebook = json.loads(executed.read_text())
    first, second = notebook["cells"]
    names = [output.get("name", output["output_type"]) for output in first["outputs"]]
    assert names == ["stdout", "display_data", "display_data", "display_data"]
    assert "".join(first["outputs"][0]["text"]) == "<object object at 0x…>\n"
    assert second["outputs"][0]["data"]["text/plain"] in ("42", ["42"])
    assert [first["execution_count"], second["execution_count"]] == [1, 2]
    assert set(notebook["metadata"]) == {"kernelspec", "language_info", "cosmos_lab"}
    assert "notebook/check.py" in notebook["metadata"]["cosmos_lab"]["modules"]
    assert len(notebook["cells"]) == 2


def test_executing_again_writes_the_same_bytes(executed):
    before = executed.read_bytes()
    execute.run(executed)
    assert executed.read_bytes() == before


def test_fresh_then_stale_by_code(executed, tmp_path, capsys):
    assert execute.stale(executed) is None
    assert execute.main(["--check", str(executed)]) == 0
    changed = tmp_path / "00_changed.ipynb"
    changed.write_text(executed.read_text().replace("40 + 2", "40 + 3"))
    assert "changed" in execute.stale(changed)
    assert execute.main(["--check", str(tmp_path)]) == 1
    assert "make notebooks" in capsys.readouterr().out


def test_stale_by_library_or_weights_but_not_by_prose(executed, monkeypatch, tmp_path):
    notebook = json.loads(executed.read_text())
    recorded = notebook["metadata"]["cosmos_lab"]["hash"]
    prose = copy.deepcopy(notebook)
    prose["cells"].append({"cell_type": "markdown", "source": "words", "metadata": {}})
    assert execute.stamp(prose) == recorded
    monkeypatch.setattr(execute, "weights_digest", lambda: "others")
    assert execute.stamp(notebook) != recorded
    monkeypatch.undo()
    monkeypatch.setattr(execute, "sha256", lambda path: "others")
    assert execute.stamp(notebook) != recorded


def test_a_notebook_that_never_ran_is_stale(tmp_path):
    assert "never executed" in execute.stale(written(tmp_path / "00_new.ipynb", "1"))


def test_a_failing_notebook_is_left_as_it_was(tmp_path):
    path = written(tmp_path / "00_fails.ipynb", "1 / 0")
    before = path.read_bytes()
    with pytest.raises(CellExecutionError, match="ZeroDivisionError"):
        execute.main([str(path)])
    assert path.read_bytes() == before


def test_nothing_to_execute_is_an_error(tmp_path):
    with pytest.raises(SystemExit):
        execute.main([str(tmp_path)])


def test_times_of_a_generation_are_removed_and_other_text_is_kept():
    kept = "<figcaption><b>a 2 s clip</b><br>nano · seed 0"
    html = f"{kept}<br><small>text 0.1 s · denoise 8.3 s · decode 1.2 s</small></figcaption>"
    cell = {
        "cell_type": "code", "source": "", "execution_count": 7,
        "metadata": {"execution": {"t": 1}, "tags": ["solution"]},
        "outputs": [
            {"output_type": "execute_result", "execution_count": 7, "metadata": {}, "data": {"text/html": html}},
            {"output_type": "display_data", "metadata": {}, "data": {WIDGET: {"model_id": "x"}}},
        ],
    }  # fmt: skip
    notebook = normalize({"cells": [cell], "metadata": {"widgets": {}, "kernelspec": {"name": "mine"}}})
    cell = notebook["cells"][0]
    assert cell["outputs"] == [{
        "output_type": "execute_result", "execution_count": 1, "metadata": {},
        "data": {"text/html": f"{kept}</figcaption>"},
    }]  # fmt: skip
    assert cell["metadata"] == {"tags": ["solution"], "jupyter": {"source_hidden": True}}
    assert "widgets" not in notebook["metadata"]
    assert normalize(copy.deepcopy(notebook)) == notebook


def test_readme_gets_the_claims(executed, tmp_path):
    folder = tmp_path / "notebooks"
    folder.mkdir()
    (folder / "00_test.ipynb").write_bytes(executed.read_bytes())
    readme = tmp_path / "README.md"
    readme.write_text("# T\n<!-- claims: begin -->\n<!-- claims: end -->\n")
    execute.update_readme(execute.find([folder]))
    assert "one is one" in readme.read_text()
    assert Image.open(tmp_path / "assets" / "notebooks" / "00_test.jpg").width == 320
