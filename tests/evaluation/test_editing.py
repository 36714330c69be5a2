"""Edits of known scenes: what is asked for, what counts as shown, what counts as kept, and the curve of it."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from made_worlds import drop, reading, track
from random_nano import pipe, random_nano  # noqa: F401 (fixtures)

from cosmos_lab.cli import main
from cosmos_lab.evaluation.edit_curve import EditExtent, best_strength, curve_figures, edit_clips
from cosmos_lab.evaluation.editing import KINDS, Outcome, by_kind, edit_cases, outcome, point, position_shift
from cosmos_lab.evaluation.reader import load_reader
from cosmos_lab.evaluation.reading import read
from cosmos_lab.evaluation.references import pack_rollouts, read_references
from cosmos_lab.evaluation.report import Evaluation
from cosmos_lab.pipelines.edit import edit
from cosmos_lab.runtime.checkpoints import find_folder
from cosmos_lab.worlds.captions import caption
from cosmos_lab.worlds.render import render
from cosmos_lab.worlds.split import is_withheld

NANO = find_folder("nano")
BALL = np.linspace([40.0, 30.0], [120.0, 90.0], 33)
CUBE = np.tile([150.0, 80.0], (33, 1))


@pytest.fixture(scope="module")
def cases():
    return dict(zip(KINDS, edit_cases([drop()] * 4, 4), strict=True))


def seen(ball="red", shape="box", shift=0.0, **clip):
    """A reading of `drop`: the falling ball, in a color, and the resting blue body, of a shape, both shifted."""
    blue = track(CUBE + [shift, 0], color="blue", shape=shape)
    return reading([track(BALL + [shift, 0], color=ball), blue], **({"count": "2"} | clip))


def test_an_edit_changes_one_attribute_and_nothing_else(cases):
    for kind, case in cases.items():
        assert case.kind == kind and case.old != case.new and not is_withheld(case.after.scene)
        before, after = case.before.scene, case.after.scene
        changed = {name for name in ("floor", "light") if getattr(before, name) != getattr(after, name)}
        for old, new in zip(before.bodies, after.bodies, strict=True):
            changed |= {name for name in ("color", "shape") if getattr(old, name) != getattr(new, name)}
        assert changed == {kind} and case.caption.text != caption(before, "dense")
    assert edit_cases([drop()] * 4, 4)[0].new == cases["color"].new


def test_a_body_of_another_shape_stands_on_the_same_floor(cases):
    case = cases["shape"]
    old, new = (rollout.scene.body("cube").size for rollout in (case.before, case.after))
    half = {"sphere": new[0], "cylinder": new[1]}[case.new]
    moved = case.after.track("cube") - case.before.track("cube")
    assert np.allclose(moved, [0, 0, half - old[2]]) and half != old[2]


def test_scenes_that_do_not_suffice_are_named():
    alone = drop()
    scene = replace(alone.scene, bodies=alone.scene.bodies[:1], facts=alone.scene.facts | {"resting": []})
    with pytest.raises(ValueError, match="only 3 of 4 edits"):
        edit_cases([replace(alone, scene=scene, position=alone.position[:, :1])] * 4, 4)


@pytest.mark.parametrize(
    ("kind", "right", "wrong"),
    [
        ("color", lambda case: seen(ball=case.new), lambda case: seen(ball="orange")),
        ("floor", lambda case: seen(floor=case.new), lambda case: seen(floor="lava")),
        ("light", lambda case: seen(light=case.new), lambda case: seen(light="dark")),
        ("shape", lambda case: seen(shape=case.new), lambda case: seen(shape="capsule")),
    ],
)
def test_only_the_right_edit_is_shown(cases, kind, right, wrong):
    case, before, pixels = cases[kind], seen(), np.zeros((33, 4, 4, 3), dtype=np.uint8)

    def judged(found):
        return outcome(case, pixels + 3, pixels, found, before)

    assert judged(right(case)).shown and judged(right(case)).whole
    # The input itself, another edit, and a clip that cannot be read score 0.
    assert not any(judged(found).shown for found in (before, wrong(case), replace(right(case), certainty=0.1)))
    # The change alone is not the whole prompt.
    other = replace(right(case), clip=right(case).clip | {"motion": "roll left"})
    assert judged(other).shown and not judged(other).whole
    assert judged(before).change == 3


def test_a_color_that_stands_beside_the_old_one_is_no_edit(cases):
    case = cases["color"]
    both = reading([track(BALL), track(CUBE, color="blue", shape="box"), track(BALL + 9, color=case.new)], count="3")
    assert not outcome(case, *[np.zeros((1, 2, 2, 3))] * 2, both, seen()).shown


def test_positions_are_compared_object_by_object(cases):
    case = cases["color"]
    assert position_shift(seen(ball=case.new, shift=5.0), seen(), case) == pytest.approx(5.0)
    # Also a ball that kept its color has a place; one that is gone has none.
    assert position_shift(seen(shift=1.0), seen(), case) == pytest.approx(1.0)
    assert position_shift(reading([track(CUBE, color="blue")]), seen(), case) == np.inf
    assert position_shift(seen(ball="orange"), seen(), cases["floor"]) == np.inf


def made(kind="color", shown=True, shift=1.0):
    return Outcome(kind=kind, shown=shown, whole=False, shift=shift, change=4.0)


def test_the_best_strength_keeps_positions():
    weak = [made(shown=False), made("floor"), made("floor", shift=9.0)]
    strong = [made(shift=8.0), made("floor", shift=1.0), made("floor", shift=np.inf)]
    curve = {0.3: weak, 0.8: strong}
    points = {strength: point(outcomes) for strength, outcomes in curve.items()}
    assert points[0.8].shown == 1 and points[0.8].kept == pytest.approx(1 / 3)
    assert points[0.3].both == pytest.approx(1 / 3) and points[0.3].shift == 1.0
    assert best_strength(points) == 0.3 and best_strength(points | {0.2: points[0.3]}) == 0.2
    assert by_kind(weak)["floor"].shown == 1 and by_kind(weak)["color"].shown == 0
    known = {name: [made(kind) for kind in ("color", "floor")] for name in ("unedited", "rendered", "reconstructed")}
    figures = {figure.name: figure for figure in curve_figures(curve, known)}
    assert figures["edits: shown and each within 2 px"].value == pytest.approx(1 / 3)
    assert figures["edits: shown and each within 2 px"].met is False
    assert figures["edits: floor, at that strength"].value == 0.5
    assert figures["edits of strength 0.8: shown"].value == 1


def test_every_edit_is_a_single_call(pipe, cases):  # noqa: F811
    given = np.random.default_rng(0).integers(0, 255, (2, 33, 112, 192, 3), dtype=np.uint8)
    extent = EditExtent(edits=2, num_steps=2, seed=3)
    chosen = [cases["color"], cases["floor"]]
    clips = edit_clips(pipe, chosen, given, 0.5, extent, progress=False)
    alone = edit(pipe, given[1], chosen[1].caption.text, strength=0.5, num_steps=2, seed=3001, progress=False,
                 source_prompt=caption(chosen[1].before.scene, "dense"))  # fmt: skip
    assert np.array_equal(clips[1], alone.frames)
    other = edit_clips(pipe, chosen, given, 0.5, replace(extent, source_prompts=False), progress=False)
    assert not np.array_equal(clips[1], other[1])


def test_the_command_measures_and_keeps(pipe, random_nano, tmp_path, monkeypatch, capsys):  # noqa: F811
    """With random weights, the ruler of the embedded model, and two edits of scenes that do nothing but fall."""
    (tmp_path / "eval").mkdir()
    np.savez_compressed(tmp_path / "eval" / "familiar.npz", **pack_rollouts([drop(1.35), drop(1.1)]))
    monkeypatch.setattr("cosmos_lab.evaluation.edit_curve.render", partial(render, samples=1))
    command = ["evaluate", str(random_nano), "--only", "edits", "--folder", str(tmp_path), "--device", "cpu", "--quiet"]
    command += ["--reader", str(NANO / "reader.safetensors")]
    command += ["--edits", "2", "--strengths", "0", "1", "--num_steps", "1"]
    assert main([*command, "--save_path", str(tmp_path / "editing.json")]) == 0
    assert "edits of strength 1: shown" in capsys.readouterr().out
    found = Evaluation.load(tmp_path / "editing.json")
    unedited, noise = (found.figure(f"edits of strength {strength}: shown") for strength in (0, 1))
    # The ruler reads the rendered edits, nothing in the input, and nothing in what random weights make.
    assert unedited.rendered >= 0.5 and unedited.value == unedited.baseline == 0 and noise.value == 0
    assert found.figure("edits of strength 0: positions").value == 0
    assert found.figure("edits: shown and each within 2 px").value == 0
    assert found.details["curve"]["rendered"]["all"]["number"] == 2
    assert found.provenance["weights"] == pipe.model.digest and found.provenance["extent"]["edits"] == 2


def test_the_extent_is_checked():
    with pytest.raises(ValueError, match="at least 1 edit"):
        EditExtent(edits=0)


def test_the_ruler_tells_rendered_edits_from_their_inputs():
    reader = load_reader(NANO / "reader.safetensors")
    cases = edit_cases(read_references(NANO / "eval", "familiar", 24), 4)[:2]
    given, target = (render([getattr(case, when) for case in cases], samples=1).pixels for when in ("before", "after"))
    before, after = read(reader, given), read(reader, target)

    def judged(clips, readings):
        return [outcome(*row) for row in zip(cases, clips.numpy(), given.numpy(), readings, before, strict=True)]

    assert all(found.shown and found.shift < 2 for found in judged(target, after))
    assert not any(found.shown for found in judged(given, before)) and point(judged(given, before)).change == 0


@pytest.mark.parametrize("name", ["editing", "editing_gentle"])
def test_the_record_is_of_these_weights(name):
    record, whole = (Evaluation.load(NANO / f"{name}.json") for name in (name, "evaluation"))
    assert record.provenance["weights"] == whole.provenance["weights"]
    curve = record.details["curve"]
    assert curve["unedited"]["all"]["shown"] == 0 and curve["rendered"]["all"]["shown"] > 0.8
    assert record.figure("edits: shown and each within 2 px").number == record.provenance["extent"]["edits"]
