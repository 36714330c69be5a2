"""The Wan2.1 tokenizer: equality with the official module, streaming, causality, statistics, keys."""

import json
from pathlib import Path

import pytest
import torch
from golden_files import MANIFESTS, read_golden, read_manifest, relative_error
from nn.peak_memory import PeakMemory
from safetensors.torch import load_file
from torch import Tensor

from cosmos_lab.nn import wan_vae
from cosmos_lab.nn.wan_vae import WAN_LATENT_MEAN, WAN_LATENT_STD, WanVAE, WanVAEConfig
from cosmos_lab.runtime.tokenizer_keys import wan_vae_from_diffusers, wan_vae_from_official

RECORDED = Path(__file__).parents[1] / "recorded" / "wan_vae_bfloat16.safetensors"
TOLERANCE = 1e-5  # relative to the output's scale: float32 sums in another order; measured 1.3e-6 at most


@pytest.fixture(scope="module")
def golden():
    return read_golden("wan_vae_tiny")


def build(golden, encode_window: int = 16) -> WanVAE:
    vae = WanVAE(WanVAEConfig(channels=8, encode_window=encode_window)).requires_grad_(False)
    vae.load_state_dict(wan_vae_from_official(golden.weights))
    return vae


@pytest.fixture(scope="module")
def vae(golden) -> WanVAE:
    return build(golden)


def latents_of(num_latent_frames: int) -> Tensor:
    return torch.randn(1, 16, num_latent_frames, 2, 3, generator=torch.Generator().manual_seed(num_latent_frames))


@pytest.mark.parametrize("encode_window", [4, 16])
@pytest.mark.parametrize("num_pixel_frames", [1, 9, 21])
def test_encode_equals_the_official_one(golden, encode_window, num_pixel_frames):
    vae, case = build(golden, encode_window), f"encode_{num_pixel_frames}f"
    pixels = golden[f"in/{case}/video"]
    assert relative_error(vae.encode(pixels), golden[f"out/{case}/latent_normalized"]) < TOLERANCE
    assert relative_error(vae.encode_raw(pixels), golden[f"out/{case}/mu_raw"]) < TOLERANCE


@pytest.mark.parametrize("num_latent_frames", [1, 3])
def test_decode_equals_the_official_one(golden, vae, num_latent_frames):
    case = f"decode_{num_latent_frames}l"
    decoded = vae.decode(golden[f"in/{case}/latent_normalized"])
    assert relative_error(decoded, golden[f"out/{case}/video"]) < TOLERANCE


@pytest.mark.parametrize("case", ["encode_1f", "encode_9f", "encode_21f", "decode_1l", "decode_3l"])
def test_bfloat16_equals_the_official_one(golden, case):
    """What the official module gave in bfloat16 (`tests/recorded`), statistics and attention included."""
    vae, expected = build(golden).bfloat16(), load_file(RECORDED)[case]
    if case.startswith("encode"):
        made = vae.encode(golden[f"in/{case}/video"].bfloat16())
    else:
        made = vae.decode(golden[f"in/{case}/latent_normalized"].bfloat16())
    # Measured 0. The official module itself moves by 0.017 between two of torch's convolution kernels.
    assert made.dtype == torch.bfloat16 and relative_error(made.float(), expected.float()) < 0.02


def test_attention_hands_fused_kernels_what_they_can_read(vae, monkeypatch):
    """Features side by side in memory: otherwise a kernel is taken that holds the whole matrix of weights."""
    seen, attend = [], wan_vae.F.scaled_dot_product_attention
    monkeypatch.setattr(wan_vae.F, "scaled_dot_product_attention", lambda *qkv: seen.extend(qkv) or attend(*qkv))
    vae.decode(latents_of(2))
    assert len(seen) == 6 and all(x.stride(-1) == 1 for x in seen)


def test_streams_yield_the_chunks_of_the_whole(golden, vae):
    latents = latents_of(4)
    chunks = list(vae.decode_stream(latents))
    assert [chunk.shape[2] for chunk in chunks] == [1, 4, 4, 4]
    assert torch.equal(torch.cat(chunks, dim=2), vae.decode(latents))
    chunks = list(vae.encode_stream(golden["in/encode_21f/video"]))
    assert [chunk.shape[2] for chunk in chunks] == [1, 4, 1]


def test_two_streams_can_be_interleaved(vae):
    one, other = latents_of(3), latents_of(3).flip(2)
    pairs = list(zip(vae.decode_stream(one), vae.decode_stream(other), strict=True))
    assert torch.equal(torch.cat([first for first, _ in pairs], dim=2), vae.decode(one))
    assert torch.equal(torch.cat([second for _, second in pairs], dim=2), vae.decode(other))


def test_batch_is_independent(vae):
    one, other = latents_of(3), latents_of(3).flip(2)
    both = vae.decode(torch.cat([one, other]))
    assert relative_error(both, torch.cat([vae.decode(one), vae.decode(other)])) < TOLERANCE


def test_prefixes(golden, vae):
    latents, pixels = latents_of(4), golden["in/encode_21f/video"]
    assert torch.equal(vae.decode(latents[:, :, :2]), vae.decode(latents)[:, :, :5])
    assert relative_error(vae.encode(pixels[:, :, :9]), vae.encode(pixels)[:, :, :3]) < TOLERANCE


def test_the_future_has_no_gradient(golden, vae):
    pixels = golden["in/encode_9f/video"][..., :16, :16].clone().requires_grad_()
    latents = vae.encode(pixels)
    (to_pixels,) = torch.autograd.grad(latents[:, :, 1].square().sum(), pixels)
    assert to_pixels[:, :, 5:].abs().max() == 0
    assert (to_pixels[:, :, :5].abs().amax(dim=(0, 1, 3, 4)) > 0).all()

    latents = latents.detach().requires_grad_()
    (to_latents,) = torch.autograd.grad(vae.decode(latents)[:, :, :5].square().sum(), latents)
    assert to_latents[:, :, 2].abs().max() == 0
    assert (to_latents[:, :, :2].abs().amax(dim=(0, 1, 3, 4)) > 0).all()


def test_second_chunk_does_not_see_the_first_frame_in_the_temporal_upsampling(golden, vae):
    """Seeding the upsampling with the first frame, as a plain causal convolution would, leaves the golden."""
    upsamplings = [layer for layer in vae.decoder.upsamples if getattr(layer, "time_conv", None) is not None]

    def seed(layer, args):
        x, stream = args
        if stream.is_first_chunk:
            stream.extend(layer.time_conv, x, keep=2)

    hooks = [layer.register_forward_pre_hook(seed) for layer in upsamplings]
    mutant = vae.decode(golden["in/decode_3l/latent_normalized"])
    for hook in hooks:
        hook.remove()
    expected = golden["out/decode_3l/video"]
    assert relative_error(mutant[:, :, :1], expected[:, :, :1]) < TOLERANCE
    assert relative_error(mutant[:, :, 1:5], expected[:, :, 1:5]) > 1e-3


def peak_of_decoding(vae: WanVAE, latents: Tensor) -> int:
    with PeakMemory() as memory, torch.no_grad():
        for chunk in vae.decode_stream(latents):
            del chunk
    return memory.peak


def test_peak_memory_of_decoding_does_not_grow_with_the_clip(vae):
    """29 against 93 pixel frames."""
    short, long = (peak_of_decoding(vae, latents_of(vae.num_latent_frames(count))) for count in (29, 93))
    assert short > 100_000
    assert long < 1.05 * short
    # What keeps the whole clip, as `decode` does, grows.
    with PeakMemory() as memory, torch.no_grad():
        vae.decode(latents_of(24))
    assert memory.peak > 1.2 * long


def test_full_size_decoding_at_720p_holds_less_than_8_gb():
    """All tensors of a 720p decode in bfloat16, counted without computing: 7.4 GB of the 10 that it may take."""
    with torch.device("meta"):
        vae = WanVAE().bfloat16().requires_grad_(False)
        latents = torch.empty(1, 16, 4, 88, 160, dtype=torch.bfloat16)
    assert 4e9 < peak_of_decoding(vae, latents) < 8e9


def test_channels_last_changes_nothing_but_rounding(golden, vae, monkeypatch):
    """On a GPU the decoder runs with its channels innermost in memory; here it is made to."""
    latents = golden["in/decode_3l/latent_normalized"]
    turned = []

    def innermost(x: Tensor) -> Tensor:
        turned.append(x.contiguous(memory_format=torch.channels_last_3d))
        return turned[-1]

    monkeypatch.setattr(wan_vae, "for_convolutions", innermost)
    assert relative_error(vae.decode(latents), golden["out/decode_3l/video"]) < TOLERANCE
    assert turned and all(x.is_contiguous(memory_format=torch.channels_last_3d) for x in turned)


@pytest.mark.parametrize("mutant", ["inverted", "absent"])
def test_museum_latent_std_inverted_or_absent_is_seen(golden, mutant):
    """Museum entry 11: with a wrong latent std, neither direction reproduces the golden."""
    vae = build(golden)
    vae.latent_std.copy_(1 / vae.latent_std if mutant == "inverted" else torch.ones_like(vae.latent_std))
    encoded = vae.encode(golden["in/encode_9f/video"])
    assert relative_error(encoded, golden["out/encode_9f/latent_normalized"]) > 0.1
    decoded = vae.decode(golden["in/decode_3l/latent_normalized"])
    assert relative_error(decoded, golden["out/decode_3l/video"]) > 0.1


def test_a_bfloat16_module_rounds_mean_std_and_reciprocal(golden):
    vae = build(golden).bfloat16()
    pixels = golden["in/encode_9f/video"].bfloat16()
    mean = torch.tensor(WAN_LATENT_MEAN).bfloat16()[:, None, None, None]
    reciprocal = 1 / torch.tensor(WAN_LATENT_STD).bfloat16()[:, None, None, None]
    assert reciprocal.dtype == torch.bfloat16
    mu = vae.encode_raw(pixels)
    assert torch.equal(vae.encode(pixels), (mu - mean) * reciprocal)
    latents = golden["in/decode_3l/latent_normalized"].bfloat16()
    assert torch.equal(vae.decode(latents), vae.decode_raw(latents / reciprocal + mean))
    once_rounded = (mu.float() - vae.latent_mean.float()) / torch.tensor(WAN_LATENT_STD)[:, None, None, None]
    assert not torch.equal(vae.encode(pixels), once_rounded.bfloat16())


def test_a_bfloat16_module_keeps_the_callers_dtype(golden):
    vae = build(golden).bfloat16()
    latents = vae.encode(golden["in/encode_9f/video"])
    assert latents.dtype == torch.float32
    # 8 bits of mantissa through some 30 convolutions
    assert relative_error(latents, golden["out/encode_9f/latent_normalized"]) < 0.05


def test_frame_counts_and_their_errors(vae):
    assert [vae.num_latent_frames(n) for n in (1, 5, 61, 93)] == [1, 2, 16, 24]
    assert [vae.num_pixel_frames(n) for n in (1, 2, 16, 24)] == [1, 5, 61, 93]
    assert (vae.temporal_factor, vae.spatial_factor) == (4, 8)
    with pytest.raises(ValueError, match="89 or 93"):
        vae.num_latent_frames(92)
    with pytest.raises(ValueError, match="1 or 2"):
        vae.num_pixel_frames(0)


@pytest.mark.parametrize(
    ("pixels", "message"),
    [
        (torch.zeros(1, 3, 5, 16, 16, dtype=torch.uint8), "127.5"),
        (torch.full((1, 3, 5, 16, 16), 255.0), r"\[-1, 1\]"),
        (torch.zeros(1, 3, 5, 16, 17), "16 or 24"),
        (torch.zeros(1, 3, 6, 16, 16), "5 or 9"),
    ],
    ids=["uint8", "range", "width", "count"],
)
def test_wrong_pixels_are_refused(vae, pixels, message):
    with pytest.raises(ValueError, match=message):
        vae.encode(pixels)


def test_wrong_latents_are_refused_before_the_first_chunk(vae):
    with pytest.raises(ValueError, match="16"):
        vae.decode_stream(torch.zeros(1, 8, 2, 4, 4))


@pytest.mark.parametrize("change", [{"encode_window": 6}, {"temporal_downsample": (True,)}, {"latent_std": (1.0,)}])
def test_wrong_configurations_are_refused(change):
    with pytest.raises(ValueError):
        WanVAEConfig(**change)


def test_official_keys_shapes_and_parameter_count():
    manifest = read_manifest("predict2_wan_vae")
    with torch.device("meta"):
        vae = WanVAE()
        state = wan_vae_from_official({key: torch.empty(shape) for key, shape in manifest.items()})
    assert {k: v.shape for k, v in state.items()} == {k: v.shape for k, v in vae.state_dict().items()}
    assert len(manifest) == 194
    size = sum(torch.Size(shape).numel() for shape in manifest.values())
    assert sum(p.numel() for p in vae.parameters()) == size == 126_892_531


def test_diffusers_key_map_is_the_recorded_one():
    to_diffusers = json.loads((MANIFESTS / "predict2_wan_vae.to_diffusers.json").read_text())
    shapes = read_manifest("wan_vae.diffusers")
    assert set(to_diffusers.values()) == set(shapes)
    tensors = {theirs: torch.empty(shape, device="meta") for theirs, shape in shapes.items()}
    state = wan_vae_from_diffusers(tensors)
    assert set(state) == set(to_diffusers) | {"latent_mean", "latent_std"}
    assert all(state[ours] is tensors[theirs] for ours, theirs in to_diffusers.items())


def test_diffusers_peer():
    """A random AutoencoderKLWan, loaded through the key map, encodes and decodes alike (it clamps, we do not)."""
    from diffusers import AutoencoderKLWan

    peer = AutoencoderKLWan(base_dim=8).requires_grad_(False)
    generator = torch.Generator().manual_seed(5)
    for parameter in peer.parameters():
        fan_in = parameter[0].numel()
        parameter.normal_(0, 0.3 if fan_in == 1 else fan_in**-0.5, generator=generator).add_(float(fan_in == 1))
    mean, std = torch.tensor(peer.config.latents_mean), torch.tensor(peer.config.latents_std)
    vae = WanVAE(WanVAEConfig(channels=8)).requires_grad_(False)
    vae.load_state_dict(wan_vae_from_diffusers(peer.state_dict(), mean=mean, std=std))

    pixels = torch.rand(1, 3, 9, 16, 24, generator=generator) * 2 - 1
    mu = peer.encode(pixels).latent_dist.mode()
    assert relative_error(vae.encode_raw(pixels), mu) < 1e-4
    statistics = (mean[:, None, None, None], std[:, None, None, None])
    assert relative_error(vae.encode(pixels), (mu - statistics[0]) / statistics[1]) < 1e-4
    decoded = vae.decode_raw(mu)
    assert decoded.abs().max() > 1  # otherwise the clamp would not be exercised
    assert relative_error(decoded.clamp(-1, 1), peer.decode(mu).sample) < 1e-4
