"""What may vanish and what may not."""

import numpy as np
import pytest
from made_worlds import paint, reading, track

from cosmos_lab.evaluation.doubles import components
from cosmos_lab.evaluation.labels import COLOR_NAMES, PROP
from cosmos_lab.evaluation.obedience import counted
from cosmos_lab.evaluation.permanence import departures, grown, permanence_faults

LENGTH = 12
RADIUS = 4


def along(start, step, hidden=()):
    centers = np.array(start, dtype=float) + np.outer(np.arange(LENGTH), step)
    centers[list(hidden)] = np.nan
    return centers


def seen(discs, prop=None):
    """The reading of painted discs: tracks measured on the very masks that are shown."""
    classes = paint(discs, prop=prop, length=LENGTH)
    tracks = []
    for color in dict.fromkeys(disc[0] for disc in discs):
        mask = classes == COLOR_NAMES.index(color)
        area = 4.0 * mask.sum(axis=(1, 2))
        cells = [np.argwhere(m) for m in mask]
        centers = np.array([c[:, ::-1].mean(axis=0) * 2 + 1 if len(c) else (0, 0) for c in cells])
        spread = np.array([c[:, ::-1].std(axis=0) * 2 if len(c) else (0, 0) for c in cells])
        border = np.array([m[[0, -1]].any() or m[:, [0, -1]].any() for m in mask])
        made = track(centers, color=color, area=area, whole=~border)
        made.spread[:] = spread
        tracks.append(made)
    return reading(tracks, classes=classes)


def test_things_that_stay_or_move_are_fine():
    discs = [("red", along((20, 20), (3, 0)), RADIUS), ("blue", along((70, 40), (0, 0)), RADIUS)]
    assert permanence_faults(seen(discs)) == ()


def test_vanishing_into_nothing_is_caught():
    faults = permanence_faults(seen([("red", along((20, 20), (3, 0), hidden=range(7, 12)), RADIUS)]))
    assert faults == ("red vanishes at pixel frame 7",)


def test_appearing_from_nothing_is_caught():
    faults = permanence_faults(seen([("red", along((20, 20), (3, 0), hidden=range(4)), RADIUS)]))
    assert faults == ("red appears at pixel frame 3",)


def test_a_blink_is_caught_twice():
    faults = permanence_faults(seen([("red", along((20, 20), (0, 0), hidden=(5, 6)), RADIUS)]))
    assert len(faults) == 2


def test_a_change_of_color_is_caught():
    place = along((40, 30), (1, 0))
    before, after = place.copy(), place.copy()
    before[6:], after[:6] = np.nan, np.nan
    faults = permanence_faults(seen([("red", before, RADIUS), ("green", after, RADIUS)]))
    assert {fault.split()[0] for fault in faults} == {"red", "green"}


@pytest.mark.parametrize("step", [(8, 0), (-8, 0)])
def test_leaving_the_picture_is_fine(step):
    start = (50, 30) if step[0] > 0 else (46, 30)
    assert permanence_faults(seen([("red", along(start, step), RADIUS)])) == ()


def test_entering_the_picture_is_fine():
    assert permanence_faults(seen([("red", along((-12, 30), (8, 0)), RADIUS)])) == ()


def test_passing_behind_a_screen_is_fine():
    assert permanence_faults(seen([("red", along((10, 30), (6, 0)), RADIUS)], prop=(20, 45, 34, 52))) == ()


def test_passing_behind_a_lasting_object_is_fine():
    passing = seen([("red", along((10, 30), (6, 0)), RADIUS), ("blue", along((44, 30), (0, 0)), 9)])
    assert permanence_faults(passing) == ()


def test_vanishing_beside_a_screen_is_caught():
    gone = seen([("red", along((10, 10), (3, 0), hidden=range(5, 12)), RADIUS)], prop=(30, 50, 30, 60))
    assert permanence_faults(gone) == ("red vanishes at pixel frame 5",)


def rolled_up_to(screen):
    """A slow disc at a screen's edge, gone when two columns of it are left: what a ball's white mark looks like."""
    return seen([("red", along((20, 30), (1, 0), hidden=range(6, 12)), RADIUS)], prop=screen)


def test_what_is_half_hidden_may_go_beside_its_cover():
    assert permanence_faults(rolled_up_to((20, 45, 24, 52))) == ()


def test_what_is_half_hidden_may_not_go_away_from_its_cover():
    """The same disc, the same moment, but the screen leaves eight columns free."""
    assert permanence_faults(rolled_up_to((20, 45, 34, 52))) == ("red vanishes at pixel frame 6",)


def test_a_mask_grows_on_all_sides_and_stops_at_the_border():
    mask = np.zeros((6, 7), dtype=bool)
    mask[0, 3] = True
    wide = grown(mask, 2)
    assert wide[:3, 1:6].all() and wide.sum() == 15


def test_doubles_are_caught_but_towers_may_fall_apart():
    split = along((50, 30), (2, 0))
    other = along((50, 30), (-3, 0))
    doubled = seen([("red", split, RADIUS), ("red", other, RADIUS)])
    assert permanence_faults(doubled) == ("red is there twice at times",)
    assert permanence_faults(doubled, groups=("red",)) == ()


def twins(hidden=()):
    """Two red discs that rest apart; the second one shows no body in the pixel frames `hidden`."""
    return seen([("red", along((20, 30), (0, 0)), RADIUS), ("red", along((60, 30), (0, 0), hidden=hidden), RADIUS)])


def test_twins_that_were_there_all_along_are_one_too_many_but_permanent():
    resting = twins()
    assert permanence_faults(resting) == () and counted(resting) == 2
    # One pixel frame of twelve is less than a tenth: a flicker of the mask.
    assert permanence_faults(twins(hidden=[5])) == ()


def test_a_twin_that_is_half_hidden_or_touches_the_other_for_a_while_is_still_there():
    """For half of the clip a screen covers half of the second disc, or the second comes close to the first."""
    covered = twins()
    behind = covered.classes[6:, :, 60:]
    behind[behind == COLOR_NAMES.index("red")] = PROP
    nearing = along((60, 30), (0, 0))
    nearing[4:8, 0], nearing[8:, 0] = 29, 27
    touching = seen([("red", along((20, 30), (0, 0)), RADIUS), ("red", nearing, RADIUS)])
    for doubled in (covered, touching):
        assert permanence_faults(doubled) == () and counted(doubled) == 2


def test_a_small_twin_beside_a_large_body_is_counted():
    pair = seen([("red", along((30, 30), (0, 0)), 12), ("red", along((75, 30), (0, 0)), RADIUS)])
    assert permanence_faults(pair) == () and counted(pair) == 2


def test_crumbs_are_no_twin_and_do_not_stand_for_one_that_is_gone():
    """Five cells far from the only disc; and three that are left of the second disc for half of the clip."""
    alone = seen([("red", along((20, 30), (0, 0)), RADIUS), ("red", along((75, 30), (0, 0)), 1)])
    assert counted(alone) == 1
    halved = twins(hidden=range(6, LENGTH))
    halved.classes[6:, 15, 58:61] = COLOR_NAMES.index("red")
    assert permanence_faults(halved) == ("red is there twice at times",)


@pytest.mark.parametrize("hidden", [[0], [LENGTH - 1], range(6), range(6, LENGTH), (5, 6)])
def test_a_twin_that_comes_or_goes_is_caught(hidden):
    assert permanence_faults(twins(hidden=hidden)) == ("red is there twice at times",)


@pytest.mark.parametrize("radius, post, step", [(6, 3, 0.3), (8, 3, 0.3), (6, 5, 0), (7, 7, 0), (8, 8, 0), (10, 8, 0)])
def test_a_thing_seen_on_both_sides_of_a_post_is_one(radius, post, step):
    left = 48 - post // 2
    parted = seen([("red", along((47.5, 30), (step, 0)), radius)], prop=(10, 50, left, left + post))
    assert permanence_faults(parted) == () and counted(parted) == 1


def test_twins_on_both_sides_of_a_post_are_two():
    apart = seen([("red", along((25, 30), (0, 0)), 6), ("red", along((70, 30), (0, 0)), 6)], prop=(10, 50, 45, 50))
    assert counted(apart) == 2


def test_a_small_twin_that_goes_is_not_replaced_by_the_other_one_that_grows():
    """The larger disc comes nearer all along, by a tenth of a cell a pixel frame."""
    still = along((25, 28), (0, 0))
    grown_disc = seen([("red", along((70, 28), (0, 0), hidden=range(6, LENGTH)), RADIUS), ("red", still, 11)])
    rows, columns = np.mgrid[:56, :96]
    for t in range(LENGTH):
        near = (rows - 28) ** 2 + (columns - 25) ** 2 <= (11 + 0.1 * t) ** 2
        grown_disc.classes[t][near] = COLOR_NAMES.index("red")
    assert permanence_faults(grown_disc) == ("red is there twice at times",)


def test_departures_need_more_than_a_shrinking_area():
    made = track(np.zeros((6, 2)), area=[300, 300, 120, 60, 60, 300])
    assert departures(made) == []
    assert departures(track(np.zeros((6, 2)), area=[300, 300, 40, 0, 0, 300])) == [(1, 3)]


def test_components_are_counted():
    mask = np.zeros((8, 9), dtype=bool)
    mask[1:3, 1:3] = mask[3, 3] = mask[6:, 6:] = True
    labels = components(mask)
    assert labels.max() == 2 and labels[1, 1] == labels[3, 3] != labels[7, 8] and (labels[~mask] == 0).all()
    assert components(np.ones((3, 3), dtype=bool)).tolist() == [[1] * 3] * 3
    assert components(np.zeros((3, 3), dtype=bool)).max() == 0
