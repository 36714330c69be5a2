"""What an evaluation found: figures beside what rendered clips, reconstructions and baselines score."""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from cosmos_lab.files import write_json
from cosmos_lab.tables import Table

HEADER = ("figure", "reach", "nano", "rendered clips", "reconstructions", "baseline")
FORMATS = {"share": "{:.1%}", "number": "{:.2f}", "decibel": "{:.1f} dB", "ratio": "{:.3f}", "pixels": "{:.2f} px"}


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One measured figure.

    `value` and its `spread` (standard error, or deviation over seeds) are the model's; `rendered` and `reconstructed`
    are what the simulator's clips and their reconstructions score under the same ruler. `baseline` is a number with
    its meaning in `note`. The figure is met when `value` lies within [`least`, `most`]; `kind` is a key of FORMATS.
    """

    name: str
    kind: str = "share"
    value: float = math.nan
    spread: float = math.nan
    rendered: float = math.nan
    reconstructed: float = math.nan
    baseline: float = math.nan
    note: str = ""
    least: float = -math.inf
    most: float = math.inf
    number: int = 0

    def __post_init__(self):
        if self.kind not in FORMATS:
            raise ValueError(f"unknown kind {self.kind!r}; choose one of {', '.join(FORMATS)}")

    @property
    def met(self) -> bool | None:
        """Whether the figure is reached; None where nothing is asked or nothing was measured. What renders show and the
        model does not is not reached."""
        if math.isinf(self.least) and math.isinf(self.most) or math.isnan(self.value) and math.isnan(self.rendered):
            return None
        return self.least <= self.value <= self.most

    def reach(self) -> str:
        shown = [f"{sign} {self._show(bound)}" for sign, bound in (("≥", self.least), ("≤", self.most))
                 if not math.isinf(bound)]  # fmt: skip
        return " and ".join(shown)

    def row(self) -> tuple[str, ...]:
        """The cells of HEADER."""
        mark = {True: " ✓", False: " ✗", None: ""}[self.met]
        spread = "" if math.isnan(self.spread) else f" ± {self._show(self.spread)}"
        baseline = self._show(self.baseline) + (f" ({self.note})" if self.note else "")
        shown = self._show(self.value) or ("none" if self.met is False else "")
        value = shown + spread + mark if shown else ""
        beside = self._show(self.rendered), self._show(self.reconstructed), baseline.strip()
        return (self.name, self.reach(), value, *beside)

    def _show(self, value: float) -> str:
        return "" if math.isnan(value) else FORMATS[self.kind].format(value)


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """All figures of one evaluation; it shows itself as a table. `provenance` says what was measured, how and where,
    `details` holds what no table has room for."""

    figures: tuple[Figure, ...]
    provenance: Mapping[str, object] = field(default_factory=dict)
    details: Mapping[str, object] = field(default_factory=dict)

    def figure(self, name: str) -> Figure:
        """The figure of that name; ValueError lists the names there are."""
        for figure in self.figures:
            if figure.name == name:
                return figure
        raise ValueError(f"no figure {name!r}; there are {', '.join(figure.name for figure in self.figures)}")

    @property
    def table(self) -> Table:
        return Table(HEADER, tuple(figure.row() for figure in self.figures))

    def __repr__(self) -> str:
        return repr(self.table)

    def _repr_html_(self) -> str:
        return self.table._repr_html_()

    def markdown(self) -> str:
        """The table for a README."""
        lines = [HEADER, tuple("---" for _ in HEADER), *self.table.rows]
        return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines) + "\n"

    def save(self, path: Path | str) -> None:
        """Write everything as JSON; whole file or nothing."""
        figures = [{name: _finite(value) for name, value in asdict(figure).items()} for figure in self.figures]
        write_json(path, {"provenance": dict(self.provenance), "figures": figures, "details": _plain(self.details)})

    @classmethod
    def load(cls, path: Path | str) -> "Evaluation":
        """Read what `save` wrote."""
        stored = json.loads(Path(path).read_text(encoding="utf-8"))
        figures = tuple(Figure(**{k: v for k, v in figure.items() if v is not None}) for figure in stored["figures"])
        return cls(figures=figures, provenance=stored["provenance"], details=stored["details"])


def _finite(value: object) -> object:
    """JSON knows no NaN and no infinity; both are the defaults of the fields that may hold them."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        return {str(name): _plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return _finite(value.item() if hasattr(value, "item") else value)
