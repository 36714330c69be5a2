"""The wavelet tokenizer: equality with the official modules, causality, chunks, statistics, keys, nano."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from einops import rearrange, repeat
from golden_files import read_golden, read_manifest, read_manifest_meta, relative_error
from nn.peak_memory import PeakMemory
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from cosmos_lab.nn import factorized, haar, official_rounding, wavelet_vae
from cosmos_lab.nn.haar import haar_analysis, haar_synthesis, patch, unpatch
from cosmos_lab.nn.streaming import Stream
from cosmos_lab.nn.wavelet_vae import WaveletVAE, WaveletVAEConfig, nano_config
from cosmos_lab.runtime.tokenizer_keys import (
    cosmos_latent_statistics,
    statistics_from_mean_std,
    wavelet_vae_from_diffusers,
    wavelet_vae_from_official,
)

RECORDED = Path(__file__).parents[1] / "recorded" / "wavelet_vae_bfloat16.safetensors"
TOLERANCE = 1e-5  # relative to the output's scale: float32 sums in another order; measured 1.3e-6 at most
NO_STATISTICS = {"mean": torch.zeros(16, 16), "std": torch.ones(16, 16)}
SMALL_NANO = WaveletVAEConfig(channels=8, channels_mult=(1, 1), temporal_factor=4, pixel_frames_per_chunk=None)


@pytest.fixture(scope="module")
def golden():
    return read_golden("predict1_tokenizer_tiny")


@pytest.fixture(scope="module")
def cosmos(golden) -> WaveletVAE:
    """The official topology at base width 8, with the golden's weights and the published statistics."""
    vae = WaveletVAE(WaveletVAEConfig(channels=8)).requires_grad_(False)
    mean, std = cosmos_latent_statistics()
    vae.load_state_dict(wavelet_vae_from_official(golden.weights, mean=mean, std=std))
    return vae


@pytest.fixture(scope="module")
def recorded() -> dict[str, Tensor]:
    """What the official module gave in bfloat16."""
    return load_file(RECORDED)


@pytest.fixture(scope="module")
def half(golden, cosmos) -> WaveletVAE:
    vae = WaveletVAE(cosmos.config).requires_grad_(False)
    vae.load_state_dict(wavelet_vae_from_official(golden.weights, **NO_STATISTICS))
    return vae.bfloat16()


def with_random_weights(module: nn.Module, seed: int = 0) -> nn.Module:
    """Fill parameters with noise of the usual size; norms stay near 1."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in module.parameters():
        size = parameter[0].numel() if parameter.ndim > 1 else 100
        parameter.data.normal_(0, size**-0.5, generator=generator).add_(float(parameter.ndim == 1))
    return module


def pixels_of(num_pixel_frames: int, height: int = 16, width: int = 24, batch: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(num_pixel_frames)
    return torch.rand(batch, 3, num_pixel_frames, height, width, generator=generator) * 2 - 1


def latents_of(num_latent_frames: int) -> Tensor:
    generator = torch.Generator().manual_seed(num_latent_frames)
    return torch.randn(1, 16, num_latent_frames, 4, 6, generator=generator)


def test_patcher_equals_the_official_one(golden):
    assert relative_error(patch(golden["in/video"], 4), golden["out/patcher3d"]) < 1e-6
    assert relative_error(unpatch(golden["out/patcher3d"], 4), golden["out/unpatch_roundtrip"]) < 1e-6


@pytest.mark.parametrize("patch_size", [1, 2, 4, 8])
def test_haar_round_trip_and_mean_band(patch_size):
    x = torch.randn(2, 3, 8, 16, 24, generator=torch.Generator().manual_seed(1))
    bands = haar_analysis(x, patch_size)
    assert bands.shape == (2, 3 * patch_size**3, 8 // patch_size, 16 // patch_size, 24 // patch_size)
    torch.testing.assert_close(haar_synthesis(bands, patch_size), x, atol=1e-5, rtol=0)
    torch.testing.assert_close(bands[:, :3], F.avg_pool3d(x, patch_size), atol=1e-6, rtol=0)


def test_patch_size_must_be_a_power_of_two():
    with pytest.raises(ValueError, match="power of two"):
        haar_analysis(torch.zeros(1, 3, 6, 6, 6), 3)


@pytest.mark.parametrize(
    ("source", "target"), [("in/video", "out/latent"), ("in/image", "out/latent_image")], ids=["17f", "image"]
)
def test_encoder_equals_the_official_one(golden, cosmos, source, target):
    assert relative_error(cosmos.encode_raw(golden[source]), golden[target]) < TOLERANCE


# By key of the golden: the module of our encoder that gives the same.
INTERMEDIATES = {
    "out/conv_in": "conv_in", "out/encoder.down.0.block.0": "down.0.block.0",
    "out/encoder.down.0.downsample": "down.0.downsample", "out/encoder": "",
}  # fmt: skip


@pytest.mark.parametrize("key", INTERMEDIATES)
def test_intermediates_equal_the_official_encoder(golden, cosmos, key):
    seen = []
    hook = cosmos.encoder.get_submodule(INTERMEDIATES[key]).register_forward_hook(lambda *call: seen.append(call[-1]))
    cosmos.encode_raw(golden["in/video"])
    hook.remove()
    assert relative_error(seen[0], golden[key]) < TOLERANCE


@pytest.mark.parametrize(
    ("source", "target"),
    [("out/latent", "out/decoded"), ("out/latent_image", "out/decoded_image")],
    ids=["17f", "image"],
)
def test_decoder_equals_the_official_one(golden, cosmos, source, target):
    assert relative_error(cosmos.decode_raw(golden[source]), golden[target]) < TOLERANCE


def test_encode_of_a_prefix_is_the_prefix_of_encode(golden, cosmos):
    prefix = cosmos.encode_raw(golden["in/video"][:, :, :9])
    assert relative_error(prefix, golden["out/latent_9f"]) < TOLERANCE
    assert relative_error(prefix, cosmos.encode_raw(golden["in/video"])[:, :, :2]) < TOLERANCE


def test_decode_of_a_prefix_is_the_prefix_of_decode(golden, cosmos):
    prefix = cosmos.decode_raw(golden["out/latent"][:, :, :2])
    assert relative_error(prefix, cosmos.decode_raw(golden["out/latent"])[:, :, :9]) < TOLERANCE


BFLOAT16_CASES = {
    "encode_1f": (WaveletVAE.encode_raw, "in/image"),
    "encode_17f": (WaveletVAE.encode_raw, "in/video"),
    "decode_1l": (WaveletVAE.decode_raw, "out/latent_image"),
    "decode_3l": (WaveletVAE.decode_raw, "out/latent"),
}


def convolves_as_recorded(golden, recorded) -> bool:
    """Whether this CPU's convolution adds up in the order of the recorded one, as those with AVX-512 were seen to."""
    weight, bias = (golden.weights[f"encoder.conv_in.0.conv3d.{name}"].bfloat16() for name in ("weight", "bias"))
    made = F.conv3d(golden["out/patcher3d"].bfloat16(), weight, bias, padding=(0, 1, 1))
    return torch.equal(made, recorded["convolution"])


@pytest.mark.parametrize("case", BFLOAT16_CASES)
def test_bfloat16_equals_the_official_one(golden, recorded, half, case):
    """To the bit. Another convolution kernel (AVX2) moves the official module's own outputs by 0.015."""
    function, source = BFLOAT16_CASES[case]
    made, expected = function(half, golden[source].bfloat16()), recorded[case]
    bound = 0 if convolves_as_recorded(golden, recorded) else 0.02
    assert made.dtype == torch.bfloat16 and relative_error(made.float(), expected.float()) <= bound


def test_bfloat16_stream_equals_the_official_one(golden, recorded, half):
    made = half.decode(golden["out/latent"].bfloat16())
    bound = 0 if convolves_as_recorded(golden, recorded) else 0.02
    assert relative_error(made.float(), recorded["decode_3l"].float()) <= bound


def test_bfloat16_patcher_equals_the_official_one(golden, recorded):
    """On any CPU: products of two bfloat16 numbers are exact in float32."""
    assert torch.equal(patch(golden["in/video"].bfloat16(), 4), recorded["patch"])
    assert torch.equal(unpatch(golden["out/patcher3d"].bfloat16(), 4), recorded["unpatch"])


def fused_attention(*qkv: Tensor, is_causal: bool = False) -> Tensor:
    return F.scaled_dot_product_attention(*(x.unsqueeze(1) for x in qkv), is_causal=is_causal).squeeze(1)


@pytest.mark.parametrize(
    ("module", "name", "form"),
    [
        (wavelet_vae, "silu", F.silu),
        (wavelet_vae, "attention", fused_attention),
        (haar, "rounds_officially", lambda x: False),
        (factorized, "rounds_officially", lambda x: False),
    ],
    ids=["silu", "attention", "haar", "norm"],
)
def test_forms_of_float32_are_seen_in_bfloat16(golden, recorded, half, monkeypatch, module, name, form):
    """Each alone moves the official module's pixels; measured 0.015 to 0.025."""
    if not convolves_as_recorded(golden, recorded):
        pytest.skip("this CPU's convolution differs from the recorded one by as much")
    monkeypatch.setattr(module, name, form)
    made = half.decode_raw(golden["out/latent"].bfloat16())
    assert relative_error(made.float(), recorded["decode_3l"].float()) > 0.01


def forbid_the_forms_of_half_precision(monkeypatch) -> None:
    def forbidden(*args, **options):
        raise AssertionError("a form of half precision")

    of_half = [(official_rounding, "_rounded_attention"), (torch, "sigmoid"), (F, "group_norm")]
    for module, name in [*of_half, (haar, "_analysis_filters"), (haar, "_synthesis_filters")]:
        monkeypatch.setattr(module, name, forbidden)


@pytest.mark.parametrize("autocast", [False, True], ids=["float32", "autocast"])
def test_float32_and_autocast_keep_their_forms(golden, cosmos, monkeypatch, autocast):
    forbid_the_forms_of_half_precision(monkeypatch)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        assert cosmos(golden["in/video"]).dtype == (torch.bfloat16 if autocast else torch.float32)
        cosmos.decode(latents_of(2))


def test_haar_is_exact_in_float32():
    x = torch.randint(256, (1, 3, 8, 16, 24), generator=torch.Generator().manual_seed(1)).float()
    assert torch.equal(haar_synthesis(haar_analysis(x, 4), 4), x)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_attention_in_pieces_changes_nothing(monkeypatch, dtype):
    q, k, v = torch.randn(3, 5, 6, 8, generator=torch.Generator().manual_seed(1)).to(dtype)
    whole = official_rounding.attention(q, k, v)
    monkeypatch.setattr(official_rounding, "_SCORES_AT_ONCE", 2 * 6 * 6)
    pieces = official_rounding.attention(q, k, v)
    assert pieces.shape == q.shape and relative_error(pieces.float(), whole.float()) < 2 * torch.finfo(dtype).eps


@pytest.mark.parametrize("config", [SMALL_NANO, WaveletVAEConfig(channels=8)], ids=["nano", "cosmos"])
def test_the_future_has_no_gradient(config):
    vae = with_random_weights(WaveletVAE(config))
    pixels = pixels_of(1 + 2 * config.temporal_factor).requires_grad_()
    z = vae.encode_raw(pixels)
    (to_pixels,) = torch.autograd.grad(z[:, :, 1].square().sum(), pixels)
    last_seen = 1 + config.temporal_factor
    assert to_pixels[:, :, last_seen:].abs().max() == 0
    assert (to_pixels[:, :, :last_seen].abs().amax(dim=(0, 1, 3, 4)) > 0).all()

    z = z.detach().requires_grad_()
    (to_z,) = torch.autograd.grad(vae.decode_raw(z)[:, :, :last_seen].square().sum(), z)
    assert to_z[:, :, 2].abs().max() == 0
    assert (to_z[:, :, :2].abs().amax(dim=(0, 1, 3, 4)) > 0).all()


class StandIn(WaveletVAE):
    """The networks that the recorded wrapper ran: averages of cubes, and their repetition."""

    def encode_raw(self, pixels: Tensor) -> Tensor:
        first, rest = F.avg_pool3d(pixels[:, :, :1], (1, 8, 8)), F.avg_pool3d(pixels[:, :, 1:], 8)
        return repeat(torch.cat([first, rest], dim=2), "b c t h w -> b (n c) t h w", n=6)[:, :16]


class StandInDecoder(nn.Module):
    def forward(self, z: Tensor, stream: Stream) -> Tensor:
        count = 1 if stream.is_first_chunk else 8
        return repeat(z[:, :3], "b c 1 h w -> b c t (h n) (w m)", t=count, n=8, m=8)


def stand_in(mean: Tensor, std: Tensor) -> StandIn:
    vae = StandIn(WaveletVAEConfig(channels=8, pixel_frames_per_chunk=17))
    vae.post_quant_conv, vae.decoder = nn.Identity(), StandInDecoder()
    vae.set_latent_statistics(mean, std)
    return vae


def test_statistics_and_chunks_equal_the_official_wrapper():
    golden = read_golden("predict1_tokenizer_wrapper")
    mean, std = statistics_from_mean_std(golden["in/mean"], golden["in/std"], num_latent_frames=3)
    assert torch.equal(rearrange(mean, "c t -> 1 c t 1 1"), golden["buf/latent_mean"])
    assert torch.equal(rearrange(std, "c t -> 1 c t 1 1"), golden["buf/latent_std"])
    vae = stand_in(mean, std)

    latents = vae.encode(golden["in/video"])
    assert relative_error(latents, golden["out/latent_normalised"]) < 1e-6
    sigma_data = 0.5  # multiplies the normalized latents in Predict1's diffusion system, not in the tokenizer
    assert relative_error(latents * sigma_data, golden["out/latent_times_sigma_data"]) < 1e-6
    assert relative_error(vae.decode(golden["out/latent_times_sigma_data"] / sigma_data), golden["out/decoded"]) < 1e-6


def test_chunks_are_encoded_alone(golden, cosmos):
    vae = WaveletVAE(WaveletVAEConfig(channels=8, pixel_frames_per_chunk=17)).requires_grad_(False)
    vae.load_state_dict(wavelet_vae_from_official(golden.weights, mean=torch.zeros(16, 3), std=torch.ones(16, 3)))
    clip = pixels_of(34, batch=2)
    expected = torch.cat([vae.encode(clip[:, :, :17]), vae.encode(clip[:, :, 17:])], dim=2)
    latents = vae.encode(clip)
    assert latents.shape == (2, 16, 6, 2, 3)
    assert relative_error(latents, expected) < TOLERANCE
    expected = torch.cat([vae.decode(latents[:, :, :3]), vae.decode(latents[:, :, 3:])], dim=2)
    assert relative_error(vae.decode(latents), expected) < TOLERANCE


@pytest.mark.parametrize(("dtype", "bound"), [(torch.float32, TOLERANCE), (torch.bfloat16, 0.02)])
@pytest.mark.parametrize("config", [SMALL_NANO, WaveletVAEConfig(channels=8)], ids=["nano", "cosmos"])
def test_a_stream_decodes_what_the_whole_does(config, dtype, bound):
    """Latent frame by latent frame, through caches, equal to one pass over all of them (0 in bfloat16 with AVX-512)."""
    vae = with_random_weights(WaveletVAE(config)).requires_grad_(False).to(dtype)
    z = torch.randn(2, 16, 5, 2, 3, generator=torch.Generator().manual_seed(4)).to(dtype)
    chunks = list(vae.decode_stream(z))
    assert [chunk.shape[2] for chunk in chunks] == [1] + [config.temporal_factor] * 4
    assert relative_error(torch.cat(chunks, dim=2).float(), vae.decode_raw(z).float()) < bound


def test_two_streams_can_be_interleaved(cosmos):
    one = torch.randn(1, 16, 3, 2, 3, generator=torch.Generator().manual_seed(4))
    pairs = list(zip(cosmos.decode_stream(one), cosmos.decode_stream(one.flip(2)), strict=True))
    assert torch.equal(torch.cat([first for first, _ in pairs], dim=2), cosmos.decode(one))


def test_attention_hands_fused_kernels_what_they_can_read(cosmos, monkeypatch):
    """Features side by side in memory: otherwise a kernel is taken that holds the whole matrix of weights."""
    seen, attend = [], F.scaled_dot_product_attention

    def watched(*qkv, **options):
        seen.extend(qkv)
        return attend(*qkv, **options)

    monkeypatch.setattr(F, "scaled_dot_product_attention", watched)
    cosmos.decode(latents_of(2))
    cosmos.encode(pixels_of(9))
    assert len(seen) == 2 * 6 + 6 and all(x.stride(-1) == 1 for x in seen)


def peak_of_decoding(vae: WaveletVAE, latents: Tensor) -> int:
    with PeakMemory() as memory, torch.no_grad():
        for piece in vae.decode_stream(latents):
            del piece
    return memory.peak


def test_peak_memory_of_decoding_does_not_grow_with_the_clip(cosmos):
    """25 against 97 pixel frames, the legal counts next to 29 and 93, and three chunks of 121."""
    peaks = [peak_of_decoding(cosmos, latents_of(count)) for count in (4, 13, 48)]
    assert peaks[0] > 100_000 and max(peaks) < 1.05 * peaks[0]
    with PeakMemory() as memory, torch.no_grad():
        cosmos.decode_raw(latents_of(13))
    assert memory.peak > 2 * peaks[0]


def test_full_size_decoding_at_720p_holds_less_than_4_gb():
    """All tensors in bfloat16, counted without computing: 2.4 GB, 0.8 of them one latent frame's attention scores."""
    with torch.device("meta"):
        vae = WaveletVAE(WaveletVAEConfig()).bfloat16().requires_grad_(False)
        latents = torch.empty(1, 16, 3, 88, 160, dtype=torch.bfloat16)
    assert 1e9 < peak_of_decoding(vae, latents) < 4e9


def test_a_short_clip_takes_the_statistics_of_its_latent_frames(golden, cosmos):
    mean, std = cosmos_latent_statistics()
    raw = cosmos.encode_raw(golden["in/video"])
    expected = (raw - mean[None, :, :3, None, None]) / std[None, :, :3, None, None]
    assert relative_error(cosmos.encode(golden["in/video"]), expected) < TOLERANCE
    assert relative_error(cosmos.decode(expected), golden["out/decoded"]) < TOLERANCE


@pytest.mark.parametrize("mutant", ["inverted", "absent"])
def test_museum_latent_std_inverted_or_absent_is_seen(mutant):
    """Museum entry 11: with a wrong latent std, the recorded wrapper's latents are not reproduced."""
    golden = read_golden("predict1_tokenizer_wrapper")
    mean, std = statistics_from_mean_std(golden["in/mean"], golden["in/std"], num_latent_frames=3)
    vae = stand_in(mean, 1 / std if mutant == "inverted" else torch.ones_like(std))
    assert relative_error(vae.encode(golden["in/video"]), golden["out/latent_normalised"]) > 0.05
    assert relative_error(vae.decode(golden["out/latent_normalised"]), golden["out/decoded"]) > 0.05


@pytest.mark.parametrize(
    ("num_pixel_frames", "num_latent_frames"), [(1, 1), (9, 2), (113, 15), (121, 16), (242, 32), (363, 48)]
)
def test_cosmos_frame_counts(cosmos, num_pixel_frames, num_latent_frames):
    assert cosmos.num_latent_frames(num_pixel_frames) == num_latent_frames
    assert cosmos.num_pixel_frames(num_latent_frames) == num_pixel_frames


@pytest.mark.parametrize(
    ("count", "nearest"), [(0, "1 or 9"), (8, "1 or 9"), (120, "113 or 121"), (122, "121 or 242"), (250, "242 or 363")]
)
def test_illegal_counts_name_the_nearest_two(cosmos, count, nearest):
    with pytest.raises(ValueError, match=nearest):
        cosmos.num_latent_frames(count)


@pytest.mark.parametrize(("count", "nearest"), [(0, "1 or 2"), (17, "16 or 32")])
def test_illegal_latent_counts_name_the_nearest_two(cosmos, count, nearest):
    with pytest.raises(ValueError, match=nearest):
        cosmos.num_pixel_frames(count)


@pytest.mark.parametrize(
    ("pixels", "message"),
    [
        (torch.zeros(1, 3, 9, 16, 16, dtype=torch.uint8), "127.5"),
        (torch.full((1, 3, 9, 16, 16), 255.0), r"\[-1, 1\]"),
        (torch.zeros(1, 3, 9, 20, 16), "16 or 24"),
        (torch.zeros(1, 9, 3, 16, 16), "channels"),
        (torch.zeros(1, 3, 10, 16, 16), "9 or 17"),
    ],
    ids=["uint8", "range", "height", "axes", "count"],
)
def test_wrong_pixels_are_refused(cosmos, pixels, message):
    with pytest.raises(ValueError, match=message):
        cosmos.encode(pixels)


@pytest.mark.parametrize(
    "change",
    [{"temporal_factor": 2}, {"temporal_factor": 16}, {"channels_mult": (2, 4)}, {"pixel_frames_per_chunk": 120}],
)
def test_wrong_configurations_are_refused(change):
    with pytest.raises(ValueError):
        WaveletVAEConfig(**change)


def test_nano_shapes_counts_and_size():
    with torch.device("meta"):
        vae = WaveletVAE(nano_config())
        latents = vae.encode_raw(torch.zeros(1, 3, 33, 112, 192))
        assert latents.shape == (1, 16, 9, 14, 24)
        assert vae.decode_raw(latents).shape == (1, 3, 33, 112, 192)
    assert (vae.temporal_factor, vae.spatial_factor) == (4, 8)
    assert vae.num_latent_frames(33) == 9 and vae.num_pixel_frames(9) == 33 and vae.num_latent_frames(1) == 1
    assert vae.latent_mean.shape == vae.latent_std.shape == (16, 1, 1, 1)
    with pytest.raises(ValueError, match="29 or 33"):
        vae.num_latent_frames(32)
    assert sum(p.numel() for p in vae.parameters()) < 6e6  # its share of the weights that are shipped


def test_statistics_make_unit_variance_and_are_undone():
    vae = with_random_weights(WaveletVAE(SMALL_NANO)).requires_grad_(False)
    pixels = pixels_of(9, batch=2)
    raw = vae.encode_raw(pixels)
    vae.set_latent_statistics(raw.mean(dim=(0, 2, 3, 4)), raw.std(dim=(0, 2, 3, 4)))
    latents = vae.encode(pixels)
    torch.testing.assert_close(latents.std(dim=(0, 2, 3, 4)), torch.ones(16), atol=1e-4, rtol=0)
    assert relative_error(vae.decode(latents), vae(pixels)) < TOLERANCE
    with pytest.raises(ValueError, match="positive"):
        vae.set_latent_statistics(torch.zeros(16), torch.zeros(16))


def test_trains_under_bfloat16_autocast():
    vae = with_random_weights(WaveletVAE(SMALL_NANO))
    pixels = pixels_of(9, batch=2)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        reconstruction = vae(pixels)
    (reconstruction.float() - pixels).square().mean().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in vae.parameters())
    exact = vae(pixels).detach()
    assert relative_error(reconstruction.detach().float(), exact) < 0.1  # bf16 rounds to 0.4 %, over 30 layers


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_compiles_as_one_graph(dtype):
    shallow = replace(SMALL_NANO, num_res_blocks=1)
    vae = with_random_weights(WaveletVAE(shallow)).requires_grad_(False).to(dtype)
    pixels = pixels_of(9).to(dtype)
    compiled = torch.compile(vae, fullgraph=True, backend="eager")
    assert torch.equal(compiled(pixels), vae(pixels))


def test_a_bfloat16_module_keeps_the_callers_dtype(golden, cosmos):
    vae = WaveletVAE(cosmos.config).requires_grad_(False)
    vae.load_state_dict(cosmos.state_dict())
    vae.bfloat16()
    latents = vae.encode(golden["in/video"])
    assert latents.dtype == torch.float32
    assert vae.decode(latents.bfloat16()).dtype == torch.bfloat16
    # 8 bits of mantissa through some 30 convolutions
    assert relative_error(latents, cosmos.encode(golden["in/video"])) < 0.05


def test_official_keys_shapes_and_parameter_counts():
    with torch.device("meta"):
        vae = WaveletVAE(WaveletVAEConfig())
        official = {
            part: {k: torch.empty(s) for k, s in read_manifest(f"predict1_tokenizer_cv8x8x8_720p_{part}").items()}
            for part in ("encoder", "decoder", "autoencoder")
        }
    halves = wavelet_vae_from_official(official["encoder"] | official["decoder"], **NO_STATISTICS)
    whole = wavelet_vae_from_official(official["autoencoder"], **NO_STATISTICS)
    for state in (halves, whole):
        assert {k: v.shape for k, v in state.items()} == {k: v.shape for k, v in vae.state_dict().items()}
    meta = read_manifest_meta("predict1_tokenizer_cv8x8x8_720p_autoencoder")
    assert sum(p.numel() for p in vae.parameters()) == meta["num_params"] == 105_653_696


def test_diffusers_keys_and_shapes():
    with torch.device("meta"):
        vae = WaveletVAE(WaveletVAEConfig())
        manifest = read_manifest("predict1_diffusers_autoencoder_kl_cosmos")
        state = wavelet_vae_from_diffusers({k: torch.empty(s) for k, s in manifest.items()}, **NO_STATISTICS)
    assert {k: v.shape for k, v in state.items()} == {k: v.shape for k, v in vae.state_dict().items()}
    assert len(state) == len(manifest) + 2


@pytest.mark.parametrize("which", ["cosmos", "nano"])
def test_diffusers_peer(which):
    """A random AutoencoderKLCosmos, loaded through the key map, encodes and decodes alike."""
    from diffusers import AutoencoderKLCosmos

    nano = which == "nano"
    config = SMALL_NANO if nano else WaveletVAEConfig(channels=8)
    peer = AutoencoderKLCosmos(
        encoder_block_out_channels=(8, 8, 8) if nano else (8, 16, 32, 32),
        decode_block_out_channels=(8, 8, 8) if nano else (16, 32, 32, 32),
        temporal_compression_ratio=config.temporal_factor,
    )
    with_random_weights(peer, seed=3).requires_grad_(False)
    vae = WaveletVAE(config).requires_grad_(False)
    num = config.num_statistics
    mean, std = torch.zeros(16, num), torch.ones(16, num)
    vae.load_state_dict(wavelet_vae_from_diffusers(peer.state_dict(), mean=mean, std=std))
    pixels = pixels_of(17)
    z = peer.encode(pixels).latent_dist.mode()
    assert relative_error(vae.encode_raw(pixels), z) < 1e-4
    assert relative_error(vae.decode_raw(z), peer.decode(z).sample) < 1e-4


def test_published_statistics_equal_diffusers_defaults():
    import inspect

    from diffusers import AutoencoderKLCosmos

    defaults = inspect.signature(AutoencoderKLCosmos.__init__).parameters
    for ours, name in zip(cosmos_latent_statistics(), ("latents_mean", "latents_std"), strict=True):
        assert torch.equal(rearrange(ours, "c t -> (c t)"), torch.tensor(defaults[name].default))


def test_mean_std_of_another_tokenizer_is_refused():
    with pytest.raises(ValueError, match="mean_std"):
        statistics_from_mean_std(torch.zeros(16 * 4), torch.ones(16 * 4), num_latent_frames=16)
