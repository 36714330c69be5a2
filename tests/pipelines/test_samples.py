"""Batch files and files of samples: what is wrong with one entry, line or file is its own problem."""

import json

import pytest

from cosmos_lab.pipelines.batch_files import read_array, read_lines
from cosmos_lab.pipelines.samples import read_samples

GOOD = {"name": "good", "prompt": "p", "inference_type": "text2world"}
HALF = "a \ud83d"


def write(path, value):
    path.write_text(value if isinstance(value, str) else json.dumps(value))
    return path


@pytest.mark.parametrize("entry", [{"prompt": HALF, "output_video": "a.mp4"}, {"prompt": "p", "output_video": HALF},
                                   {"prompt": "p", "output_video": "a.mp4", "note": [HALF]}])  # fmt: skip
def test_half_a_character_is_its_rows_problem(tmp_path, entry):
    path = write(tmp_path / "a.json", [entry, {"prompt": "p", "output_video": "b.mp4"}])
    bad, good = read_array(path, given=None, output="output_video")
    assert "'\\ud83d' is half a character" in bad.problem and not good.problem
    assert f"{bad}".encode()
    bad, _ = read_lines(write(tmp_path / "a.jsonl", json.dumps(entry) + '\n{"prompt": "p"}\n'), given=None)
    assert "half a character" in bad.problem


@pytest.mark.parametrize("value", [
    {**GOOD, "prompt": HALF}, {**GOOD, "name": HALF}, {**GOOD, "negative_prompt": HALF}, {**GOOD, HALF: 1},
    {"inference_type": "text2world", "samples": {HALF: {"prompt": "p"}}},
    {"inference_type": "text2world", "negative_prompt": HALF, "samples": {"a": {"prompt": "p"}}},
])  # fmt: skip
def test_half_a_character_is_its_samples_problem(tmp_path, value):
    bad, good = read_samples([write(tmp_path / "a.json", value), write(tmp_path / "b.json", GOOD)])
    assert "'\\ud83d' is half a character" in bad.problem and not good.problem
    assert f"{bad.label}{bad.name}{bad.problem}".encode()


@pytest.mark.parametrize("text", ["[" * 100_000, "[" + "9" * 5000 + "]"])
def test_what_is_too_deep_or_too_long_names_the_file(tmp_path, text):
    path = write(tmp_path / "deep.json", text)
    with pytest.raises(ValueError, match=r"deep.json, item 1, line 1, column 1: too deep or too long"):
        read_array(path, given=None, output="output_video")
    with pytest.raises(ValueError, match=r"deep.json, line 1, column 1: too deep or too long"):
        read_samples([path])
    rows = read_lines(write(tmp_path / "a.jsonl", f'{text}\n{{"prompt": "p"}}\n'), given=None)
    assert "too deep or too long" in rows[0].problem and not rows[1].problem


def test_a_line_ends_at_its_newline_only(tmp_path):
    prompt = "one\u2028two\x85three\x0bfour"
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps({"prompt": prompt}, ensure_ascii=False) + "\r\n\n" + json.dumps({"prompt": "p"}))
    first, second = read_lines(path, given=None)
    assert (first.prompt, second.prompt) == (prompt, "p")
    assert (first.label, second.label) == ("line 1", "line 3")


def test_a_broken_line_is_its_samples_problem(tmp_path):
    later = {**GOOD, "name": "next"}
    path = write(tmp_path / "a.jsonl", f"{json.dumps(GOOD)}\n{{broken\n{json.dumps(later)}\n")
    first, broken, last = read_samples([path])
    assert (first.name, last.name) == ("good", "next") and not first.problem and not last.problem
    assert broken.label == "a.jsonl, line 2" and "no JSON at column 2" in broken.problem


def test_a_broken_file_costs_its_samples_only(tmp_path):
    broken, gone = write(tmp_path / "bad.json", '{\n "name" 1}'), tmp_path / "gone.json"
    samples = read_samples([broken, write(tmp_path / "b.json", GOOD), gone, write(tmp_path / "c.yaml", "a: b")])
    assert [sample.label for sample in samples if sample.problem] == ["bad.json", "gone.json", "c.yaml"]
    assert "line 2, column 9" in samples[0].problem and samples[1].name == "good"
    assert "there is no file" in samples[2].problem and "read from .json or .jsonl" in samples[3].problem
    # Where no file is left, there is nothing to go on with.
    with pytest.raises(ValueError, match="bad.json, line 2, column 9"):
        read_samples([broken, gone])
    with pytest.raises(FileNotFoundError, match="gone.json"):
        read_samples([gone])


def test_a_name_belongs_to_the_first_who_has_it(tmp_path):
    other = {**GOOD, "name": "other"}
    samples = read_samples([write(tmp_path / f"{n}.json", value) for n, value in enumerate((GOOD, GOOD, other))])
    assert [bool(sample.problem) for sample in samples] == [False, True, False]
    assert "the name 'good' is given to two samples" in samples[1].problem
