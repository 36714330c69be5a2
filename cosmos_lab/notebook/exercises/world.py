"""Exercises of notebook 00: the size of a world in latents, and a score against a world that stands still."""

import numpy as np
import torch

from cosmos_lab.noise import keyed
from cosmos_lab.notebook.exercise import Exercise, Mistake


def _shape(num_pixel_frames: int, height: int, width: int) -> tuple[int, int, int, int]:
    return 16, 1 + (num_pixel_frames - 1) // 4, height // 8, width // 8


def _shape_cases() -> dict[str, dict[str, object]]:
    return {
        "nano's clip": {"num_pixel_frames": 33, "height": 112, "width": 192},
        "a single picture": {"num_pixel_frames": 1, "height": 112, "width": 192},
        "a clip of Predict2": {"num_pixel_frames": 93, "height": 704, "width": 1280},
    }


def _no_first_frame(num_pixel_frames: int, height: int, width: int) -> tuple[int, int, int, int]:
    return 16, num_pixel_frames // 4, height // 8, width // 8


def _patches(num_pixel_frames: int, height: int, width: int) -> tuple[int, int, int, int]:
    return 16, 1 + (num_pixel_frames - 1) // 4, height // 16, width // 16


def _width_first(num_pixel_frames: int, height: int, width: int) -> tuple[int, int, int, int]:
    return 16, 1 + (num_pixel_frames - 1) // 4, width // 8, height // 8


def _time_kept(num_pixel_frames: int, height: int, width: int) -> tuple[int, int, int, int]:
    return 16, num_pixel_frames, height // 8, width // 8


def _colors(num_pixel_frames: int, height: int, width: int) -> tuple[int, int, int, int]:
    return 3, 1 + (num_pixel_frames - 1) // 4, height // 8, width // 8


latent_shape = Exercise(
    task="The shape of a clip's latents",
    solution=_shape,
    cases=_shape_cases,
    mistakes=(
        Mistake(answer=_no_first_frame, hint="where is the first latent frame? It holds one pixel frame"),
        Mistake(answer=_patches, hint="16 is the side of a token; a latent covers a square of 8 by 8 pixels"),
        Mistake(answer=_width_first, hint="height comes before width, as in all shapes of this project"),
        Mistake(answer=_time_kept, hint="you counted pixel frames; four of them share one latent frame"),
        Mistake(answer=_colors, hint="pixels have 3 colors, but latents have 16 channels"),
    ),
    tolerance=1e-9,
    xlabel="axis: channel, time, height, width",
    ylabel="size",
)


def _clips(seed: int, drift: float) -> tuple[np.ndarray, np.ndarray]:
    """A generated clip and the true one, uint8 (6, 8, 12, 3): a bar that moves, in the first too slowly."""
    floor = 40 * keyed(seed, (1, 3, 6, 8, 12)).sigmoid()[0].permute(1, 2, 3, 0)
    column = torch.arange(12.0)[None, None, :, None]

    def bar(speed: float) -> np.ndarray:
        place = 2 + speed * torch.arange(6.0)[:, None, None, None]
        return (floor + 200 * (-((column - place) ** 2)).exp()).to(torch.uint8).numpy()

    return bar(drift), bar(1.5)


def _score_cases() -> dict[str, dict[str, object]]:
    made = {"nearly right": (0, 1.2, 2), "too slow": (1, 0.3, 2), "one given pixel frame": (2, 1.0, 1)}
    clips = {label: (*_clips(seed, drift), count) for label, (seed, drift, count) in made.items()}
    return {label: {"clip": c, "truth": t, "num_given": n} for label, (c, t, n) in clips.items()}


def _error(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.abs(a.astype(np.float64) - b).mean((1, 2, 3))


def _score(clip: np.ndarray, truth: np.ndarray, num_given: int) -> np.ndarray:
    return _against(clip, truth, num_given, guess=truth[num_given - 1])


def _against(clip: np.ndarray, truth: np.ndarray, num_given: int, guess: np.ndarray) -> np.ndarray:
    return _error(clip, truth)[num_given:] / _error(guess[None], truth)[num_given:]


def _repeats_the_first(clip: np.ndarray, truth: np.ndarray, num_given: int) -> np.ndarray:
    return _against(clip, truth, num_given, guess=truth[0])


def _repeats_its_own(clip: np.ndarray, truth: np.ndarray, num_given: int) -> np.ndarray:
    return _against(clip, truth, num_given, guess=clip[num_given - 1])


def _upside_down(clip: np.ndarray, truth: np.ndarray, num_given: int) -> np.ndarray:
    return 1 / _score(clip, truth, num_given)


def _difference(clip: np.ndarray, truth: np.ndarray, num_given: int) -> np.ndarray:
    return (_error(clip, truth) - _error(truth[num_given - 1][None], truth))[num_given:]


def _wraps_around(clip: np.ndarray, truth: np.ndarray, num_given: int) -> np.ndarray:
    moved = np.abs(clip[num_given:] - truth[num_given:]).mean((1, 2, 3))
    return moved / np.abs(truth[num_given - 1] - truth[num_given:]).mean((1, 2, 3))


def _squared(clip: np.ndarray, truth: np.ndarray, num_given: int) -> np.ndarray:
    truth = truth.astype(np.float64)
    error, rival = ((one - truth[num_given:]) ** 2 for one in (clip[num_given:], truth[num_given - 1]))
    return error.mean((1, 2, 3)) / rival.mean((1, 2, 3))


against_repeating = Exercise(
    task="The error of a clip over that of repeating the last given pixel frame",
    solution=_score,
    cases=_score_cases,
    mistakes=(
        Mistake(answer=_repeats_the_first, hint="you repeat the first given pixel frame; the last is the better guess"),
        Mistake(answer=_repeats_its_own, hint="repeat what was given, a pixel frame of the truth, not of the clip"),
        Mistake(answer=_upside_down, hint="upside down: a good continuation shall have a small score"),
        Mistake(answer=_difference, hint="a difference depends on how bright the scene is; a ratio does not: divide"),
        Mistake(answer=_wraps_around, hint="uint8 wraps around: 3 - 5 is 254. Turn the pixels into floats first"),
        Mistake(answer=_squared, hint="you square the differences; the score is made of absolute ones"),
    ),
    tolerance=1e-9,
    xlabel="generated pixel frame",
    ylabel="score",
)
