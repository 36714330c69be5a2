"""The catalog: shapes of every model as its publishers give them, and refusals that name the fix."""

import pytest

from cosmos_lab import catalog


@pytest.mark.parametrize(
    "name, tokens",
    [
        ("nano", 756),
        ("cosmos1-7b-text2world", 56320),
        ("predict2-2b-text2image", 4080),
        ("predict2-2b-video2world-720p-16fps", 84480),
        ("predict2-14b-video2world-720p-10fps", 56320),
        ("predict2-2b-video2world-480p-16fps", 31104),
        ("predict2-14b-video2world-480p-10fps", 20736),
        ("predict2.5-2b-post-trained", 84480),
    ],
)
def test_number_of_tokens(name, tokens):
    card = catalog.card(name)
    assert card.num_tokens(card.num_pixel_frames, *card.size_of()) == tokens


def test_every_card_is_legal_in_all_its_sizes():
    assert len(catalog.cards()) > 20
    for card in catalog.cards().values():
        assert card.check_pixel_frames() == card.num_pixel_frames
        for resolution, table in card.sizes.items():
            for aspect in table:
                assert card.size_of(resolution, aspect) == table[aspect][::-1]
        for count in card.pictures.conditional_pixel_frames:
            assert card.check_conditional(count) == count < card.num_pixel_frames
        if card.first_frame:
            assert "text2image" in catalog.card(card.first_frame).tasks


def test_defaults_are_the_generations_own():
    nano, predict2, predict1 = (catalog.card(name) for name in (
        "nano", "predict2-2b-video2world-720p-16fps", "predict1-7b-video2world"))  # fmt: skip
    assert (predict2.sampling.num_steps, predict2.sampling.guidance, predict2.fps) == (35, 7.0, 16)
    assert (predict1.sampling.seed, predict1.fps, predict1.num_pixel_frames) == (1, 24, 121)
    assert predict1.pictures.conditional_pixel_frames == (1, 9)
    assert nano.negative_prompt == "" and len(predict2.negative_prompt) == 538
    assert {card.sampling.guidance_form for card in catalog.cards().values()} == {"cond"}


def test_refusals_name_the_nearest():
    nano, predict2 = catalog.card("nano"), catalog.card("predict2-2b-video2world-720p-16fps")
    with pytest.raises(ValueError, match="use 33 or 37"):
        nano.check_pixel_frames(35)
    with pytest.raises(ValueError, match="makes 93 pixel frames"):
        predict2.check_pixel_frames(33)
    with pytest.raises(ValueError, match="nearest size that it can is 192x112"):
        nano.size_of((110, 200 - 10))
    with pytest.raises(ValueError, match="nearest size that it can is 16x16"):
        nano.size_of((1, 1))
    with pytest.raises(ValueError, match="resolution '480' is unknown; choose one of 720"):
        predict2.size_of("480")
    with pytest.raises(ValueError, match="did you mean predict2-2b-text2image"):
        catalog.card("predict2-2b-text2img")
