"""Which colors are objects: mixed edges and halos join their objects, changes of color stay visible."""

from pathlib import Path

import pytest
import torch

from cosmos_lab import video
from cosmos_lab.evaluation.colors import CELL, PROVEN_AREA, PROVEN_PRESENCE, object_mass, proven_colors, settle_colors
from cosmos_lab.evaluation.labels import BACKGROUND, COLOR_NAMES, PROP
from cosmos_lab.evaluation.reader import load_reader
from cosmos_lab.runtime.checkpoints import find_folder

RED, ORANGE, YELLOW, PINK = (COLOR_NAMES.index(name) for name in ("red", "orange", "yellow", "pink"))
LENGTH = 12
ALWAYS = slice(None)


def painted(*patches):
    """Shares (1, T, 10, 56, 96) of rectangles (color, rows, columns, pixel frames), later ones in front."""
    classes = torch.full((LENGTH, 56, 96), BACKGROUND)
    for color, rows, columns, times in patches:
        classes[times, rows, columns] = color
    return torch.nn.functional.one_hot(classes, len(COLOR_NAMES)).permute(0, 3, 1, 2)[None].float()


def proven(colors):
    """The proven colors of one clip, in the order of COLOR_NAMES."""
    return proven_colors(colors).nonzero()[:, 1].tolist()


BALL = (RED, slice(20, 30), slice(20, 30), ALWAYS)
BLOCK = (YELLOW, slice(20, 30), slice(31, 41), ALWAYS)


def test_a_color_is_proven_by_its_size_and_by_its_duration():
    small = (ORANGE, slice(20, 24), slice(50, 54), ALWAYS)
    brief = (PINK, slice(40, 50), slice(50, 60), slice(0, 2))
    assert proven(painted(BALL, small, brief)) == [RED]


def blurred(*patches, times, columns=slice(27, 34), share=0.75):
    """The patches, and for some pixel frames an orange of which nobody can be quite sure."""
    mixed = painted(*patches, (ORANGE, slice(22, 30), columns, times))
    return share * mixed + (1 - share) * painted(*patches)


def test_a_brief_blur_between_two_objects_is_none_but_a_brief_object_is():
    apart = (PINK, slice(40, 50), slice(50, 60), slice(4, 7))
    inside = (PINK, slice(22, 29), slice(28, 35), slice(4, 7))
    assert proven(blurred(BALL, BLOCK, times=slice(4, 7))) == [RED, YELLOW]
    assert proven(painted(BALL, BLOCK, apart)) == proven(painted(BALL, BLOCK, inside)) == [RED, YELLOW, PINK]


def test_a_brief_blur_in_the_open_is_an_object():
    assert proven(blurred(BALL, BLOCK, times=slice(4, 7), columns=slice(60, 67))) == [RED, ORANGE, YELLOW]
    # Around four of these ten columns, more than a tenth is red.
    assert proven(blurred(BALL, times=slice(4, 7), columns=slice(30, 40))) == [RED, ORANGE]


def test_what_lasts_a_third_of_the_clip_is_an_object_between_others_too():
    for pixel_frames in (3, 4):
        shown = blurred(BALL, BLOCK, times=slice(4, 4 + pixel_frames))
        assert (ORANGE in proven(shown)) == (pixel_frames == 4)


def test_what_lasts_but_is_unsure_throughout_is_an_object_only_in_the_open():
    """Stripes that blur while a row falls look like a third color for as long as it falls."""
    assert proven(blurred(BALL, BLOCK, times=slice(0, 12), share=0.6)) == [RED, YELLOW]
    assert proven(blurred(BALL, BLOCK, times=slice(0, 12), columns=slice(60, 67), share=0.6)) == [RED, ORANGE, YELLOW]


# In the open: whatever else there is, this one stays an object.
FAR_BLOCK = (PINK, slice(40, 50), slice(60, 70), ALWAYS)
WEDGE = (PROP, slice(20, 32), slice(24, 40), ALWAYS)


def test_a_prop_that_light_tints_is_no_object_however_long_it_lasts():
    for share in (0.6, 0.75):
        for times in (ALWAYS, slice(4, 7)):
            assert proven(blurred(FAR_BLOCK, WEDGE, times=times, share=share)) == [PINK]


@torch.no_grad()
def test_a_wedge_in_evening_light_is_read_as_orange_and_taken_for_no_object():
    """The clip is a rendered ramp (family "ramp", seed 60600006) as nano drew it again from sigma 1."""
    clip = video.read(Path(__file__).parents[1] / "recorded" / "tinted_wedge.mp4")
    reader = load_reader(find_folder("nano") / "reader.safetensors")
    colors = reader(video.to_network(clip.pixels)).colors.softmax(dim=2)
    area = CELL**2 * object_mass(colors)[0, :, ORANGE].sum(dim=(1, 2))
    assert (area > PROVEN_AREA).sum() > PROVEN_PRESENCE
    assert proven(colors) == [YELLOW, COLOR_NAMES.index("purple")]


def test_what_lies_beside_a_prop_is_no_tint_of_it():
    """Around the wedge means that it fills a tenth of what is within reach: so it does in the first three columns."""
    assert proven(blurred(WEDGE, times=ALWAYS, columns=slice(40, 44))) == []
    assert proven(blurred(WEDGE, times=ALWAYS, columns=slice(40, 45))) == [ORANGE]


def test_what_is_surely_an_object_is_one_inside_a_prop_too():
    assert proven(blurred(WEDGE, times=ALWAYS, share=0.85)) == [ORANGE]
    assert proven(painted(WEDGE, (RED, slice(22, 30), slice(27, 35), slice(4, 7)))) == [RED]


def test_a_long_clip_asks_no_longer_of_an_object_than_one_of_33_pixel_frames():
    """Eleven pixel frames are a third of a clip, and enough in a video of several."""
    for times in (10, 11):
        shown = blurred(BALL, BLOCK, times=slice(0, times))
        assert (ORANGE in proven(torch.cat([shown] + [painted(BALL, BLOCK)] * 5, dim=1))) == (times == 11)


def test_every_clip_of_a_batch_is_judged_by_itself():
    both = torch.cat([blurred(BALL, BLOCK, times=slice(4, 7)), blurred(BALL, BLOCK, times=slice(2, 9))])
    assert proven_colors(both)[:, ORANGE].tolist() == [False, True]


def test_a_ball_that_turns_pink_in_the_open_shows_two_colors():
    pink = (PINK, slice(20, 30), slice(20, 30), slice(5, 8))
    assert proven(painted(BALL, pink)) == [RED, PINK]


def test_a_short_clip_proves_what_it_shows_throughout():
    assert proven(painted(BALL)[:, :1]) == [RED]


def test_a_mixed_edge_goes_to_the_objects_beside_it():
    made = painted(BALL, BLOCK, (ORANGE, slice(22, 30), slice(29, 31), ALWAYS))
    settled = settle_colors(made)
    assert settled[:, :, ORANGE].sum() == 0 and torch.allclose(settled.sum(dim=2), torch.ones(1, LENGTH, 56, 96))
    edge = settled[0, 0, :, 25, 29:31]
    # Most of it stays with objects, more with the nearer one.
    assert edge[[RED, YELLOW]].sum() > 1.5 and edge[RED, 0] > edge[RED, 1]


def test_settled_shares_of_clear_objects_are_what_they_were():
    made = painted(BALL, BLOCK, (PROP, slice(0, 5), slice(0, 90), ALWAYS))
    assert torch.equal(settle_colors(made), made)


def test_a_ball_that_turns_pink_for_a_moment_is_gone_then():
    settled = settle_colors(painted(BALL, (PINK, slice(20, 30), slice(20, 30), slice(5, 7))))
    area = settled[0, :, RED].sum(dim=(1, 2))
    assert area[4] == area[7] == pytest.approx(100) and area[5:7].max() == 0
    assert settled[0, 5, BACKGROUND, 25, 25] == pytest.approx(1)
