"""Exercises that judge answers: TODO, OK, or a HINT that names the mistake, with expected and got drawn side by side.

An exercise knows its solution and the wrong answers that people give. An answer that computes what a known mistake
computes gets that mistake's hint; any other wrong answer is told where it differs. So each checker can itself be
tested: on the stub, on the solution and on every mistake.
"""

import html
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Literal

import numpy as np
from torch import Tensor

from cosmos_lab.notebook.figures import PALETTE, Picture, blank, picture, styled

Result = Tensor | np.ndarray | float | int | bool | list[int] | list[float] | tuple[int, ...] | tuple[float, ...]
Answer = Callable[..., Result]
State = Literal["TODO", "OK", "HINT"]
COLORS = {"TODO": "#b45309", "OK": "#047857", "HINT": "#b91c1c"}


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What the checker says of an answer, and its drawing of expected against got (None before there is an answer)."""

    state: State
    message: str
    drawing: Picture | None = field(default=None, repr=False)

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> tuple[dict, dict]:
        if self.drawing is not None:
            bundle, metadata = self.drawing._repr_mimebundle_()
            return {**bundle, "text/plain": f"{self.state}: {self.message}"}, metadata
        color = COLORS[self.state]
        text = f'<div style="border-left:4px solid {color};padding:4px 10px"><b>{self.state}</b>: '
        return {"text/html": f"{text}{html.escape(self.message)}</div>",
                "text/plain": f"{self.state}: {self.message}"}, {}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Mistake:
    """A wrong answer that people give, and the sentence that helps without giving the solution away."""

    answer: Answer
    hint: str


@dataclass(frozen=True, kw_only=True)
class Exercise:
    """A task with its solution, the inputs it is tried on, and known mistakes.

    cases: keyword arguments of each trial, by its label. tolerance: greatest absolute difference of a right answer.
    The first case (the first wrong one) is drawn; `xlabel` and `ylabel` name what it shows.
    """

    task: str
    solution: Answer
    cases: Callable[[], Mapping[str, Mapping[str, object]]]
    mistakes: tuple[Mistake, ...]
    tolerance: float = 1e-5
    xlabel: str = "element"
    ylabel: str = "value"

    def judge(self, answer: Answer) -> Verdict:
        """TODO for a stub that raises NotImplementedError, OK for an answer equal to the solution, else HINT."""
        try:
            got = self.run(answer)
        except NotImplementedError:
            return Verdict(state="TODO", message=f"{self.task}. Fill in the cell above, then run both again.")
        except Exception as error:  # noqa: BLE001  a reader's code: whatever it raises is a hint, not a crash
            return Verdict(state="HINT", message=f"your code stopped with {type(error).__name__}: {error}")
        expected = {label: _array(value) for label, value in self.run(self.solution).items()}
        for label, right in expected.items():
            fault = _wrong_kind(got[label], right)
            if fault:
                return Verdict(state="HINT", message=f"{label}: {fault}")
        values = {label: _array(value) for label, value in got.items()}
        wrong = [label for label in expected if not self._equal(values[label], expected[label])]
        if not wrong:
            message = f"{self.task}: equal to the solution in all {len(expected)} cases."
            first = next(iter(expected))
            return self._verdict("OK", message, expected[first], values[first])
        hint = self._known(values) or self._where(values, expected, wrong)
        return self._verdict("HINT", hint, expected[wrong[0]], values[wrong[0]])

    def run(self, answer: Answer) -> dict[str, Result]:
        """What an answer returns for each case; the inputs are made anew, so that it may write into them."""
        return {label: answer(**dict(arguments)) for label, arguments in self.cases().items()}

    def _known(self, values: dict[str, np.ndarray]) -> str | None:
        for mistake in self.mistakes:
            made = {label: _array(value) for label, value in self.run(mistake.answer).items()}
            if all(self._equal(value, made[label]) for label, value in values.items()):
                return mistake.hint
        return None

    def _where(self, values: dict[str, np.ndarray], expected: dict[str, np.ndarray], wrong: list[str]) -> str:
        difference = np.abs(values[wrong[0]] - expected[wrong[0]]).max()
        return (
            f"{len(expected) - len(wrong)} of {len(expected)} cases are right; in “{wrong[0]}” the greatest difference "
            f"is {difference:.3g}. Compare the two: is it a factor, a shift, or only the ends?"
        )

    def _equal(self, a: np.ndarray, b: np.ndarray) -> bool:
        return a.shape == b.shape and np.allclose(a, b, rtol=0, atol=self.tolerance)

    def _verdict(self, state: State, message: str, expected: np.ndarray, got: np.ndarray) -> Verdict:
        return Verdict(state=state, message=message, drawing=self._draw(state, message, expected, got))

    def _draw(self, state: State, message: str, expected: np.ndarray, got: np.ndarray) -> Picture:
        with styled():
            figure, axes = blank(f"{state}: {_wrap(message)}", height=2.8)
            axis = axes[0, 0]
            x, right, answer = np.arange(expected.size), expected.ravel(), got.ravel()
            if expected.size > 200:
                axis.plot(right, answer, ".", color=PALETTE[1], markersize=2)
                axis.plot([right.min(), right.max()], [right.min(), right.max()], color=PALETTE[0], linewidth=1)
                axis.set(xlabel=f"expected {self.ylabel}", ylabel=f"got {self.ylabel}")
            else:
                axis.plot(x, right, marker="o", color=PALETTE[0], markersize=8, alpha=0.5, label="expected")
                axis.plot(x, answer, marker="x", color=PALETTE[1], linestyle="--", label="got")
                axis.set(xlabel=self.xlabel, ylabel=self.ylabel)
                axis.xaxis.get_major_locator().set_params(integer=True)
                axis.legend()
            figure.suptitle(figure.get_suptitle(), x=0.01, ha="left", fontsize=10, color=COLORS[state])
            return picture(figure, alt=f"{state}: {message} Expected and got, drawn over each other.")


def find(name: str) -> Exercise:
    """The exercise "module.name". Raises ValueError for one that does not exist."""
    module, _, attribute = name.partition(".")
    try:
        found = getattr(import_module(f"cosmos_lab.notebook.exercises.{module}"), attribute, None)
    except ModuleNotFoundError:
        found = None
    if not isinstance(found, Exercise):
        raise ValueError(f"there is no exercise {name!r}; a name is MODULE.EXERCISE, as in 'sampling.heun_step'")
    return found


def _wrong_kind(value: object, expected: np.ndarray) -> str | None:
    if value is None:
        return "your function returns nothing; did you forget `return`?"
    try:
        array = _array(value)
    except (TypeError, ValueError):
        return f"expected numbers, got {type(value).__name__}"
    if array.shape != expected.shape:
        return f"expected the shape {expected.shape}, got {array.shape}"
    if not np.isfinite(array).all() and np.isfinite(expected).all():
        return "there are values that are not finite; is something divided by zero, or the logarithm of it taken?"
    return None


def _array(value: Result) -> np.ndarray:
    array = value.detach().cpu().double().numpy() if isinstance(value, Tensor) else np.asarray(value)
    return array.astype(np.float64)


def _wrap(message: str) -> str:
    from textwrap import fill

    return fill(message, width=96)
