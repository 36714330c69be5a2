"""How figures look, decided in one place, and the picture that a figure becomes.

Figures are made without pyplot and inside a style context: nothing global changes, at import or later.
"""

import base64
import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from matplotlib.figure import Figure

INK, MUTED, GRID = "#1f2933", "#7b8794", "#e4e7eb"
PALETTE = ("#2563eb", "#ea580c", "#059669", "#9333ea", "#dc2626", "#0891b2", "#ca8a04", "#475569")
STYLE = {
    "figure.facecolor": "white",
    "font.size": 10,
    "text.color": INK,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "lines.linewidth": 1.9,
    "lines.markersize": 4.5,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "image.cmap": "magma",
}
DPI = 120


@dataclass(frozen=True, kw_only=True)
class Picture:
    """An encoded image with the sentence that stands for it where it cannot be seen; shows itself in a notebook.

    It is shown as image/png or image/jpeg, which front ends display even in a notebook that is not trusted yet.
    """

    data: bytes = field(repr=False)
    alt: str
    width: int
    mime: str = "image/png"

    def _repr_mimebundle_(
        self, include: object = None, exclude: object = None
    ) -> tuple[dict[str, str], dict[str, dict[str, object]]]:
        bundle = {self.mime: base64.b64encode(self.data).decode(), "text/plain": f"[{self.alt}]"}
        return bundle, {self.mime: {"alt": self.alt, "width": self.width}}

    def pixels(self) -> np.ndarray:
        """Decoded, uint8 (H, W, 3)."""
        from PIL import Image

        return np.asarray(Image.open(io.BytesIO(self.data)).convert("RGB"))

    @classmethod
    def of_pixels(cls, pixels: np.ndarray, *, alt: str, width: int | None = None) -> "Picture":
        """uint8 (H, W, 3) as a lossless picture, shown `width` screen pixels wide."""
        from PIL import Image

        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, format="png", optimize=True)
        return cls(data=buffer.getvalue(), alt=alt, width=width or pixels.shape[1])


@contextmanager
def styled() -> Iterator[None]:
    """matplotlib's settings for the figures of this project, for the length of a `with` block."""
    from matplotlib import cycler, rc_context

    with rc_context({**STYLE, "axes.prop_cycle": cycler(color=PALETTE)}):
        yield


def blank(
    title: str,
    *,
    rows: int = 1,
    columns: int = 1,
    width: float = 7.5,
    height: float = 3.4,
    ratios: Sequence[float] | None = None,
) -> tuple["Figure", np.ndarray]:
    """A titled figure and its axes (rows, columns). Call it, and draw, inside `styled()`. Sizes in inches."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False, width_ratios=ratios)
    figure.suptitle(title, x=0.01, ha="left", fontsize=12, fontweight="bold", color=INK)
    return figure, axes


def picture(figure: "Figure", *, alt: str, photographic: bool = False) -> Picture:
    """A figure encoded: PNG for lines, JPEG where it is mostly pixel frames."""
    buffer = io.BytesIO()
    if photographic:
        figure.savefig(buffer, format="jpeg", dpi=DPI, pil_kwargs={"quality": 88})
    else:
        figure.savefig(buffer, format="png", dpi=DPI, metadata={"Software": None})
    mime = "image/jpeg" if photographic else "image/png"
    return Picture(data=buffer.getvalue(), alt=alt, width=round(figure.get_figwidth() * 100), mime=mime)
