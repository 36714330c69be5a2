"""Keys, shapes, devices: what is checked before weights are read, and every manifest's every key."""

import pytest
import torch
from golden_files import read_manifest
from torch import nn

from cosmos_lab.nn.dit import DiT
from cosmos_lab.nn.dit_configs import DIT_CONFIGS
from cosmos_lab.nn.wan_vae import WanVAE
from cosmos_lab.nn.wavelet_vae import WaveletVAE, WaveletVAEConfig
from cosmos_lab.runtime import matching
from cosmos_lab.runtime.checkpoints import WeightsError
from cosmos_lab.runtime.diffusers_folder import load_diffusers
from cosmos_lab.runtime.key_maps import dit_key_from_diffusers
from cosmos_lab.runtime.matching import build, check, check_device, without_prefix
from cosmos_lab.runtime.official import _our_names, load_official
from cosmos_lab.runtime.tokenizer_keys import (
    wan_vae_from_diffusers,
    wan_vae_from_official,
    wavelet_vae_from_diffusers,
    wavelet_vae_from_official,
)

OFFICIAL = {
    "predict1_7b_text2world": "predict1-7b-text2world",
    "predict1_7b_video2world": "predict1-7b-video2world",
    "predict1_14b_text2world": "predict1-14b-text2world",
    "predict1_14b_video2world": "predict1-14b-video2world",
    "predict2_0p6b_text2image": "predict2-0.6b-text2image",
    "predict2_2b_text2image": "predict2-2b-text2image",
    "predict2_14b_text2image": "predict2-14b-text2image",
    "predict2_2b_video2world": "predict2-2b-video2world",
    "predict2_14b_video2world": "predict2-14b-video2world",
    "predict2_5_2b": "predict2.5-2b",
    "predict2_5_14b": "predict2.5-14b",
}
DIFFUSERS = {
    "predict1_diffusers_7b_text2world": "predict1-7b-text2world",
    "predict1_diffusers_7b_video2world": "predict1-7b-video2world",
    "predict1_diffusers_14b_text2world": "predict1-14b-text2world",
    "predict1_diffusers_14b_video2world": "predict1-14b-video2world",
    "predict2_2b_text2image.diffusers": "predict2-2b-text2image",
    "predict2_14b_text2image.diffusers": "predict2-14b-text2image",
    "predict2_2b_video2world.diffusers": "predict2-2b-video2world",
    "predict2_14b_video2world.diffusers": "predict2-14b-video2world",
    "predict2_5_2b.diffusers": "predict2.5-2b",
    "predict2_5_14b.diffusers": "predict2.5-14b",
}


def on_meta(manifest, prefix=""):
    entries = read_manifest(manifest).items()
    return {prefix + key.removeprefix(prefix): torch.empty(shape, device="meta") for key, shape in entries}


def expected(make):
    with torch.device("meta"):
        return make().state_dict()


@pytest.mark.parametrize("manifest", OFFICIAL)
def test_every_key_of_an_official_transformer_is_consumed(manifest):
    keys = read_manifest(manifest)
    logvar = {key: torch.empty(shape, device="meta") for key, shape in keys.items() if key.startswith("logvar.")}
    net = {key: value for key, value in on_meta(manifest, "net.").items() if not key.startswith("net.logvar.")}
    state = _our_names(without_prefix(net | logvar, manifest))
    check(expected(lambda: DiT(DIT_CONFIGS[OFFICIAL[manifest]]())), state, manifest)
    # Nothing but rotary constants, counters and the training loss's weighting is left out.
    assert 4 <= len(keys) - len(state) <= 7


@pytest.mark.parametrize("manifest", DIFFUSERS)
def test_every_key_of_a_diffusers_transformer_is_consumed(manifest):
    state = {dit_key_from_diffusers(key): value for key, value in on_meta(manifest).items()}
    assert len(state) == len(read_manifest(manifest))
    check(expected(lambda: DiT(DIT_CONFIGS[DIFFUSERS[manifest]]())), state, manifest)


def test_every_key_of_every_tokenizer_is_consumed():
    wan, wavelet = expected(WanVAE), expected(lambda: WaveletVAE(WaveletVAEConfig()))
    statistics = {"mean": torch.zeros(16, 16), "std": torch.ones(16, 16)}
    check(wan, wan_vae_from_official(on_meta("predict2_wan_vae")), "official Wan")
    check(wan, wan_vae_from_diffusers(on_meta("wan_vae.diffusers")), "diffusers' Wan")
    halves = [on_meta(f"predict1_tokenizer_cv8x8x8_720p_{half}") for half in ("encoder", "decoder")]
    check(wavelet, wavelet_vae_from_official(halves[0] | halves[1], **statistics), "official wavelet")
    whole = on_meta("predict1_tokenizer_cv8x8x8_720p_autoencoder")
    check(wavelet, wavelet_vae_from_official(whole, **statistics), "official wavelet in one file")
    theirs = on_meta("predict1_diffusers_autoencoder_kl_cosmos")
    check(wavelet, wavelet_vae_from_diffusers(theirs, **statistics), "diffusers' wavelet")


def test_one_missing_key_of_a_full_size_network_is_an_error():
    state = without_prefix(on_meta("predict2_2b_video2world", "net."), "model.pt")
    state.pop("blocks.27.mlp.layer2.weight")
    with pytest.raises(WeightsError, match=r"1 missing: blocks\.27\.mlp\.layer2\.weight"):
        check(expected(lambda: DiT(DIT_CONFIGS["predict2-2b-video2world"]())), state, "model.pt")


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False)
        self.register_buffer("count", torch.zeros(1, dtype=torch.int64))


def test_build_shares_tied_weights_and_leaves_integers_alone():
    state = {"a.weight": torch.eye(2), "count": torch.tensor([3])}
    module = build(Tied, state, "file", dtype=torch.bfloat16, tied={"b.weight": "a.weight"})
    assert module.a.weight.data_ptr() == module.b.weight.data_ptr()
    assert module.a.weight.dtype == torch.bfloat16 and module.count.dtype == torch.int64
    assert not module.training and not module.a.weight.requires_grad


def test_a_device_or_dtype_that_is_not_there_is_refused_before_any_file(monkeypatch, tmp_path):
    from cosmos_lab import catalog

    card = catalog.card("predict2-2b-video2world-720p-16fps")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for load in (lambda **options: load_official(card, tmp_path, **options), lambda **o: load_diffusers(tmp_path, **o)):
        with pytest.raises(ValueError, match="no CUDA device.*device='cpu'"):
            load(device="cuda")
        with pytest.raises(ValueError, match="not torch.int8"):
            load(dtype=torch.int8)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "Old GPU")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 5))
    with pytest.raises(ValueError, match="Old GPU has no bfloat16.*dtype='float32'"):
        check_device("cuda", torch.bfloat16)
    assert check_device("cuda", torch.float32).type == "cuda"
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    assert matching.check_device("cuda:1", torch.bfloat16).index == 1
