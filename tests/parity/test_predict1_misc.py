"""What was recorded of Predict1 beside tensors: its noise, its defaults, its count of conditional latent frames."""

import pytest
import torch
from golden_files import read_golden_json

from cosmos_lab import catalog
from cosmos_lab.nn.frame_counts import latent_frames
from cosmos_lab.noise import official

CARDS = [catalog.card(f"predict1-{size}-{task}") for size in ("7b", "14b") for task in ("text2world", "video2world")]


@pytest.fixture(scope="module")
def golden():
    return read_golden_json("predict1_misc")


def test_noise_equals_the_recorded_numbers(golden):
    small = official(1, (1, 1, 1, 2, 3)).reshape(2, 3)
    assert torch.equal(small, torch.tensor(golden["arch_invariant_rand_seed1_shape_2x3"]))
    first = official(42, (1, 16, 16, 88, 160)).flatten()[:5]
    assert torch.equal(first, torch.tensor(golden["arch_invariant_rand_seed42_first5_of_1x16x16x88x160"]).flatten())


def test_latent_frames_are_the_official_ones_wherever_those_are_right(golden):
    """The official function counts modulo 16, then modulo 121: it is right for what can be asked for, 1 and 9."""
    official_counts = dict(golden["compute_num_latent_frames_chunk121_16"])
    for card in CARDS:
        for count in card.pictures.conditional_pixel_frames:
            assert latent_frames(count, 8, 121) == official_counts[count]
    assert [latent_frames(count, 8, 121) for count in (1, 9, 25)] == [official_counts[count] for count in (1, 9, 25)]
    # 17 pixel frames are three latent frames, where the official function says one; nobody can ask for them.
    assert latent_frames(17, 8, 121) == 3 and official_counts[17] == 1
    with pytest.raises(ValueError, match="continues 1 or 9 pixel frames, not 17"):
        CARDS[1].check_conditional(17)


@pytest.mark.parametrize("card", CARDS, ids=lambda card: card.name)
def test_defaults_are_those_of_the_official_command(golden, card):
    defaults = {name: entry["default"] for name, entry in golden["cli_defaults"].items()}
    sampling, (height, width) = card.sampling, card.size_of()
    assert (sampling.num_steps, sampling.guidance, sampling.seed) == (
        defaults["--num_steps"], defaults["--guidance"], defaults["--seed"],
    )  # fmt: skip
    assert (height, width) == (defaults["--height"], defaults["--width"])
    assert (card.fps, card.num_pixel_frames) == (defaults["--fps"], defaults["--num_video_frames"])
