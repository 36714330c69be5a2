"""Exercises of notebook 01: which pixel frames make which latent frame, and a causal convolution that streams."""

import torch
from torch import Tensor

from cosmos_lab.nn.factorized import repeat_first
from cosmos_lab.nn.frame_counts import latent_frames
from cosmos_lab.notebook.exercise import Exercise, Mistake


def _latents(num_pixel_frames: int, temporal_factor: int) -> list[int]:
    kept = num_pixel_frames - (num_pixel_frames - 1) % temporal_factor
    return [latent_frames(i + 1 + -i % temporal_factor, temporal_factor) - 1 if i < kept else -1
            for i in range(num_pixel_frames)]  # fmt: skip


def _count_cases() -> dict[str, dict[str, object]]:
    counts = ((16, 4), (33, 4), (18, 4), (1, 8), (64, 8), (25, 8))
    return {f"{count} pixel frames, factor {factor}": {"num_pixel_frames": count, "temporal_factor": factor}
            for count, factor in counts}  # fmt: skip


def _none_alone(num_pixel_frames: int, temporal_factor: int) -> list[int]:
    kept = num_pixel_frames // temporal_factor * temporal_factor
    return [i // temporal_factor if i < kept else -1 for i in range(num_pixel_frames)]


def _nothing_cut(num_pixel_frames: int, temporal_factor: int) -> list[int]:
    return [-(-i // temporal_factor) for i in range(num_pixel_frames)]


def _first_shares(num_pixel_frames: int, temporal_factor: int) -> list[int]:
    """Pixel frame 0 joins the group behind it."""
    return [latent if latent < 1 else latent - 1 for latent in _latents(num_pixel_frames, temporal_factor)]


def _one_too_low(num_pixel_frames: int, temporal_factor: int) -> list[int]:
    return [-1 if latent < 0 else latent - 1 for latent in _latents(num_pixel_frames, temporal_factor)]


def _counted_from_one(num_pixel_frames: int, temporal_factor: int) -> list[int]:
    return [-1 if latent < 0 else latent + 1 for latent in _latents(num_pixel_frames, temporal_factor)]


latent_of_each = Exercise(
    task="The latent frame of each pixel frame, -1 for those that must be cut",
    solution=_latents,
    cases=_count_cases,
    mistakes=(
        Mistake(answer=_none_alone, hint="pixel frame 0 makes a latent frame alone; only the others come in groups"),
        Mistake(answer=_nothing_cut, hint="a group that is not full makes no latent frame: its pixel frames get -1"),
        Mistake(answer=_first_shares, hint="pixel frame 0 shares latent frame 0 with nobody: the first group makes 1"),
        Mistake(answer=_one_too_low, hint="all are one too low: -1 is for what is cut; pixel frame 0 makes latent 0"),
        Mistake(answer=_counted_from_one, hint="the groups are right, but latent frames are counted from 0"),
    ),
    tolerance=0.0,
    xlabel="pixel frame",
    ylabel="latent frame",
)


def _one_pass(x: Tensor, weight: Tensor, size: int) -> Tensor:
    return _convolve(repeat_first(x[None, None], 2)[0, 0], weight)


def _convolve(extended: Tensor, weight: Tensor) -> Tensor:
    """Every output from three neighbors of a row that already has its past in front: two fewer values."""
    return extended.unfold(0, 3, 1) @ weight


def _stream_cases() -> dict[str, dict[str, object]]:
    wave = 1 + torch.sin(torch.arange(13, dtype=torch.float64))
    weight = torch.tensor([0.2, 0.3, 0.5], dtype=torch.float64)
    ramp = torch.linspace(1, 3, 9, dtype=torch.float64) ** 2
    return {
        "13 values, 4 at a time": {"x": wave, "weight": weight, "size": 4},
        "9 values, 2 at a time": {"x": ramp, "weight": torch.tensor([-1.0, 0.5, 2.0]).double(), "size": 2},
        "all at once": {"x": ramp, "weight": weight, "size": 9},
        "one at a time": {"x": wave, "weight": weight, "size": 1},
    }


def _no_memory(x: Tensor, weight: Tensor, size: int) -> Tensor:
    return torch.cat([_one_pass(chunk, weight, size) for chunk in x.split(size)])


def _one_value_remembered(x: Tensor, weight: Tensor, size: int) -> Tensor:
    past, out = x[:1].repeat(2), []
    for chunk in x.split(size):
        extended = torch.cat([past, chunk])
        out.append(_convolve(extended, weight))
        past = extended[-1:].repeat(2)
    return torch.cat(out)


def _zeros_in_front(x: Tensor, weight: Tensor, size: int) -> Tensor:
    return _convolve(torch.cat([torch.zeros_like(x[:1]).repeat(2), x]), weight)


def _centered(x: Tensor, weight: Tensor, size: int) -> Tensor:
    return _convolve(torch.cat([x[:1], x, x[-1:]]), weight)


def _reversed_weight(x: Tensor, weight: Tensor, size: int) -> Tensor:
    return _one_pass(x, weight.flip(0), size)


def _outputs_remembered(x: Tensor, weight: Tensor, size: int) -> Tensor:
    past, out = x[:1].repeat(2), []
    for chunk in x.split(size):
        out.append(_convolve(torch.cat([past, chunk]), weight))
        past = torch.cat([past, out[-1]])[-2:]
    return torch.cat(out)


stream_conv = Exercise(
    task="A causal convolution, chunk by chunk",
    solution=_one_pass,
    cases=_stream_cases,
    mistakes=(
        Mistake(answer=_no_memory, hint="every chunk begins as if it were the first: carry the last inputs over"),
        Mistake(
            answer=_one_value_remembered,
            hint="one value of the past is not enough: three weights see two earlier inputs",
        ),
        Mistake(answer=_zeros_in_front, hint="before the clip there are no zeros here: value 0 is repeated"),
        Mistake(answer=_centered, hint="your output looks one value into the future: pad on the left only"),
        Mistake(answer=_reversed_weight, hint="the weights are turned around: the last one belongs to the present"),
        Mistake(answer=_outputs_remembered, hint="the memory holds outputs; the next chunk needs the last inputs"),
    ),
    tolerance=1e-9,
    xlabel="position",
    ylabel="output",
)
