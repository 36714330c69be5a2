"""Figures: right pixels, alternative texts, no change of global state."""

import io
import re
import subprocess
import sys
from base64 import b64decode

import numpy as np
import pytest
import torch

from cosmos_lab import noise
from cosmos_lab.notebook import show, widgets
from cosmos_lab.notebook.figures import Picture
from cosmos_lab.notebook.source import source


@pytest.fixture(scope="module")
def clip():
    """A red square that moves right on gray: uint8 (9, 32, 48, 3)."""
    pixels = np.full((9, 32, 48, 3), 90, dtype=np.uint8)
    for t in range(9):
        pixels[t, 12:20, 4 * t : 4 * t + 8] = (220, 40, 40)
    return pixels


PICTURES = {
    "film_strip": lambda clip: show.film_strip({"a": clip, "b": clip}, "Takeaway", fps=16),
    "slice_xt": lambda clip: show.slice_xt(clip, "Takeaway", row=16),
    "sigmas": lambda clip: show.sigmas({"grid": torch.tensor([10.0, 1.0, 0.0])}, "Takeaway"),
    "trajectory": lambda clip: show.trajectory(range(9, 0, -1), {"x": clip, "gray": clip[..., 0]}, "Takeaway"),
    "attention_map": lambda clip: show.attention_map(np.ones((9, 4, 6)), "Takeaway", query=(1, 2, 3)),
    "lines": lambda clip: show.lines(
        [1, 2], {"a": [1, 2], "b": np.ones((8, 2))}, "Takeaway", xlabel="t [s]", ylabel="x [m]"
    ),
    "contact_sheet": lambda clip: widgets.contact_sheet(lambda i: clip[i], {"i": range(9)}, "T", alt="Takeaway"),
}


@pytest.mark.parametrize("name", PICTURES)
def test_pictures_have_content_and_alternative_text(name, clip):
    picture = PICTURES[name](clip)
    bundle, metadata = picture._repr_mimebundle_()
    assert "Takeaway" in metadata[picture.mime]["alt"]
    assert b64decode(bundle[picture.mime]) == picture.data
    assert picture.pixels().std() > 10
    assert len(picture.data) < 120_000


@pytest.mark.parametrize("name", ["film_strip", "lines"])
def test_pictures_are_the_same_bytes_each_time(name, clip):
    assert PICTURES[name](clip).data == PICTURES[name](clip).data


def test_nothing_global_changes(clip):
    import matplotlib

    before = dict(matplotlib.rcParams)
    for draw in PICTURES.values():
        draw(clip)
    assert dict(matplotlib.rcParams) == before


def test_import_pulls_no_plotting_library():
    heavy = "('matplotlib', 'ipywidgets', 'av', 'IPython')"
    code = f"import sys, cosmos_lab.notebook; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_looping_clip_embeds_the_pixel_frames(clip):
    import av

    text = show.clip({"left": clip, "right": clip}, alt="a square moves", fps=8)._repr_mimebundle_()["text/html"]
    assert text.count("<video") == 2 and text.count("loop autoplay muted") == 2 and "a square moves" in text
    data = b64decode(re.search(r"base64,([^\"]+)", text).group(1))
    with av.open(io.BytesIO(data)) as container:
        assert container.streams.video[0].average_rate == 8
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert len(frames) == 9
    # Lossy, with halved color resolution: the picture is right on average.
    assert np.abs(np.stack(frames).astype(float) - clip).mean() < 8


def test_slice_shows_the_row_over_time(clip):
    # A square moving right draws a red trace whose center moves right from the first rows to the last.
    pixels = show.slice_xt(clip, "Takeaway", row=16).pixels().astype(int)
    red = (pixels[..., 0] - pixels[..., 1]) > 80
    rows = np.flatnonzero(red.any(1))
    first, last = (np.flatnonzero(red[row]).mean() for row in (rows[0], rows[-1]))
    assert last - first > 0.3 * pixels.shape[1]


def test_attention_is_counted_by_latent_frame():
    weights = np.zeros((3, 2, 2))
    weights[1] = 1.0
    one = show.attention_map(weights, "Takeaway", query=(1, 0, 0))
    other = show.attention_map(weights[::-1], "Takeaway", query=(1, 0, 0))
    assert one.data == other.data
    assert one.data != show.attention_map(np.roll(weights, 1, axis=0), "Takeaway", query=(1, 0, 0)).data


def test_latent_picture():
    latents = noise.keyed(0, (1, 16, 3, 4, 6))[0]
    latents[:, :, :, 3:] += 5
    shown = show.latent_picture(latents)
    assert shown.shape == (3, 4, 6, 3) and shown.dtype == np.uint8
    # The two halves differ along the first direction, which becomes a color.
    left, right = shown[:, :, :3].mean((0, 1, 2)), shown[:, :, 3:].mean((0, 1, 2))
    assert np.abs(left - right).max() > 100


@pytest.mark.parametrize("wrong", [np.zeros((4, 8, 8, 3)), np.zeros((8, 8, 3), np.uint8), None, torch.zeros(2, 3)])
def test_what_is_no_clip_is_refused(wrong):
    with pytest.raises(ValueError, match="uint8"):
        show.film_strip(wrong, "Takeaway")


def test_plot_shows_itself(capsys):
    with show.plot("Takeaway", xlabel="a", ylabel="b", alt="a falls", columns=2) as (left, right):
        left.plot([1, 2])
        right.plot([2, 1])
    assert "a falls" in capsys.readouterr().out


def test_widget_redraws_when_its_slider_moves(clip):
    box = widgets.sliders(lambda i: clip[i], {"i": [0, 4, 8]}, width=320)
    slider, image = box.children
    assert int(image.width) == 320
    for value in (0, 8, 4):
        slider.value = value
        shown = Picture(data=bytes(image.value), alt="", width=1).pixels()
        assert np.array_equal(shown, clip[value])


def test_callback_and_sheet_agree(clip):
    def draw(i, j):
        return clip[i + j]

    assert np.array_equal(widgets.frame(draw, {"i": 1, "j": 2}).pixels(), clip[3])
    drawn = []
    options = {"i": [0, 1, 2], "j": [0, 5]}
    widgets.contact_sheet(lambda i, j: drawn.append((i, j)) or draw(i, j), options, "T", alt="t", columns=2)
    assert sorted(drawn) == [(0, 0), (0, 5), (2, 0), (2, 5)]
    with pytest.raises(ValueError, match="two sliders"):
        widgets.contact_sheet(draw, {"i": [0], "j": [0], "k": [0]}, "T", alt="t")


def test_explore_without_a_kernel_shows_the_sheet_only(clip, capsys):
    widgets.explore(lambda i: clip[i], {"i": [0, 8]}, "T", alt="sheet of two")
    assert capsys.readouterr().out.count("Picture") == 1


def test_source_is_the_librarys_text():
    shown = source(show.latent_picture)
    assert shown.file == "cosmos_lab/notebook/show.py"
    assert shown.text.startswith("def latent_picture(") and '"""' in shown.text
    bare = source(show.latent_picture, docstring=False).text
    assert '"""' not in bare and "eigh" in bare and bare.startswith("def latent_picture(")
    assert "```python" in shown._repr_mimebundle_()["text/markdown"]
