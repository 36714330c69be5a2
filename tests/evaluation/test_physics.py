"""Gravity, fall times and speeds from tracks whose laws are known."""

from dataclasses import replace

import numpy as np
import pytest
from made_worlds import FPS, GRAVITY, LENGTH, falling_heights, track

from cosmos_lab.evaluation.falls import Fall, fall_time_ratios, fallen, flight_end, measure_fall
from cosmos_lab.evaluation.physics import Lens, ball_radius, camera_path, speed_kept, sphere_depth
from cosmos_lab.evaluation.physics_figures import median_figure
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
    assert fall.gravity == pytest.approx(GRAVITY, rel=0.01)
    # 8 pixel frames of the fall, and of the rebound those until the next contact.
    assert 8 + 8 < fall.num_pixel_frames < 8 + 15 and fall.is_from_rest
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


def test_a_flight_ends_where_falling_does():
    drop = 1.4 - falling_heights(1.4, RADIUS)
    contact = np.sqrt(2 * (1.4 - RADIUS) / GRAVITY) * FPS
    end = int(contact) + 1
    assert flight_end(drop) == flight_end(drop, least=-0.02) == end
    # The rebound has 0.8 of the speed, up and down again.
    assert flight_end(drop, end) == int(contact * (1 + 2 * 0.8)) + 1
    rising = 0.1 * np.arange(20.0) ** 2 - 1.2 * np.arange(20.0)
    assert flight_end(rising, least=-0.02) == 2 and flight_end(rising) == 20


def test_what_blur_takes_from_a_fall_it_gives_to_the_rebound():
    """Positions lag behind by the square of the speed: up to 4 of the 10 pixels of a step."""
    lens = Lens()
    made, _ = seen_fall(lens)
    late, steps = made.position.copy(), np.diff(made.position, axis=0)
    late[1:] -= 0.04 * steps * np.abs(steps)
    blurred = replace(made, position=late)
    alone = 2 * np.polyfit(np.arange(8) / FPS, fallen(blurred, RADIUS, lens)[:8], 2)[0]
    both = measure_fall(blurred, RADIUS, lens)
    assert both.num_pixel_frames > 14
    assert alone < 0.9 * GRAVITY and abs(both.gravity - GRAVITY) < 0.5 * abs(alone - GRAVITY)


def test_a_fall_without_a_rebound_has_a_gravity_but_no_duration():
    lens = Lens()
    made, drop = seen_fall(lens)
    lying = replace(made, position=np.where(np.arange(LENGTH)[:, None] < 8, made.position, made.position[8]))
    fall = measure_fall(lying, RADIUS, lens)
    assert fall.gravity == pytest.approx(GRAVITY, rel=0.02)
    assert np.isnan(fall.seconds) and fall.num_pixel_frames == 8


def test_a_fall_seen_only_from_its_middle_is_not_from_rest():
    lens = Lens()
    made, _ = seen_fall(lens)
    fall = measure_fall(replace(made, whole=made.whole & (np.arange(LENGTH) >= 3)), RADIUS, lens)
    assert fall.gravity == pytest.approx(GRAVITY, rel=0.02) and fall.speed == pytest.approx(GRAVITY * 3 / FPS, rel=0.05)
    assert not fall.is_from_rest and len(fall_time_ratios([fall, fall])) == 0


def test_fall_times_go_with_the_root_of_the_height():
    lens = Lens(pitch=10.0)
    falls = [measure_fall(seen_fall(lens, start=start)[0], RADIUS, lens) for start in (0.8, 1.1, 1.5)]
    ratios = fall_time_ratios(falls)
    # Pairs closer than 1.3 in squared time are left out; a fall that ends between pixel frames costs 1 %.
    assert len(ratios) == 3 and ratios == pytest.approx(np.ones(3), abs=0.03)


def falls(seconds, heights):
    return [Fall(gravity=GRAVITY, seconds=float(time), height=float(height), speed=0.0, num_pixel_frames=8)
            for time, height in zip(seconds, heights, strict=True)]  # fmt: skip


def test_lawful_falls_are_lawful_however_badly_their_heights_are_read():
    """Pairs by height, of which a tenth is noise, would have a median of 0.94."""
    rng = np.random.default_rng(0)
    heights = rng.uniform(0.5, 1.35, 200)
    seconds = np.sqrt(2 * heights / GRAVITY) * np.exp(0.02 * rng.standard_normal(200))
    read = falls(seconds, heights * np.exp(0.1 * rng.standard_normal(200)))
    assert np.median(fall_time_ratios(read)) == pytest.approx(1.0, abs=0.015)
    by_height = [(b.seconds / a.seconds) ** 2 / (b.height / a.height) for a in read for b in read
                 if b.height >= 1.3 * a.height]  # fmt: skip
    assert np.median(by_height) == pytest.approx(0.94, abs=0.01)


def test_falls_that_all_take_the_same_time_or_too_nearly_so_are_caught():
    rng = np.random.default_rng(0)
    heights, chance = rng.uniform(0.5, 1.35, 200), rng.standard_normal(200)
    assert len(fall_time_ratios(falls(np.full(200, 0.4), heights))) == 0
    assert np.median(fall_time_ratios(falls(0.4 * np.exp(0.08 * chance), heights))) > 1.3
    # Times that go with the power 0.4 of the height, not with its root.
    assert np.median(fall_time_ratios(falls(0.4 * heights**0.4 * np.exp(0.02 * chance), heights))) < 0.92
    lens = Lens(pitch=10.0)
    cheats = [measure_fall(seen_fall(lens, start=RADIUS + h, gravity=8 * h)[0], RADIUS, lens) for h in (0.5, 1.0)]
    none = fall_time_ratios(cheats)
    assert len(none) == 0
    # Renders have a ratio: to show none is to miss it.
    shown = dict.fromkeys(("rendered", "reconstructed", "truth"), np.ones(3))
    assert median_figure("physics: fall-time ratio", 1.0, {"model": none, **shown}).met is False


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
