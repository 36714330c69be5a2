"""Where an official bfloat16 run rounds outside its networks, and the factors that noise and latents get there.

Sources: nvidia-cosmos/cosmos-predict1 of 2025-03-21 (scripts and EDM Euler scheduler) and Cosmos-1.0's first release
(RES sampler), cosmos-predict2 1.0.9, cosmos-predict2.5 of 2025-10-06.
"""

from copy import deepcopy
from dataclasses import replace

import numpy as np
import pytest
import torch
from golden_files import read_golden
from random_nano import pipe, random_nano  # noqa: F401 (fixtures)

from cosmos_lab import catalog
from cosmos_lab.nn.wavelet_vae import WaveletVAE
from cosmos_lab.noise import Official
from cosmos_lab.pipelines import generate
from cosmos_lab.pipelines.generate import Pipeline
from cosmos_lab.pipelines.generation import Timing

COSMOS1, PREDICT1 = "cosmos1-7b-video2world", "predict1-7b-video2world"
PREDICT2, PREDICT2_5 = "predict2-2b-video2world-720p-16fps", "predict2.5-2b-post-trained"
PROMPT = "a blue box rolls to the left"
QUICK = {"num_steps": 3, "num_pixel_frames": 5, "resolution": (32, 48)}


@pytest.fixture(scope="module")
def sampled_as(pipe):  # noqa: F811
    """The small model under the sampling and picture rules of an official card, its networks in one dtype as there."""
    dits, vaes = (
        {torch.float32: network, torch.bfloat16: deepcopy(network).bfloat16()}
        for network in (pipe.model.dit, pipe.model.vae)
    )  # fmt: skip

    def build(name, dtype=torch.bfloat16):
        official = catalog.card(name)
        dit = replace(pipe.card.dit, fps_modulation=official.dit.fps_modulation)
        card = replace(pipe.card, dit=dit, sampling=official.sampling, pictures=official.pictures)
        return Pipeline(replace(pipe.model, card=card, dit=dits[dtype], vae=vaes[dtype]))

    return build


@pytest.mark.parametrize("name, factor", [
    (COSMOS1, 80.0), (PREDICT1, 80.00624975587844), (PREDICT2, 80.0), (PREDICT2_5, 1.0),
])  # fmt: skip
def test_initial_noise_is_scaled(sampled_as, name, factor):
    """By sigma_max; Predict1's scheduler scales by sqrt(80^2 + 1); Predict2.5's flow begins with the noise itself."""
    model = sampled_as(name, torch.float32)
    noise = Official(3)((1, 16, 2, 4, 6))
    start = model.start(model.call("text2world", PROMPT, noise=noise, **QUICK), Timing())
    torch.testing.assert_close(start.x.double(), noise.double() * factor, rtol=1e-6, atol=0)


@pytest.mark.parametrize("name, dtype", [
    (COSMOS1, torch.float64), (PREDICT1, torch.bfloat16), (PREDICT2, torch.float32), (PREDICT2_5, torch.float32),
])  # fmt: skip
def test_the_state_keeps_its_dtype_around_a_bfloat16_network(sampled_as, name, dtype):
    """Cosmos-1.0's RES state is float64, Predict1 rounds its to bfloat16 at every step, Predict2 and 2.5 to float32."""
    model = sampled_as(name)
    assert model.start(model.call("text2world", PROMPT, **QUICK), Timing()).x.dtype == dtype
    assert {step.x.dtype for step in model.denoise(PROMPT, **QUICK)} == {dtype}


@pytest.mark.parametrize("name, dtype, sigma_data, rounding", [
    (COSMOS1, torch.float32, 0.5, "truncate"), (PREDICT1, torch.bfloat16, 0.5, "truncate"),
    (PREDICT2, torch.float32, 1.0, "half up"), (PREDICT2_5, torch.float32, 1.0, "truncate"),
])  # fmt: skip
def test_a_sample_is_decoded(sampled_as, monkeypatch, name, dtype, sigma_data, rounding):
    """In its own dtype (bfloat16 in Predict1, float32 elsewhere), over sigma_data, to bytes as the system saves."""
    seen = {}
    monkeypatch.setattr(generate, "decode_frames", lambda vae, latents, **options: seen.update(options, x=latents))
    latents = Official(4)((1, 16, 2, 4, 6))
    sampled_as(name).decode(latents)
    assert torch.equal(seen["x"], latents.to(dtype) / sigma_data) and seen["x"].dtype == dtype
    assert seen["rounding"] == rounding


@pytest.mark.parametrize("name", [COSMOS1, PREDICT1, PREDICT2, PREDICT2_5])
def test_given_pixel_frames_are_rounded_to_bfloat16_on_their_way_in(sampled_as, monkeypatch, name):
    """Predict2 and 2.5: x / 127.5 - 1, each step rounded, as in the official tables; before them, x / 128 - 1."""
    seen, encode = [], WaveletVAE.encode
    monkeypatch.setattr(WaveletVAE, "encode", lambda vae, pixels: seen.append(pixels) or encode(vae, pixels))
    tables = {PREDICT2: "predict2_preprocess", PREDICT2_5: "predict2_5_preprocess"}
    if name in tables:
        table = read_golden(tables[name])["out/normalise_table"]
    else:
        table = (torch.arange(256) / 128 - 1).bfloat16()
    levels = np.arange(32 * 48 * 3).reshape(32, 48, 3).astype(np.uint8)
    model = sampled_as(name)
    model.start(model.call("image2world", PROMPT, given=levels, num_conditional_frames=1, **QUICK), Timing())
    assert seen[0].dtype == torch.bfloat16
    assert torch.equal(seen[0][0, :, 0], table[torch.from_numpy(levels).long()].permute(2, 0, 1))


@pytest.mark.parametrize("name", [COSMOS1, PREDICT1])
@pytest.mark.parametrize("fps", [12, 30])
def test_the_frame_rate_reaches_the_network(sampled_as, name, fps):
    """Both branches of a Cosmos-1.0 or Predict1 step see it: it scales the rotary time."""
    seen = []

    def network(x, timesteps, text, **options):
        seen.append(options["fps"])
        return torch.zeros_like(x)

    model = sampled_as(name)
    start = model.start(model.call("text2world", PROMPT, fps=fps, **QUICK), Timing())
    replace(start.denoiser, net=network)(start.x, start.sigmas[0])
    assert [float(value) for value in seen] == [fps, fps]
