"""The transformers in bfloat16 against the official ones, bit for bit: every rounding stands where theirs does.

`tests/recorded/dit_bfloat16.safetensors` holds what the official modules gave on a CPU; its metadata says how.
"""

from pathlib import Path

import pytest
import torch
from golden_files import relative_error
from safetensors.torch import load_file
from tiny_dit import tiny_dit, tiny_inputs

from cosmos_lab.nn import layers

RECORDED = load_file(Path(__file__).parents[1] / "recorded" / "dit_bfloat16.safetensors")
ROPE = {"predict1": "bfloat16", "predict2": "bfloat16", "predict2_5": "bfloat16_exponents"}
# Measured 0 with the torch that recorded it. Another torch may sum in another order, which moves single values by one
# unit in the last of 8 bits; a rounding in another place moves most of them, and the largest by more than this.
TOLERANCE = 2e-3


def in_bfloat16(key, **changes):
    """Our output for a recorded case, `changes` in the configuration."""
    name, _, case = key.partition("/")
    rope = ROPE["predict2_5" if "2_5" in name else name.split("_")[0]]
    net = tiny_dit(name, **({"rope_dtype": rope} | changes)).to(torch.bfloat16)
    return net(**tiny_inputs(name, case))


@pytest.mark.parametrize("key", sorted(RECORDED))
def test_output_equals_the_official_one_in_bfloat16(key):
    output = in_bfloat16(key)
    assert output.dtype == RECORDED[key].dtype
    assert relative_error(output.float(), RECORDED[key].float()) < TOLERANCE


MUTANTS = {
    "rotary tables in float32": ("predict2_dit_v2w_tiny/in/video", {"rope_dtype": "float32"}),
    "rotary tables in float32, Predict1": ("predict1_dit_v2w_tiny/in", {"rope_dtype": "float32"}),
    "rotary exponents in float32": ("predict2_5_dit_tiny/A_per_frame", {"rope_dtype": "float32"}),
    "modulation in float32": ("predict2_dit_v2w_tiny/in/video", {"timestep_dtype": "float32"}),
    "modulation in float32, Predict1": ("predict1_dit_t2w_tiny/in", {"timestep_dtype": "float32"}),
    "modulation in bfloat16": ("predict2_5_dit_tiny/A_per_frame", {"timestep_dtype": "weights"}),
}


@pytest.mark.parametrize("mutant", MUTANTS)
def test_rounding_elsewhere_is_seen(mutant):
    key, changes = MUTANTS[mutant]
    assert relative_error(in_bfloat16(key, **changes).float(), RECORDED[key].float()) > TOLERANCE


def test_a_norm_that_rounds_twice_is_seen(monkeypatch):
    def twice(self, x):
        return layers.F.rms_norm(x, self.weight.shape, None, layers.NORM_EPS) * self.weight

    monkeypatch.setattr(layers.RMSNorm, "forward", twice)
    key = "predict2_dit_v2w_tiny/in/video"
    assert relative_error(in_bfloat16(key).float(), RECORDED[key].float()) > TOLERANCE
