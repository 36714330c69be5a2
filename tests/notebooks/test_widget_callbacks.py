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


@pytest.fixture(scope="module")
def blocks():
    """Notebook 02's callback over attention that is made up: the ball looks at one token of latent frame 5."""
    found = definitions("02_dit_blocks.ipynb", {"lit", "mark", "draw"})
    looks = found["torch"].full((2, 1, 756, 756), 1e-6)
    looks[0, 0, :, 5 * 84 + 3 * 12 + 4] = 1
    found.update(pixels=np.full((9, 112, 192, 3), 200, dtype=np.uint8), looks=looks, ball=0)
    return found


def test_blocks_lights_what_a_head_looks_at(blocks):
    shown = widgets.frame(blocks["draw"], {"block": 0, "head": 0}).pixels()
    assert shown.shape == (3 * 112, 3 * 192, 3)
    # Latent frame 5 is the right one of the middle row; token (3, 4) covers 16 by 16 pixels from (48, 64) on.
    bright = (shown == 200).all(-1)
    assert bright[112 + 48 : 112 + 64, 2 * 192 + 64 : 2 * 192 + 80].all() and bright.sum() == 256
    # The token that looks is framed, in the middle of the nine.
    assert (shown[112:128, 192 + 3 : 208] == (0, 255, 255)).all(-1).sum() >= 13


def test_blocks_answers_within_a_third_of_a_second(blocks):
    begin = process_time()
    widgets.frame(blocks["draw"], {"block": 1, "head": 0})
    assert process_time() - begin < 0.3


@pytest.fixture(scope="module")
def tokenizer():
    """The callback of 01 on one latent clip of its own, with the shipped tokenizer."""
    import torch

    import cosmos_lab

    found = definitions("01_the_tokenizer.ipynb", {"quantize", "draw"})
    vae = cosmos_lab.load("nano").model.vae.requires_grad_(False)
    column = torch.linspace(-1, 1, 192).expand(3, 3, 5, 112, 192)
    found.update(vae=vae, latents=vae.encode(column))
    return found


def test_tokenizer_draws_nearer_pictures_with_more_bits_and_channels(tokenizer):
    best = tokenizer["vae"].decode(tokenizer["latents"][2:3])[0, :, -1].permute(1, 2, 0).numpy()

    def error(bits, channels):
        pixels = widgets.frame(tokenizer["draw"], {"bits": bits, "channels": channels}).pixels()
        assert pixels.shape == (112, 192, 3)
        return np.abs(pixels / 127.5 - 1 - best.clip(-1, 1)).mean()

    assert error(8, 16) < 0.02 < error(1, 16)
    assert error(8, 16) < error(8, 4)


def test_tokenizer_answers_within_a_third_of_a_second(tokenizer):
    spent = []
    for _ in range(3):
        begin = process_time()
        widgets.frame(tokenizer["draw"], {"bits": 4, "channels": 16})
        spent.append(process_time() - begin)
    assert min(spent) < 0.3


def plain_clip(value: int, length: int = 17) -> np.ndarray:
    return np.full((length, 112, 192, 3), value, dtype=np.uint8)


def test_world_shows_the_picture_that_the_words_ask_for():
    world = definitions("00_a_world_in_ten_lines.ipynb", {"draw"})
    world["painted"] = {("red", "wooden"): plain_clip(10)[0], ("red", "sandy"): plain_clip(20)[0]}
    shown = widgets.frame(world["draw"], {"color": "red", "floor": "sandy"}).pixels()
    assert shown.shape == (112, 192, 3) and (shown == 20).all()


def test_conditioning_shows_truth_and_generation_side_by_side():
    conditioning = definitions("05_conditioning_frames.ipynb", {"draw"})
    later = plain_clip(30)
    later[16] = 40
    conditioning["pairs"] = {1: (plain_clip(10), plain_clip(20)), 5: (plain_clip(10), later)}
    shown = widgets.frame(conditioning["draw"], {"given": 5, "pixel_frame": 16}).pixels()
    assert shown.shape[0] == 112 and (shown[:, :192] == 10).all() and (shown[:, -192:] == 40).all()
    assert (widgets.frame(conditioning["draw"], {"given": 5, "pixel_frame": 15}).pixels()[:, -192:] == 30).all()
