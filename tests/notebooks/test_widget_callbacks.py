"""The callbacks of the notebooks' widgets, taken out of their notebooks: plain functions that answer at once."""

import ast
from time import process_time

import numpy as np
import pytest
from notebook_files import FOLDER, code

from cosmos_lab.notebook import widgets


def definitions(name: str, wanted: set[str]) -> dict[str, object]:
    """A notebook's imports, and the functions and variables that a callback needs, without running the rest."""
    tree = ast.parse(code(FOLDER / name))

    def is_needed(node: ast.stmt) -> bool:
        if isinstance(node, ast.Assign):
            return any(isinstance(target, ast.Name) and target.id in wanted for target in node.targets)
        return isinstance(node, ast.Import | ast.ImportFrom) or getattr(node, "name", None) in wanted

    tree.body = [node for node in tree.body if is_needed(node)]
    found: dict[str, object] = {}
    exec(compile(tree, name, "exec"), found)
    return found


@pytest.fixture(scope="module")
def sampling():
    return definitions("03_edm_sampling.ipynb", {"two_points", "euler_by_hand", "begin", "fine", "truth", "draw"})


def test_sampling_draws_nearer_paths_with_more_steps(sampling):
    few, many = (widgets.frame(sampling["draw"], {"num_steps": n, "rho": 7.0}).pixels() for n in (2, 35))
    assert few.shape == many.shape
    # Orange, Euler's path, leaves the gray one only where steps are few; gray then shows beside it.
    gray = (np.abs(few.astype(int) - (196, 204, 212)).sum(-1) < 30).sum()
    assert gray > 2 * (np.abs(many.astype(int) - (196, 204, 212)).sum(-1) < 30).sum()


def test_sampling_answers_within_a_third_of_a_second(sampling):
    spent = []
    for _ in range(3):
        begin = process_time()
        widgets.frame(sampling["draw"], {"num_steps": 35, "rho": 3.0})
        spent.append(process_time() - begin)
    assert min(spent) < 0.3
