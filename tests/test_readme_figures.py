"""The figures of the README are those of the records that the commands wrote."""

import json
from pathlib import Path

import pytest

from cosmos_lab.catalog import nano_card
from cosmos_lab.evaluation.report import Evaluation

ROOT = Path(__file__).parents[1]
NANO = ROOT / "assets" / "nano"
README = (ROOT / "README.md").read_text(encoding="utf-8")
PROSE = " ".join(README.split())
NAMES = ("evaluation", "guidance", "editing", "editing_gentle", "long_video", "one_try")
RECORDS = {name: Evaluation.load(NANO / f"{name}.json") for name in NAMES}


def percent(record: str, figure: str) -> str:
    return f"{100 * RECORDS[record].figure(figure).value:.0f} %"


def value(record: str, figure: str) -> float:
    return RECORDS[record].figure(figure).value


def seconds(path: Path) -> tuple[str, str]:
    """Peak and duration of a clip as the README writes them; extrapolated ones are marked."""
    found = json.loads(path.read_text())
    peak = max(stage["peak_gb"] for stage in found["stages"].values())
    return f"{peak:.1f} GB", f"{found['clip_seconds']:.0f}" + (" *" if found["extrapolated"] else "")


def test_the_table_of_nano_is_its_record():
    lines = README.split("<!-- nano: begin -->")[1].split("<!-- nano: end -->")[0].splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith("| figure "))
    rows = lines[start + 2 : lines.index("", start)]
    assert len(rows) > 20 and set(rows) <= set(RECORDS["evaluation"].markdown().splitlines())


def test_all_marks_are_met_as_the_readme_says():
    assert "All marks are met." in PROSE
    met = [figure.met for figure in RECORDS["evaluation"].figures]
    assert met.count(True) > 20 and False not in met


def test_what_the_critic_accepts_in_words():
    sampling = nano_card().sampling
    assert f"gives less than {100 * sampling.accept:.0f} % that prompt and clip belong together" in PROSE
    assert f"up to {('two', 'three', 'four')[sampling.tries - 2]} times in all" in PROSE


def test_all_records_are_of_the_same_weights():
    assert len({record.provenance["weights"] for record in RECORDS.values()}) == 1


def test_guidance_in_words():
    names = ("count", "color", "shape", "motion", "floor", "camera")
    listed = ", ".join(f"{name} {percent('guidance', f'guidance 3: {name}')}" for name in names)
    whole = {scale: RECORDS["guidance"].figure(f"guidance {scale}: whole prompt") for scale in (2, 3, 5)}
    two, three, five = (f"{100 * figure.value:.0f}" for figure in whole.values())
    assert f"{listed} and the whole prompt {three} ± {100 * whole[3].spread:.0f} %" in PROSE
    assert f"with 2 it is {two} %, with 5 {five} %" in PROSE


def test_a_single_try_in_words():
    extent = RECORDS["one_try"].provenance["extent"]
    assert (extent["tries"], extent["seeds"], extent["prompts"]) == (1, [0], 512)
    assert RECORDS["evaluation"].provenance["extent"]["tries"] is None

    def listed(*names: str, suffix: str = "") -> str:
        found = (value("one_try", f"obedience: {name}{suffix}") for name in names)
        return ", ".join(f"{name} {100 * share:.1f} %" for name, share in zip(names, found, strict=True))

    whole = 100 * value("one_try", "obedience: whole prompt")
    permanent = f"permanence {100 * value('one_try', 'permanence'):.1f} %"
    assert f"{listed('count', 'color', 'shape')}, the whole prompt {whole:.1f} % and {permanent}" in PROSE
    assert f"of withheld combinations {listed('count', 'color', 'shape', suffix=', withheld')}." in PROSE


def test_edits_in_words():
    record = RECORDS["editing_gentle"]
    extent, best = record.provenance["extent"], record.details["curve"]["0.7"]
    assert (extent["edits"], extent["guidance"], extent["num_draws"], extent["strengths"]) == (48, 1.0, 2, [0.7])
    assert [point["number"] for point in best.values()] == [48, 12, 12, 12, 12]
    # "in 80 % of cases ... nano does"
    assert best["all"]["both"] >= 0.8
    shown, both = (f"{100 * best['all'][what]:.0f} %" for what in ("shown", "both"))
    assert f"of 48 edits by `--source_prompt`, {shown} show it at strength 0.7 and {both} keep their places" in PROSE
    assert f"with a median shift of {best['all']['shift']:.1f} pixels" in PROSE
    floors, lights, shapes, colors = (round(12 * best[kind]["both"]) for kind in ("floor", "light", "shape", "color"))
    assert f"of twelve each, {floors} floors, {lights} lights, {shapes} shapes and {colors} colors work" in PROSE


def test_the_curve_of_edits_in_words():
    record = RECORDS["editing"]
    assert record.provenance["extent"]["edits"] == 24
    assert RECORDS["editing_gentle"].details["edits"][:24] == record.details["edits"]
    for strength in record.provenance["extent"]["strengths"]:
        shown, both = (percent("editing", f"edits of strength {strength:g}: {what}")
                       for what in ("shown", "shown and each within 2 px"))  # fmt: skip
        assert f"{shown} and {both} at {strength:g}" in PROSE


def test_long_videos_in_words():
    seam = RECORDS["long_video"].figure("long video: change of pixels at seams over inside")
    assert f"change {seam.value:.2f} times as much at a seam" in PROSE
    assert f"(truth {seam.rendered:.2f}, a hard cut {seam.baseline:.0f})" in PROSE
    notes = [RECORDS["long_video"].figure(f"long video: error over repeating the last pixel frame, chunk {n}").note
             for n in (1, 2)]  # fmt: skip
    first, second = (float(note.split("the model ")[1].removesuffix(" px")) for note in notes)
    assert f"{first} pixels off there, {second:.0f} in the second" in PROSE


@pytest.mark.parametrize("name, row", [
    ("predict2-2b-video2world-480p-16fps", "| Predict2 2B video2world, 480p | 768×432, 93 pixel frames |"),
    ("predict2-2b-video2world-720p-16fps", "| Predict2 2B video2world, 720p | 1280×704, 93 |"),
    ("predict2-14b-video2world-480p-16fps", "| Predict2 14B video2world, 480p | 768×432, 93 |"),
    ("predict2-14b-video2world-720p-16fps", "| Predict2 14B video2world, 720p | 1280×704, 93 |"),
    ("predict2.5-2b-post-trained", "| Predict2.5 2B | 1280×704, 93 |"),
    ("predict1-7b-video2world", "| Predict1 7B video2world | 1280×704, 121 |"),
])  # fmt: skip
def test_costs_at_full_size_are_the_measured_ones(name, row):
    peak, duration = seconds(ROOT / "assets" / "benchmarks" / f"{name}.json")
    assert f"{row} {peak} | {duration} |" in README
