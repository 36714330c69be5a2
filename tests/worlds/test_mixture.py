"""What a mixture holds more of, and that it leaves everything else as it is."""

from collections import Counter

import numpy as np
import pytest

from cosmos_lab.worlds.families import FAMILIES, sample_rollout, stream
from cosmos_lab.worlds.mixture import EVEN, Mixture, simulate_many


def test_families_are_drawn_by_their_odds():
    mixture = Mixture(family_odds={"fall": 3.0, "tower": 0.0})
    counts = Counter(mixture.family(seed) for seed in range(3000))
    assert counts["tower"] == 0 and set(counts) == set(FAMILIES) - {"tower"}
    # 3 of 9 parts, and 1 of 9; three deviations are 0.026 and 0.018.
    assert abs(counts["fall"] / 3000 - 1 / 3) < 0.026 and abs(counts["roll"] / 3000 - 1 / 9) < 0.018
    assert EVEN.family(0) is None
    with pytest.raises(ValueError, match="one family or odds of several"):
        list(simulate_many(range(1), family="fall", mixture=mixture))


def test_objects_lie_about_by_their_odds():
    def resting(mixture: Mixture) -> list[int]:
        return [len(rollout.scene.facts["resting"]) for rollout in simulate_many(range(24), "roll", mixture=mixture)]

    assert set(resting(Mixture(resting=(1, 0, 0, 0)))) == {0}
    alone, crowded = np.mean(resting(EVEN)), np.mean(resting(Mixture(resting=(0, 0, 1, 3))))
    assert crowded > alone + 0.5
    # Odds, not shares.
    assert resting(Mixture(resting=(6, 6, 5, 3))) == resting(EVEN)


def test_a_negative_seed_is_refused():
    for draw in (lambda: EVEN.rollout(-1), lambda: list(simulate_many([-1])), lambda: EVEN.family(-1) or stream(-1, 0)):
        with pytest.raises(ValueError, match="seeds are 0 or more, not -1"):
            draw()


@pytest.mark.parametrize("asked, said", [
    ({"resting": (1, 1)}, "resting takes the odds of 0, 1, 2 and 3 objects"),
    ({"resting": (1, 1, 1, -1)}, "resting takes the odds of 0, 1, 2 and 3 objects"),
    ({"piled": "sphere"}, "towers are piled up of box or cylinder, not of 'sphere'"),
])  # fmt: skip
def test_a_scene_that_cannot_be_drawn_is_refused(asked, said):
    with pytest.raises(ValueError, match=said):
        sample_rollout(0, "tower", **asked)


@pytest.mark.parametrize("asked, said", [
    ({"family_odds": {"sky": 1.0}}, "family_odds are numbers from 0 on, not all 0, of fall, roll"),
    ({"family_odds": {"fall": -1.0}}, "family_odds are numbers from 0 on"),
    ({"family_odds": {"fall": float("nan")}}, "family_odds are numbers from 0 on"),
    ({"family_odds": dict.fromkeys(FAMILIES, 0.0)}, "family_odds are numbers from 0 on"),
    ({"resting": (1.0, 1.0)}, "odds of 0, 1, 2 and 3 objects"),
    ({"resting": (0, 0, 0, 0)}, "odds of 0, 1, 2 and 3 objects"),
    ({"later": 1.0}, "later is a share of the clips, from 0 to below 1"),
    ({"drums": -0.1}, "drums is a share of the towers"),
])  # fmt: skip
def test_what_cannot_be_drawn_is_refused(asked, said):
    with pytest.raises(ValueError, match=said):
        Mixture(**asked)
