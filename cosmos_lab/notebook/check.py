"""Claims that are computed and can fail, equalities, and answers to exercises.

A claim shows a row and raises when it is false. Its negative controls are values from a broken set-up (a shuffled
prompt, a wrong sigma, another seed): for each of them the claim must be false, or it says nothing.
"""

import html
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from math import isfinite
from typing import Literal

import numpy as np
from torch import Tensor

from cosmos_lab.notebook.claims import CLAIM_MIME
from cosmos_lab.notebook.exercise import Answer, Verdict
from cosmos_lab.notebook.exercise import find as _find

Number = float | int | bool
Measured = Number | Tensor | np.ndarray | Sequence[Number]
Over = Literal["mean", "every"]


class ClaimError(AssertionError):
    """A claim that is false, or one that a broken set-up fulfills too."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One claim as it was measured. `scope` names the model that it holds for, where it is no general truth."""

    text: str
    measured: str
    bound: str
    holds: bool
    controls: tuple[tuple[str, str, bool], ...] = ()
    scope: str = ""

    @property
    def fault(self) -> str | None:
        """Why the row is wrong, or None: it must hold, and none of its controls may."""
        if not self.holds:
            return f"false: {self.text} (measured {self.measured}, wanted {self.bound})"
        passing = [f"{name} ({measured})" for name, measured, holds in self.controls if holds]
        if passing:
            return f"says nothing: {self.text} holds for the negative control too: {', '.join(passing)}"
        return None

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, object]:
        return {CLAIM_MIME: asdict(self), "text/html": self._html(), "text/plain": self._plain()}

    def _plain(self) -> str:
        controls = "".join(
            f"\n    control: {name}: {value} ({'holds, it should not' if holds else 'fails, as it must'})"
            for name, value, holds in self.controls
        )
        mark = "✔" if self.holds else "✘"
        return f"{mark} {self.text}{self._scope()}: {self.measured} (wanted {self.bound}){controls}"

    def _html(self) -> str:
        color = "#059669" if self.fault is None else "#dc2626"
        controls = "".join(
            f"<br><small>negative control, {html.escape(name)}: <b>{value}</b>, "
            f"{'holds, and should not' if holds else 'fails as it must'}</small>"
            for name, value, holds in self.controls
        )
        return (
            f'<div style="border-left:4px solid {color};padding:4px 10px;margin:2px 0">'
            f"{'✔' if self.holds else '✘'} {html.escape(self.text)}{self._scope()}: <b>{self.measured}</b> "
            f"<small>(wanted {html.escape(self.bound)})</small>{controls}</div>"
        )

    def _scope(self) -> str:
        return f" [{self.scope} only]" if self.scope else ""


def claim(
    text: str,
    value: Measured,
    *,
    at_least: Number | None = None,
    at_most: Number | None = None,
    equals: Number | None = None,
    tolerance: float = 0.0,
    control: Mapping[str, Measured] | None = None,
    unit: str = "",
    over: Over = "mean",
    scope: str = "",
) -> None:
    """Shows a claim as a row and raises ClaimError when it is false or when a negative control fulfills it too.

    value: a number, or one for each seed, of which the mean (`over="every"`: each) must lie within the bounds; the
    row shows how far they spread. equals: within `tolerance`. control: values from broken set-ups, by name.
    scope: "nano" for a claim that holds for that model only.
    """
    from IPython.display import display

    row = measure(text, value, at_least=at_least, at_most=at_most, equals=equals, tolerance=tolerance,
                  control=control, unit=unit, over=over, scope=scope)  # fmt: skip
    display(row)
    if row.fault:
        raise ClaimError(row.fault)


def measure(
    text: str,
    value: Measured,
    *,
    at_least: Number | None = None,
    at_most: Number | None = None,
    equals: Number | None = None,
    tolerance: float = 0.0,
    control: Mapping[str, Measured] | None = None,
    unit: str = "",
    over: Over = "mean",
    scope: str = "",
) -> Row:
    """The row of `claim`, neither shown nor raised for. Raises ValueError for a claim without bounds."""
    if equals is not None:
        at_least, at_most = equals - tolerance, equals + tolerance
    if at_least is None and at_most is None:
        raise ValueError("a claim needs a bound that it can break: at_least, at_most or equals")
    low, high = (-np.inf if at_least is None else at_least), (np.inf if at_most is None else at_most)

    def holds(measured: Measured) -> bool:
        values = _values(measured)
        values = values if over == "every" else values.mean(keepdims=True)
        return bool(((values >= low) & (values <= high)).all())

    controls = tuple((name, _number(v, unit), holds(v)) for name, v in (control or {}).items())
    bound = _bound(at_least, at_most, equals=equals, tolerance=tolerance, unit=unit)
    number = _number(value, unit)
    return Row(text=text, measured=number, bound=bound, holds=holds(value), controls=controls, scope=scope)


def same(text: str, ours: Measured, reference: Measured, *, tolerance: float = 0.0) -> None:
    """Shows the greatest difference between two arrays of one shape; raises ClaimError above the tolerance.

    For "by hand equals the library"; a statement about the world is a `claim`.
    """
    from IPython.display import display

    a, b = _array(ours), _array(reference)
    if a.shape != b.shape:
        raise ClaimError(f"{text}: shapes {a.shape} and {b.shape} differ")
    difference = float(np.abs(a - b).max()) if a.size else 0.0
    row = Row(text=text, measured=f"greatest difference {difference:.2g}", bound=f"at most {tolerance:g}",
              holds=difference <= tolerance)  # fmt: skip
    display(Equality(row))
    if not row.holds:
        raise ClaimError(row.fault)


@dataclass(frozen=True)
class Equality:
    """A row that is no claim about the world and does not enter the table of results."""

    row: Row

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, object]:
        return {"text/html": self.row._html(), "text/plain": self.row._plain()}


def exercise(name: str, answer: Answer) -> Verdict:
    """Judges an answer to the exercise "module.name" of `cosmos_lab.notebook.exercises`: TODO, OK or HINT, and draws.

    Whatever the answer does, this returns: a notebook with open exercises still runs to its end.
    """
    return _find(name).judge(answer)


def _array(measured: Measured) -> np.ndarray:
    array = measured.detach().cpu().double().numpy() if isinstance(measured, Tensor) else np.asarray(measured)
    return array.astype(np.float64)


def _values(measured: Measured) -> np.ndarray:
    values = np.atleast_1d(_array(measured)).ravel()
    if values.size == 0:
        raise ValueError("a claim about no values")
    return values


def _number(measured: Measured, unit: str) -> str:
    values = _values(measured)
    suffix = f" {unit}" if unit else ""
    if values.size == 1:
        return _digits(float(values[0])) + suffix
    spread = f"{_digits(float(values.min()))} to {_digits(float(values.max()))}"
    return f"{_digits(float(values.mean()))}{suffix} ({spread}, n = {values.size})"


def _digits(value: float) -> str:
    if not isfinite(value):
        return str(value)
    return f"{value:.0f}" if value == round(value) and abs(value) < 1e7 else f"{value:.3g}"


def _bound(
    at_least: Number | None, at_most: Number | None, *, equals: Number | None, tolerance: float, unit: str
) -> str:
    suffix = f" {unit}" if unit else ""
    if equals is not None:
        return f"{_digits(float(equals))}{suffix}" + (f" ± {tolerance:g}" if tolerance else "")
    parts = [("at least", at_least), ("at most", at_most)]
    return ", ".join(f"{word} {_digits(float(number))}{suffix}" for word, number in parts if number is not None)
