"""Pictures that notebooks show: film strips, x-t slices, looping clips, attention, noise levels, trajectories.

Every function takes the figure's takeaway as `title` and returns something that shows itself as the value of a cell.
A clip is uint8 pixel frames (T, H, W, 3), or anything that has them as `frames` (and perhaps `fps`). Where several
can be compared, pass a dictionary from label to clip.
"""

import base64
import html
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import ceil
from typing import TYPE_CHECKING

import numpy as np
import torch
from einops import rearrange
from torch import Tensor

from cosmos_lab import video
from cosmos_lab.notebook.figures import MUTED, PALETTE, Picture, blank, picture, styled
from cosmos_lab.tables import Table

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Values = Tensor | np.ndarray | Sequence[float]


@dataclass(frozen=True)
class Loop:
    """Clips that play side by side, over and over; small ones enlarged with their own pixels."""

    clips: Mapping[str, np.ndarray] = field(repr=False)
    fps: float
    alt: str
    width: int

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, str]:
        players = "".join(self._player(label, pixels) for label, pixels in self.clips.items())
        return {"text/html": f'<div style="display:flex;flex-wrap:wrap;gap:12px">{players}</div>',
                "text/plain": f"[{self.alt}]"}  # fmt: skip

    def _player(self, label: str, pixels: np.ndarray) -> str:
        data = base64.b64encode(video.video_bytes(pixels, fps=self.fps, crf=20)).decode()
        name = html.escape(", ".join(filter(None, (label, self.alt))), quote=True)
        return (
            f'<figure style="margin:0"><video width="{self.width}" style="image-rendering:pixelated" loop autoplay '
            f'muted playsinline controls aria-label="{name}" src="data:video/mp4;base64,{data}"></video>'
            f"<figcaption>{html.escape(label)}</figcaption></figure>"
        )


def clip(clips: object, *, alt: str, fps: float | None = None, width: int | None = None) -> Loop:
    """One clip, or several by label, as small looping videos; `alt` says what happens in them."""
    many = _clips(clips)
    first = next(iter(many.values()))
    rate = fps or _fps(clips) or 16.0
    return Loop(many, rate, alt, width or first.shape[2] * (2 if len(many) == 1 and first.shape[2] < 300 else 1))


def film_strip(
    clips: object, title: str, *, count: int = 6, fps: float | None = None, alt: str | None = None
) -> Picture:
    """`count` pixel frames of each clip, evenly spaced from first to last; a row a clip, times in seconds above."""
    many, rate = _clips(clips), fps or _fps(clips)
    count = min(count, *(len(pixels) for pixels in many.values()))
    rows = {label: pixels[_spread(len(pixels), count)] for label, pixels in many.items()}
    times = _spread(len(next(iter(many.values()))), count)
    above = [f"{t / rate:.2f} s" if rate else f"pixel frame {t}" for t in times]
    return _grid(rows, above, title=title, alt=alt or f"Film strip, {count} pixel frames of {_names(rows)}. {title}")


def slice_xt(
    clips: object, title: str, *, row: int | None = None, fps: float | None = None, alt: str | None = None
) -> Picture:
    """One row of pixels over time: what moves draws a slanted trace, what stands still a vertical one.

    `row` counts from the top (default: the middle).
    """
    many, rate = _clips(clips), fps or _fps(clips) or 16.0
    with styled():
        figure, axes = blank(title, columns=len(many), width=max(5.0, 3.4 * len(many)), height=3.2)
        for axis, (label, pixels) in zip(axes[0], many.items(), strict=True):
            chosen = pixels.shape[1] // 2 if row is None else row
            axis.imshow(pixels[:, chosen], aspect="auto", extent=(0, pixels.shape[2], len(pixels) / rate, 0))
            axis.set(xlabel="x [pixels]", ylabel="time [s]", title=label)
            axis.grid(False)
        text = alt or f"Pixel row over time of {_names(many)}. {title}"
        return picture(figure, alt=text, photographic=True)


def trajectory(
    sigmas: Values, rows: Mapping[str, np.ndarray | Tensor], title: str, *, columns: int = 7, alt: str | None = None
) -> Picture:
    """A walk from noise to data as strips: a row a quantity (N, H, W, 3) or (N, H, W), a column a noise level."""
    levels = _numpy(sigmas)
    chosen = _spread(len(levels), min(columns, len(levels)))
    strips = {label: _pictures(values)[chosen] for label, values in rows.items()}
    above = [f"σ = {levels[i]:.3g}" for i in chosen]
    text = alt or f"{_names(strips)} at {len(chosen)} noise levels from {levels[0]:.3g} to {levels[-1]:.3g}. {title}"
    return _grid(strips, above, title=title, alt=text)


def sigmas(grids: Mapping[str, Values], title: str, *, alt: str | None = None) -> Picture:
    """Noise levels by step, on a logarithmic axis; a level of 0 ends the line with a cross at the bottom."""
    with styled():
        figure, axes = blank(title)
        axis = axes[0, 0]
        lowest = min(float(values[values > 0].min()) for values in map(_numpy, grids.values()))
        for color, (label, grid) in zip(PALETTE, grids.items(), strict=False):
            values = _numpy(grid)
            positive = np.flatnonzero(values > 0)
            axis.plot(positive, values[positive], marker="o", markersize=3, color=color, label=label)
            if len(positive) < len(values):
                axis.plot(len(values) - 1, lowest / 3, marker="x", color=color, linestyle="none")
        axis.set(xlabel="step", ylabel="noise level σ", yscale="log")
        axis.xaxis.get_major_locator().set_params(integer=True)
        axis.legend()
        return picture(figure, alt=alt or f"Noise level by step for {_names(grids)}. {title}")


def lines(
    x: Values,
    curves: Mapping[str, Values],
    title: str,
    *,
    xlabel: str,
    ylabel: str,
    xscale: str = "linear",
    yscale: str = "linear",
    alt: str | None = None,
) -> Picture:
    """Curves over one x axis. A curve (runs, N) is drawn as its mean with the range of all runs behind it."""
    with plotted(title, xlabel=xlabel, ylabel=ylabel, alt=alt or f"{ylabel} over {xlabel}: {_names(curves)}. {title}",
                 xscale=xscale, yscale=yscale) as drawn:  # fmt: skip
        axis, place = drawn.axes, _numpy(x)
        for color, (label, curve) in zip(PALETTE, curves.items(), strict=False):
            values = np.atleast_2d(_numpy(curve))
            axis.plot(place, values.mean(0), marker="o" if len(place) < 40 else "", color=color, label=label)
            if len(values) > 1:
                axis.fill_between(place, values.min(0), values.max(0), color=color, alpha=0.15, linewidth=0)
        if xscale == "log" and len(place) < 12:
            axis.set_xticks(place, [f"{value:g}" for value in place])
            axis.minorticks_off()
        if len(curves) > 1:
            axis.legend()
    return drawn.picture


def attention_map(
    weights: Values, title: str, *, query: tuple[int, int, int], alt: str | None = None
) -> Picture:
    """Where one token looks, in space (a map a latent frame) and in time (its share of attention in each).

    weights (T, H, W), not negative; query (t, h, w) is the token that looks, marked with a cross. A map's brightness
    is the square root of the weight, or one strong token would hide all others.
    """
    maps = _numpy(weights)
    shares = maps.sum((1, 2)) / maps.sum()
    across = min(5, len(maps))
    down = ceil(len(maps) / across)
    with styled():
        from matplotlib.colors import PowerNorm
        from matplotlib.gridspec import GridSpec

        figure, axes = blank(title, width=9.6, height=1.3 * down + 0.7)
        axes[0, 0].remove()
        spec = GridSpec(down, across + 2, figure=figure)
        for t, weight in enumerate(maps):
            axis = figure.add_subplot(spec[t // across, t % across])
            axis.imshow(weight, norm=PowerNorm(0.5, vmin=0, vmax=maps.max()), interpolation="nearest")
            axis.set_title(f"latent frame {t}", fontsize=8)
            axis.set_axis_off()
            if t == query[0]:
                axis.plot(query[2], query[1], marker="x", color="cyan", markersize=7, markeredgewidth=2)
        axis = figure.add_subplot(spec[:, across:])
        axis.bar(np.arange(len(maps)), 100 * shares, color=[PALETTE[1] if t == query[0] else PALETTE[0]
                                                            for t in range(len(maps))])  # fmt: skip
        axis.set(xlabel="latent frame", ylabel="share of attention [%]")
        text = alt or f"Attention of token {query} over space and time. {title}"
        return picture(figure, alt=text)


def images(rows: Mapping[str, np.ndarray | Tensor], above: Sequence[str], title: str, *, alt: str) -> Picture:
    """A table of pictures: a row a label, (N, H, W, 3) or (N, H, W); `above` names the N columns."""
    return _grid({label: _pictures(values) for label, values in rows.items()}, above, title=title, alt=alt)


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> Table:
    """Values as a small table; numbers shortened to four digits."""
    texts = [tuple(f"{value:.4g}" if isinstance(value, float) else str(value) for value in row) for row in rows]
    return Table(tuple(header), tuple(texts))


def latent_picture(latents: Tensor) -> np.ndarray:
    """Latents (C, T, h, w) as uint8 (T, h, w, 3): the first three channels' directions of greatest variance as colors.

    Colors mean nothing across two calls; shapes and motion show.
    """
    columns = rearrange(latents.detach().float().cpu(), "c t h w -> (t h w) c")
    columns = columns - columns.mean(0)
    _, directions = torch.linalg.eigh(columns.T @ columns)
    three = columns @ directions[:, -3:]
    low, high = three.quantile(0.01, dim=0), three.quantile(0.99, dim=0)
    scaled = ((three - low) / (high - low).clamp(min=1e-6)).clamp(0, 1)
    _, t, h, w = latents.shape
    return rearrange((255 * scaled).round().to(torch.uint8), "(t h w) c -> t h w c", t=t, h=h, w=w).numpy()


@dataclass
class Drawn:
    """Axes to draw on (an array of them where several were asked for) and, once drawn, the picture."""

    axes: "Axes | np.ndarray"
    picture: Picture | None = None


@contextmanager
def plotted(
    title: str,
    *,
    xlabel: str,
    ylabel: str,
    alt: str,
    columns: int = 1,
    width: float | None = None,
    height: float = 3.4,
    xscale: str = "linear",
    yscale: str = "linear",
) -> Iterator[Drawn]:
    """Axes in the project's style: draw in the `with` block, then the picture is `drawn.picture`. Sizes in inches."""
    with styled():
        usual = 7.5 if columns == 1 else 9.6
        figure, axes = blank(title, columns=columns, width=width or usual, height=height)
        for axis in axes[0]:
            axis.set(xlabel=xlabel, ylabel=ylabel, xscale=xscale, yscale=yscale)
        drawn = Drawn(axes[0, 0] if columns == 1 else axes[0])
        yield drawn
        drawn.picture = picture(figure, alt=alt)


@contextmanager
def plot(
    title: str,
    *,
    xlabel: str,
    ylabel: str,
    alt: str,
    columns: int = 1,
    width: float | None = None,
    height: float = 3.4,
    xscale: str = "linear",
    yscale: str = "linear",
) -> Iterator["Axes"]:
    """`with show.plot(...) as ax:` gives axes to draw on (several with `columns`) and shows the figure at the end."""
    from IPython.display import display

    labels = {"xlabel": xlabel, "ylabel": ylabel, "xscale": xscale, "yscale": yscale}
    with plotted(title, alt=alt, columns=columns, width=width, height=height, **labels) as drawn:
        yield drawn.axes
    display(drawn.picture)


def _grid(rows: Mapping[str, np.ndarray], above: Sequence[str], *, title: str, alt: str) -> Picture:
    shape = next(iter(rows.values())).shape
    width = 9.6
    height = (width / len(above)) * shape[1] / shape[2] * len(rows) + 0.06 * len(rows) + 0.62
    with styled():
        figure, axes = blank(title, rows=len(rows), columns=len(above), width=width, height=height)
        figure.get_layout_engine().set(w_pad=0.02, h_pad=0.02, wspace=0.01, hspace=0.01)
        for r, (label, pictures) in enumerate(rows.items()):
            for c, shown in enumerate(pictures):
                axis = axes[r, c]
                axis.imshow(shown)
                axis.set(xticks=[], yticks=[])
                axis.spines[:].set_visible(False)
                if r == 0:
                    axis.set_title(above[c], fontsize=8, color=MUTED)
            if label:
                axes[r, 0].set_ylabel(label, fontsize=9)
        return picture(figure, alt=alt, photographic=True)


def _clips(clips: object) -> dict[str, np.ndarray]:
    many = clips if isinstance(clips, Mapping) else {"": clips}
    return {label: _pixel_frames(value) for label, value in many.items()}


def _pixel_frames(value: object) -> np.ndarray:
    pixels = getattr(value, "frames", value)
    pixels = pixels.numpy(force=True) if isinstance(pixels, Tensor) else pixels
    if not isinstance(pixels, np.ndarray) or pixels.dtype != np.uint8 or pixels.ndim != 4 or pixels.shape[-1] != 3:
        found = f"{getattr(pixels, 'dtype', type(pixels).__name__)} {getattr(pixels, 'shape', '')}"
        raise ValueError(f"a clip is uint8 (T, H, W, 3), or has such `frames`, not {found}")
    return pixels


def _fps(clips: object) -> float | None:
    first = next(iter(clips.values())) if isinstance(clips, Mapping) else clips
    return getattr(first, "fps", None)


def _pictures(values: np.ndarray | Tensor) -> np.ndarray:
    array = _numpy(values)
    if array.ndim == 4 and array.dtype == np.uint8:
        return array
    if array.ndim != 3:
        raise ValueError(f"pictures are uint8 (N, H, W, 3) or numbers (N, H, W), not {array.dtype} {array.shape}")
    low, high = (rearrange(np.quantile(array, q, axis=(1, 2)), "n -> n 1 1") for q in (0.01, 0.99))
    gray = np.clip((array - low) / np.maximum(high - low, 1e-6), 0, 1)
    return np.repeat((255 * gray).astype(np.uint8)[..., None], 3, axis=-1)


def _numpy(values: Values) -> np.ndarray:
    return values.detach().cpu().numpy() if isinstance(values, Tensor) else np.asarray(values)


def _spread(length: int, count: int) -> np.ndarray:
    return np.linspace(0, length - 1, count).round().astype(int)


def _names(labelled: Mapping[str, object]) -> str:
    return ", ".join(filter(None, labelled)) or "a clip"
