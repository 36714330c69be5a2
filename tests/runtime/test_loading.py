"""Choices that a model is loaded with: the function that mixes its tokens."""

import pytest
from golden_files import relative_error
from random_nano import random_nano  # noqa: F401 (fixture)

import cosmos_lab as lab
from cosmos_lab.nn.attention import Attention, fused_attention, reference_attention

QUICK = {"num_steps": 2, "num_pixel_frames": 5, "resolution": (32, 48), "progress": False}


def attend_functions(pipe):
    return [module.attend for module in pipe.model.dit.modules() if isinstance(module, Attention)]


def test_a_model_is_loaded_with_an_attention(random_nano, tmp_path):  # noqa: F811
    fast, exact = lab.load(random_nano), lab.load(random_nano, attention="reference")
    assert attend_functions(fast) == [fused_attention] * 4 and attend_functions(exact) == [reference_attention] * 4
    made, expected = (pipe.text2world("a red ball", **QUICK) for pipe in (fast, exact))
    # float32 rounding over two guided steps and the clean one
    assert relative_error(made.latents, expected.latents) < 1e-5
    assert "attention" not in made.provenance["loaded"]
    assert expected.provenance["loaded"]["attention"] == "reference"
    assert lab.replay(expected.save(tmp_path / "clip.mp4"), progress=False) == expected


def test_an_unknown_attention_is_refused_before_weights_are_read(tmp_path):
    with pytest.raises(ValueError, match="attention is one of auto, reference, not 'flash'"):
        lab.load(tmp_path / "nothing", attention="flash")
