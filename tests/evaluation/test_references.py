"""Stored references come back as they were, to a quarter of a millimetre."""

import numpy as np
import pytest
from made_worlds import ball, cube, drop, rollout, scene

from cosmos_lab.evaluation.references import (
    METRES,
    draw_set,
    pack_rollouts,
    read_references,
    scenes_hash,
    unpack_rollouts,
    write_references,
)  # fmt: skip
from cosmos_lab.worlds.captions import describe


def test_packing_keeps_states_scenes_and_cameras():
    turning = rollout(scene([cube(name="a"), ball(), cube("pink", "c")], camera="orbit left"), [np.ones(3)] * 3)
    angle = np.linspace(0, 5 * np.pi, 33)
    turning.quaternion[:, 0] = np.stack([np.cos(angle), 0 * angle, np.sin(angle), 0 * angle], axis=1)
    for before, after in zip([drop(), turning], unpack_rollouts(pack_rollouts([drop(), turning])), strict=True):
        assert np.abs(after.position - before.position).max() <= METRES
        assert np.abs(after.quaternion - before.quaternion).max() < 1e-4
        assert np.array_equal(after.eye, before.eye) and after.scene.bodies == before.scene.bodies
        assert after.scene.facts == before.scene.facts and after.events == before.events


def test_far_away_bodies_are_refused():
    with pytest.raises(ValueError, match="farther than"):
        pack_rollouts([rollout(scene([ball()]), [np.full(3, 100.0)])])


def test_sets_are_simulated_stored_and_described(tmp_path):
    """The same captions before and after storage: they say where things start."""
    hashes = write_references(tmp_path, {"familiar": 3, "withheld": 2, "falls": 1, "rolls": 1})
    drawn, stored = draw_set("familiar", 3), read_references(tmp_path, "familiar")
    assert scenes_hash(drawn) == hashes["familiar"] == scenes_hash(stored) and len(stored) == 3
    assert [describe(r.scene, "dense").text for r in drawn] == [describe(r.scene, "dense").text for r in stored]
    assert read_references(tmp_path, "falls")[0].scene.motion == "bounce"
    assert read_references(tmp_path, "rolls")[0].scene.camera == "static"
    assert len({path.stat().st_size for path in tmp_path.iterdir()}) == 4


def test_unknown_and_missing_sets_are_named(tmp_path):
    with pytest.raises(ValueError, match="familiar, withheld, falls, rolls"):
        draw_set("strange")
    with pytest.raises(ValueError, match="make_references"):
        read_references(tmp_path, "falls")
