"""Every checker, against its solution, its stub, its typical mistakes, and code that misbehaves."""

from importlib import import_module
from pkgutil import iter_modules

import numpy as np
import pytest

from cosmos_lab.notebook import exercises
from cosmos_lab.notebook.check import exercise
from cosmos_lab.notebook.exercise import Exercise, Mistake, find


def all_exercises() -> dict[str, Exercise]:
    modules = [module.name for module in iter_modules(exercises.__path__)]
    named = {name: vars(import_module(f"cosmos_lab.notebook.exercises.{name}")) for name in modules}
    return {f"{m}.{n}": v for m, values in named.items() for n, v in values.items() if isinstance(v, Exercise)}


EXERCISES = all_exercises()


def stub(*args, **kwargs):
    raise NotImplementedError


def squares(count):
    return np.arange(count) ** 2


SQUARES = Exercise(
    task="Squares",
    solution=squares,
    cases=lambda: {"three": {"count": 3}, "five": {"count": 5}},
    mistakes=(Mistake(answer=lambda count: np.arange(count) * 2, hint="twice is not squared"),),
)


@pytest.mark.parametrize("name", EXERCISES)
def test_checker_knows_stub_and_solution(name):
    assert exercise(name, stub).state == "TODO"
    verdict = exercise(name, EXERCISES[name].solution)
    assert verdict.state == "OK" and verdict.drawing is not None


@pytest.mark.parametrize("name", EXERCISES)
def test_checker_rejects_each_mistake_with_its_own_hint(name):
    mistakes = EXERCISES[name].mistakes
    assert len({mistake.hint for mistake in mistakes}) == len(mistakes) >= 3
    for mistake in mistakes:
        verdict = exercise(name, mistake.answer)
        assert (verdict.state, verdict.message) == ("HINT", mistake.hint)
        assert verdict.drawing is not None


@pytest.mark.parametrize("name", EXERCISES)
def test_checker_survives_anything(name):
    assert exercise(name, lambda **_: None).state == "HINT"
    assert exercise(name, lambda **_: "no number").state == "HINT"
    assert exercise(name, lambda **_: np.full((7, 7, 7), np.nan)).state == "HINT"
    assert exercise(name, lambda wrong: wrong).state == "HINT"


@pytest.mark.parametrize(
    "answer, part",
    [
        (lambda count: None, "return"),
        (lambda count: np.arange(count + 1), "shape"),
        (lambda count: np.arange(count) / 0.0, "finite"),
        (lambda count: 1 / 0, "ZeroDivisionError"),
        (lambda count: squares(count) + 1, "greatest difference is 1"),
        (lambda count: np.arange(count) * 2, "twice"),
    ],
)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_hints_name_the_fault(answer, part):
    verdict = SQUARES.judge(answer)
    assert verdict.state == "HINT" and part in verdict.message


def test_an_answer_that_writes_into_its_input_is_judged_on_fresh_ones():
    fresh = Exercise(
        task="Sum", solution=lambda x: x.sum(), cases=lambda: {"ones": {"x": np.ones(3)}}, mistakes=SQUARES.mistakes
    )

    def destructive(x):
        total = x.sum()
        x[:] = 0
        return total

    assert fresh.judge(destructive).state == "OK"


def test_unknown_exercise():
    with pytest.raises(ValueError, match="MODULE.EXERCISE"):
        find("sampling.nothing")
    with pytest.raises(ValueError, match="MODULE.EXERCISE"):
        find("nowhere.nothing")
