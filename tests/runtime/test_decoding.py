"""Decoding straight into 8-bit pixel frames: the same pixels as at once, in memory that does not grow with the clip."""

from dataclasses import replace

import numpy as np
import pytest
import tiny_diffusers as tiny
import torch
from nn.peak_memory import PeakMemory
from official_files import tiny_card

from cosmos_lab import video
from cosmos_lab.nn.wan_vae import WanVAE, WanVAEConfig
from cosmos_lab.nn.wavelet_vae import WaveletVAE, WaveletVAEConfig
from cosmos_lab.pipelines.generate import Pipeline
from cosmos_lab.runtime.decoding import decode_frames
from cosmos_lab.runtime.random_weights import random_model

WAN = WanVAEConfig(channels=4, num_res_blocks=1)
WAVELET = WaveletVAEConfig(channels=4, channels_mult=(1, 2, 2), num_res_blocks=1)


def vae_of(config):
    return tiny.randomize(WanVAE(config) if config is WAN else WaveletVAE(config), seed=2)


def latents_of(count):
    return torch.randn(1, 16, count, 4, 6, generator=torch.Generator().manual_seed(count))


@pytest.mark.parametrize("rounding", ["half up", "truncate"])
@pytest.mark.parametrize("config", [WAN, WAVELET], ids=["wan", "wavelet"])
def test_the_same_pixel_frames_as_decoding_at_once(config, rounding):
    vae, latents = vae_of(config), latents_of(5)
    at_once = video.to_uint8(vae.decode(latents)[0], rounding=rounding)
    frames = decode_frames(vae, latents, rounding=rounding)
    assert frames.dtype == np.uint8 and np.array_equal(frames, at_once) and frames.std() > 10


class Pieces:
    """Stands for a tokenizer that decodes into these two pieces of one value each."""

    spatial_factor = 8

    def __init__(self, *values):
        self.values = values

    def num_pixel_frames(self, num_latent_frames):
        return num_latent_frames

    def decode_stream(self, latents):
        return (torch.full((1, 3, 1, 32, 48), value) for value in self.values)


def test_the_range_is_guessed_of_the_whole_clip():
    """Its minimum counts, not that of the piece that is being decoded."""
    for values, decoded, levels in (((-0.9, -0.4), "guessed", (13, 77)), ((-0.4, -0.4), "guessed", (0, 0)),
                                    ((-0.4, -0.4), "signed", (77, 77))):  # fmt: skip
        frames = decode_frames(Pieces(*values), latents_of(2), decoded=decoded)
        assert tuple(frames[:, 0, 0, 0]) == levels and frames.shape == (2, 32, 48, 3)


@pytest.mark.parametrize("conventions, decoded", [("official", "signed"), ("historical", "guessed")])
def test_a_predict2_pipeline_decodes_as_its_conventions_say(conventions, decoded):
    pipe = Pipeline(random_model(tiny_card("predict2-2b-video2world-480p-16fps"))).under(conventions)
    bright = Pipeline(replace(pipe.model, vae=Pieces(-0.4, 0.2)))
    expected = decode_frames(bright.model.vae, latents_of(2), decoded=decoded)
    assert np.array_equal(bright.decode(latents_of(2)), expected)
    assert expected.min() == {"signed": 77, "guessed": 0}[decoded]


@pytest.mark.parametrize(("config", "counts"), [(WAN, (8, 24)), (WAVELET, (4, 13))], ids=["wan", "wavelet"])
def test_peak_memory_does_not_grow_with_the_clip(config, counts):
    """29 against 93 pixel frames (wavelet: 25 against 97), pixels included: they leave the device piece by piece."""
    vae, peaks = vae_of(config), []
    for count in counts:
        latents = latents_of(count)
        with PeakMemory() as memory:
            decode_frames(vae, latents)
        peaks.append(memory.peak)
    assert peaks[1] < 1.05 * peaks[0]


def test_a_batch_is_refused():
    with pytest.raises(ValueError, match="of one clip"):
        decode_frames(vae_of(WAN), latents_of(2).repeat(2, 1, 1, 1, 1))


@pytest.mark.parametrize(
    ("name", "counts"), [("predict2-2b-video2world-480p-16fps", (8, 24)), ("predict1-7b-video2world", (4, 13))]
)
def test_a_pipeline_decodes_so(name, counts):
    pipe, peaks = Pipeline(random_model(tiny_card(name))), []
    for count in counts:
        latents = latents_of(count)
        with PeakMemory() as memory:
            assert pipe.decode(latents).shape[1:] == (32, 48, 3)
        peaks.append(memory.peak)
    assert peaks[1] < 1.05 * peaks[0]
