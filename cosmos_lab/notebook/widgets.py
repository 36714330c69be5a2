"""One interactive figure: a contact sheet that is always there, and sliders beside it while a kernel is alive.

The sheet is drawn by the same function that the sliders call, so a committed notebook shows what the widget shows.
"""

from collections.abc import Callable, Mapping, Sequence
from itertools import product

import numpy as np

from cosmos_lab.notebook.figures import Picture, blank, picture, styled

Option = float | int | str
Draw = Callable[..., Picture | np.ndarray]


def explore(
    draw: Draw, options: Mapping[str, Sequence[Option]], title: str, *, alt: str, columns: int = 4, width: int = 640
) -> None:
    """Shows the contact sheet of `draw` over its options and, with a live kernel, a slider for each option.

    draw: takes one or two keyword arguments, named by the keys of `options`, and returns a Picture or uint8
    (H, W, 3); at most 0.3 s a call, so precompute what is slow. columns: how many values of the first option the
    sheet shows. width: of the interactive picture, in screen pixels. Raises ValueError for no or more than two options.
    """
    from IPython.display import display

    display(contact_sheet(draw, options, title, alt=alt, columns=columns))
    if has_kernel():
        display(sliders(draw, options, width=width))


def contact_sheet(
    draw: Draw, options: Mapping[str, Sequence[Option]], title: str, *, alt: str, columns: int = 4
) -> Picture:
    """The pictures of evenly spaced option values: the first option runs across, the second, if any, down."""
    if not 1 <= len(options) <= 2:
        raise ValueError(f"an interactive figure has one or two sliders, not {len(options)}")
    names = list(options)
    across = _spaced(options[names[0]], columns)
    down = _spaced(options[names[1]], 3) if len(names) == 2 else [None]
    places = product(range(len(across)), range(len(down)))
    cells = {(i, j): _pixels(draw(**_chosen(names, (across[i], down[j])))) for i, j in places}
    shape = cells[0, 0].shape
    with styled():
        height = 9.6 / len(across) * shape[0] / shape[1] * len(down) + 0.2 * len(down) + 0.5
        figure, axes = blank(title, rows=len(down), columns=len(across), width=9.6, height=height)
        for (i, j), pixels in cells.items():
            axes[j, i].imshow(pixels)
            axes[j, i].set_axis_off()
            named = [f"{name} = {_short(value)}" for name, value in _chosen(names, (across[i], down[j])).items()]
            axes[j, i].set_title(", ".join(named), fontsize=8)
        return picture(figure, alt=alt, photographic=True)


def sliders(draw: Draw, options: Mapping[str, Sequence[Option]], *, width: int = 640) -> "ipywidgets.VBox":  # noqa: F821
    """The live part: a slider for each option above one image, redrawn when a slider moves."""
    import ipywidgets

    controls = {
        name: ipywidgets.SelectionSlider(
            options=[(_short(value), value) for value in values], value=values[0], description=name,
            continuous_update=False, layout=ipywidgets.Layout(width="480px"),
        )  # fmt: skip
        for name, values in options.items()
    }
    # Without a width the image is drawn at its natural size, which for a small clip is a postage stamp.
    image = ipywidgets.Image(format="png", width=width)

    def update(change: object = None) -> None:
        image.value = frame(draw, {name: control.value for name, control in controls.items()}).data

    for control in controls.values():
        control.observe(update, names="value")
    update()
    return ipywidgets.VBox([*controls.values(), image])


def frame(draw: Draw, values: Mapping[str, Option]) -> Picture:
    """What the widget shows for these option values: the callback, without any widget."""
    shown = draw(**values)
    if isinstance(shown, Picture) and shown.mime == "image/png":
        return shown
    return Picture.of_pixels(_pixels(shown), alt=", ".join(f"{name} {_short(value)}" for name, value in values.items()))


def has_kernel() -> bool:
    """Whether this code runs in a Jupyter kernel that can answer a slider."""
    from IPython import get_ipython

    return getattr(get_ipython(), "kernel", None) is not None


def _chosen(names: list[str], values: tuple[Option | None, ...]) -> dict[str, Option]:
    return {name: value for name, value in zip(names, values, strict=False) if value is not None}


def _spaced(values: Sequence[Option], count: int) -> list[Option]:
    places = np.linspace(0, len(values) - 1, min(count, len(values))).round().astype(int)
    return [values[i] for i in places]


def _pixels(shown: Picture | np.ndarray) -> np.ndarray:
    return shown.pixels() if isinstance(shown, Picture) else np.asarray(shown)


def _short(value: Option) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
