"""Gravity, fall times and speeds from tracks whose laws are known."""

import numpy as np
import pytest
from made_worlds import FPS, GRAVITY, LENGTH, falling_heights, track

from cosmos_lab.evaluation.physics import (
    Lens,
    ball_radius,
    camera_path,
    fall_time_ratios,
    fallen,
    first_contact,
    measure_fall,
    speed_kept,
    sphere_depth,
)  # fmt: skip
from cosmos_lab.worlds.scene import SIZES

RADIUS = ball_radius("large")


def project(path, lens, radius=RADIUS):
    """Exact picture of spheres at camera coordinates path (T, 3): centroid and area of the ellipse."""
    x, y, z = path.T
    scale = lens.focal * z / (z**2 - radius**2)
    position = np.stack([lens.width / 2 + x * scale, lens.height / 2 + y * scale], axis=1)
    distance = np.sqrt((path**2).sum(axis=1) - radius**2)
    return position, np.pi * lens.focal**2 * radius**2 * distance / (z**2 - radius**2) ** 1.5


def seen_fall(lens, start=1.4, gravity=GRAVITY, depth=4.0, frames=LENGTH):
    """A track of a ball that falls down the world's vertical and bounces."""
    drop = start - falling_heights(start, RADIUS, gravity)[:frames]
    pitch = np.radians(lens.pitch)
    path = np.stack([np.full(frames, 0.3), -0.6 + drop * np.cos(pitch), depth + drop * np.sin(pitch)], axis=1)
    position, area = project(path, lens)
    return track(position, area=area), drop


@pytest.mark.parametrize("pitch", [0.0, 8.0, 20.0])
def test_gravity_of_a_parabola(pitch):
    lens = Lens(pitch=pitch)
    made, drop = seen_fall(lens)
    assert np.abs(fallen(made, RADIUS, lens) - drop)[made.whole].max() < 0.01
    fall = measure_fall(made, RADIUS, lens)
    assert fall.gravity == pytest.approx(GRAVITY, rel=0.01) and fall.num_pixel_frames == 8
    assert fall.seconds == pytest.approx(np.sqrt(2 * fall.height / GRAVITY), rel=0.01)


@pytest.mark.parametrize("gravity", [4.9, 14.7])
def test_another_gravity_is_told(gravity):
    lens = Lens(pitch=10.0)
    assert measure_fall(seen_fall(lens, gravity=gravity)[0], RADIUS, lens).gravity == pytest.approx(gravity, rel=0.02)


def test_a_wrong_size_gives_a_wrong_gravity():
    lens = Lens(pitch=10.0)
    fall = measure_fall(seen_fall(lens)[0], ball_radius("small"), lens)
    assert fall.gravity == pytest.approx(GRAVITY * ball_radius("small") / RADIUS, rel=0.03)


def test_depth_of_a_sphere_off_the_axis():
    lens = Lens()
    path = np.array([[1.0, -0.5, 4.0], [-1.4, 0.6, 5.0], [0.0, 0.0, 3.0]])
    position, area = project(path, lens)
    assert sphere_depth(area, position, RADIUS, lens) == pytest.approx(path[:, 2], rel=5e-3)


def test_no_fall_no_figure():
    still = track(np.tile([90.0, 50.0], (LENGTH, 1)), area=400)
    assert measure_fall(track(np.zeros((LENGTH, 2)), area=0), RADIUS, Lens()) is None
    fall = measure_fall(still, RADIUS, Lens())
    assert fall is None or abs(fall.gravity) < 0.1


def test_first_contact_is_where_falling_ends():
    drop = 1.4 - falling_heights(1.4, RADIUS)
    contact = np.sqrt(2 * (1.4 - RADIUS) / GRAVITY) * FPS
    assert first_contact(drop) == int(contact) + 1


def test_fall_times_go_with_the_root_of_the_height():
    lens = Lens(pitch=10.0)
    falls = [measure_fall(seen_fall(lens, start=start)[0], RADIUS, lens) for start in (0.8, 1.1, 1.5)]
    ratios = fall_time_ratios(falls)
    # Pairs closer than 1.3 in height say little and are left out; a fall that ends between pixel frames costs 1 %.
    assert len(ratios) == 3 and ratios == pytest.approx(np.ones(3), abs=0.03)


def test_falls_that_all_take_the_same_time_are_caught():
    lens = Lens(pitch=10.0)
    cheats = [measure_fall(seen_fall(lens, start=RADIUS + h, gravity=8 * h)[0], RADIUS, lens) for h in (0.5, 1.0)]
    assert fall_time_ratios(cheats) == pytest.approx([0.5], abs=0.05)


def rolling(speeds, lens, start=(-1.2, 0.5, 4.0), direction=(1.0, 0.0, 0.0)):
    distance = np.concatenate([[0], np.cumsum(np.asarray(speeds[1:]) / FPS)])
    path = np.asarray(start) + distance[:, None] * np.asarray(direction)
    return project(path, lens), path


@pytest.mark.parametrize("direction", [(1.0, 0.0, 0.0), (0.6, 0.0, 0.8), (0.0, 0.1, -0.99)])
def test_speed_is_kept_whatever_the_direction(direction):
    lens = Lens()
    (position, area), path = rolling(np.full(LENGTH, 0.8), lens, direction=direction)
    made = track(position, area=area)
    assert speed_kept(made, RADIUS, lens) == pytest.approx(1.0, abs=0.02)
    assert np.nanmax(np.abs(camera_path(made, RADIUS, lens) - path)) < 0.03


def test_a_ball_that_slows_down_is_caught():
    lens = Lens()
    (position, area), _ = rolling(np.linspace(1.2, 0.4, LENGTH), lens)
    assert speed_kept(track(position, area=area), RADIUS, lens) == pytest.approx(0.6, abs=0.05)


def test_partly_hidden_pixel_frames_are_left_out():
    lens = Lens()
    (position, area), _ = rolling(np.full(LENGTH, 0.8), lens)
    covered = slice(12, 18)
    area[covered] *= 0.5
    position[covered] += [4.0, 0.0]
    assert speed_kept(track(position, area=area), RADIUS, lens) == pytest.approx(1.0, abs=0.02)


def test_sizes_are_the_captions_words():
    assert ball_radius("small") < ball_radius("large") == SIZES["sphere"]["large"][0]
    with pytest.raises(ValueError, match="small or large"):
        ball_radius("huge")
