"""Long takes keep moving, and come back from storage as they were."""

import numpy as np
import pytest

from cosmos_lab.evaluation.takes import (
    KINDS,
    NUM_PIXEL_FRAMES,
    NUMBER,
    draw_takes,
    kind_of,
    read_takes,
    write_takes,
)  # fmt: skip
from cosmos_lab.runtime.checkpoints import find_folder
from cosmos_lab.worlds.split import is_withheld


@pytest.fixture(scope="module")
def takes():
    return dict(zip(KINDS, draw_takes(3), strict=True))


def chunks(values, size=28):
    return np.split(values[5:], np.arange(size, len(values) - 5, size))


def test_takes_are_of_their_kind_and_long_enough(takes):
    for kind, take in takes.items():
        assert kind_of(take.scene) == kind and len(take.position) == NUM_PIXEL_FRAMES == 173
        assert not is_withheld(take.scene)


def test_something_moves_in_every_chunk(takes):
    for take in takes.values():
        for chunk in chunks(take.track(take.scene.facts["actors"][0])):
            assert np.ptp(chunk, axis=0).max() > 0.1
    still = takes["arm"].track("base")
    assert all(np.ptp(chunk) == 0 for chunk in chunks(still[:, 0]))


def test_the_camera_circles_at_an_even_pace(takes):
    orbit = takes["orbit"]
    offset = orbit.eye - orbit.target
    angle = np.unwrap(np.arctan2(offset[:, 1], offset[:, 0]))
    assert np.degrees(np.abs(angle[32] - angle[0])) == pytest.approx(24)
    assert np.allclose(np.diff(angle), angle[1] - angle[0]) and np.allclose(np.linalg.norm(offset[:, :2], axis=1),
                                                                           np.hypot(*offset[0, :2]))  # fmt: skip
    assert np.ptp(takes["pendulum"].eye, axis=0).max() == 0


def test_the_arm_sets_its_load_down_and_lifts_it_again(takes):
    height = takes["arm"].track("load")[:, 2]
    starts = [0, 64, 128]
    assert np.ptp([height[start + 3] for start in starts[1:]]) < 0.01
    assert all(height[start + 28 : start + 36].max() > height[0] + 0.25 for start in starts)
    assert height[60:80].min() < height[0] + 0.03


def test_takes_are_stored(tmp_path):
    write_takes(tmp_path, 2)
    for before, after in zip(draw_takes(2), read_takes(tmp_path), strict=True):
        assert np.abs(before.position - after.position).max() < 3e-4 and np.abs(before.eye - after.eye).max() < 1e-6
    stored = read_takes(find_folder("nano") / "eval")
    assert len(stored) == NUMBER and [kind_of(take.scene) for take in stored[:3]] == list(KINDS)
    assert len(read_takes(tmp_path, 1)) == 1
