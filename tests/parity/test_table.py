"""The recorded table of parity is true: measured again, nothing is worse, and nothing is claimed that is not so."""

import json

import pytest
from parity.table import COMMAND, ROOT, benchmarks, markdown, measured

from cosmos_lab.nn.dit_configs import DIT_CONFIGS

# What the recorded tensors and diffusers must agree to.
LIMITS = {
    "golden error": 1e-5, "golden sampler error": 1e-5, "diffusers latents error": 1e-4, "diffusers pixels error": 1e-3,
}  # fmt: skip


@pytest.fixture(scope="module")
def recorded():
    return json.loads((ROOT / "assets" / "parity.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def again():
    return measured()


def test_every_network_has_a_row(recorded):
    networks = {row["model"] for row in recorded["rows"]}
    assert networks == {*DIT_CONFIGS, "wan2.1-vae", "cosmos-cv8x8x8"} - {"nano"}
    assert recorded["command"] == COMMAND


def test_counts_and_keys_are_exact(recorded, again):
    for then, now in zip(recorded["rows"], again, strict=True):
        for name in then.keys() - LIMITS.keys():
            assert then[name] == now[name], (then["model"], name)


def test_errors_are_within_limits_and_not_worse_than_recorded(recorded, again):
    """Another processor sums in another order: up to ten times the recorded error is the same error. 0 stays 0."""
    for then, now in zip(recorded["rows"], again, strict=True):
        for name, limit in LIMITS.items():
            assert (then[name] is None) == (now[name] is None)
            if then[name] is not None:
                assert then[name] < limit and now[name] < limit, (then["model"], name)
                assert now[name] <= 10 * then[name], (then["model"], name)


def test_the_page_says_what_was_measured(recorded):
    page = (ROOT / "assets" / "parity.md").read_text(encoding="utf-8")
    assert page == markdown(recorded["rows"], benchmarks())


def test_a_benchmark_finds_its_row_and_tells_measured_from_extrapolated():
    stage = {"seconds": 1.0, "peak_gb": 40.0, "over_weights_gb": 9.0}
    record = {"width": 1280, "height": 704, "num_pixel_frames": 93, "clip_seconds": 250.4, "stages": {"decode": stage}}
    rows = [{"model": "predict2-14b-video2world", "parameters": 1}]
    for extrapolated, word in ((None, "measured"), ({"num_steps": 35}, "extrapolated")):
        page = markdown(rows, {"predict2-14b-video2world": [record | {"extrapolated": extrapolated}]})
        assert f"1280x704x93: 40.0 GB, 250 s {word}" in page
