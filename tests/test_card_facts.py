"""The official cards, number by number, as their publishers' code has them: the values were read there, not here.

Rows are found by the card's name with `*` for anything; a card without its row in a table fails. "predict1 code" is
nvidia-cosmos/cosmos-predict1 of 2025-03-21, "1.0 code" Cosmos-1.0's first release, "predict2 code" cosmos-predict2
1.0.9, "predict2.5 code" cosmos-predict2.5 of 2025-10-06 (50369b8). Cosmos-1.0 has a sampler of its own; its clips,
pictures and negative prompt were read in predict1 code, which continues it.
"""

from fnmatch import fnmatch
from hashlib import sha256

import pytest
import torch

from cosmos_lab import catalog
from cosmos_lab.pipelines import assembly

OFFICIAL = {name: card for name, card in catalog.cards().items() if card.generation != "nano"}


def by_name(table):
    """Each official card with its one row of a table, whose keys are patterns separated by spaces."""
    rows = {name: [row for keys, row in table.items() if any(fnmatch(name, key) for key in keys.split())]
            for name in OFFICIAL}  # fmt: skip
    assert all(len(found) == 1 for found in rows.values()), rows
    return pytest.mark.parametrize("card, row", [pytest.param(OFFICIAL[name], *rows[name], id=name) for name in rows])


def differing(part, row):
    """Fields that are not as the row says: name -> (ours, official)."""
    return {name: (getattr(part, name), value) for name, value in row.items() if getattr(part, name) != value}


# Width, blocks, heads, extrapolation ratio of the rotary embedding in (time, height, width).
# 1.0 and predict1 code: network configurations, resolved by Hydra. predict2 code: pipeline configurations, one for all
# resolutions and frame rates of a size. predict2.5 code: experiment configurations, composed by Hydra.
NETWORKS = {
    "cosmos1-7b-* predict1-7b-*": (4096, 28, 32, (2.0, 1.0, 1.0)),
    "cosmos1-14b-* predict1-14b-*": (5120, 36, 40, (2.0, 2.0, 2.0)),
    "predict2-0.6b-text2image": (1280, 20, 20, (1.0, 4.0, 4.0)),
    "predict2-2b-text2image": (2048, 28, 16, (1.0, 4.0, 4.0)),
    "predict2-14b-text2image": (5120, 36, 40, (1.0, 4.0, 4.0)),
    "predict2-2b-video2world-*": (2048, 28, 16, (1.0, 3.0, 3.0)),
    "predict2-14b-video2world-*": (5120, 36, 40, (0.8333333333333334, 2.0, 2.0)),
    "predict2.5-2b-*": (2048, 28, 16, (1.0, 3.0, 3.0)),
    "predict2.5-14b-*": (5120, 36, 40, (1.0, 3.0, 3.0)),
}


@by_name(NETWORKS)
def test_network(card, row):
    dit = card.dit
    assert (dit.width, dit.num_blocks, dit.num_heads, dit.rope_ratio) == row
    assert (dit.mlp_ratio, dit.adaln_rank, dit.text_width, dit.patch) == (4.0, 256, 1024, (1, 2, 2))
    # Latent frames, and latent rows and columns of which two make a token: 128, 240, 240 everywhere.
    assert dit.max_grid == (128, 240 // 2, 240 // 2)


# How positions and noise levels enter. All networks are cast to bfloat16 with their rotary buffers: predict1 and
# predict2 code compute the whole table so, predict2.5 code only rounds the exponents. predict1 and predict2 code round
# the noise level to bfloat16 before the sinusoid; predict2.5 code multiplies an integer by 0.001 and stays in float32
# ("Wan fp32 strategy"). Only predict1 code lets the frame rate into the rotary embedding (base 24).
PREDICT1_INPUT = {"rope_dtype": "bfloat16", "fps_modulation": True, "learned_positions": True, "timestep_scale": 1.0,
                  "timestep_dtype": "weights", "text_projection": None}  # fmt: skip
INPUTS = {
    "cosmos1-* predict1-*": PREDICT1_INPUT,
    "predict2-*": PREDICT1_INPUT | {"fps_modulation": False, "learned_positions": False},
    "predict2.5-*": {"rope_dtype": "bfloat16_exponents", "fps_modulation": False, "learned_positions": False,
                     "timestep_scale": 0.001, "timestep_dtype": "float32", "text_projection": 100352},
}  # fmt: skip


@by_name(INPUTS)
def test_positions_and_noise_levels(card, row):
    assert not differing(card.dit, row)


# 1.0 code: the RES sampler. predict1 code: EDM Euler scheduler, text2world and video2world scripts. predict2 code:
# rectified-flow scaling, second-order multistep scheduler, "frame_replace", conditioners. predict2.5 code: UniPC; the
# 2B post-trained experiment (rf_with_edm_ckpt) has a Karras grid and a timestep of 0.1 for given latent frames, the
# pre-trained ones have shift 5 and one timestep for all, and the 14B post-trained checkpoint runs in the latter.
COSMOS1 = {"parametrization": "edm", "sigma_data": 0.5, "sigma_min": 0.002, "sigma_max": 80.0, "rho": 7.0,
           "num_steps": 35, "solver": "ab2", "final_step": "denoise", "condition": "augment", "guidance_form": "cond",
           "sigma_conditional": 0.001, "guided": "x0", "precision": "network"}  # fmt: skip
PREDICT1 = COSMOS1 | {"sigma_min": 0.0002, "solver": "euler", "final_step": "none", "condition": "state",
                      "guided": "output", "precision": "mixed", "guidance": 7.0, "seed": 1}  # fmt: skip
PREDICT2 = COSMOS1 | {"parametrization": "rectified_flow", "sigma_data": 1.0, "condition": "replace", "seed": 0,
                      "sigma_conditional": 1e-4, "precision": "float32"}  # fmt: skip
PREDICT2_5 = {"parametrization": "flow", "sigma_data": 1.0, "sigma_min": 0.01, "sigma_max": 200.0, "rho": 7.0,
              "num_steps": 35, "solver": "unipc", "final_step": "none", "condition": "velocity", "guided": "output",
              "guidance": 7.0, "guidance_form": "cond", "precision": "float32", "unconditional": "text",
              "truncate_timesteps": True}  # fmt: skip
SAMPLING = {
    "cosmos1-*-text2world": COSMOS1 | {"unconditional": "zero"},
    "cosmos1-*-video2world": COSMOS1 | {"unconditional": "prompt"},
    "predict1-*-text2world": PREDICT1 | {"unconditional": "zero"},
    "predict1-*-video2world": PREDICT1 | {"unconditional": "prompt"},
    "predict2-*-text2image": PREDICT2 | {"guidance": 4.0, "unconditional": "zero"},
    "predict2-*-video2world-*": PREDICT2 | {"guidance": 7.0, "unconditional": "prompt"},
    "predict2.5-2b-post-trained": PREDICT2_5 | {"sigma_conditional": 0.1},
    "predict2.5-2b-pre-trained predict2.5-14b-*": PREDICT2_5 | {"sigma_conditional": None},
}


@by_name(SAMPLING)
def test_sampling(card, row):
    assert not differing(card.sampling, row)


# All noise levels of 35 steps: how many, the first and the last ones. Each generation's scheduler, as it was run.
GRIDS = {
    "cosmos1-*": (36, [80.0], [0.002]),
    "predict1-*": (36, [79.99998], [0.002950609, 0.001342483, 0.0005527093, 0.0001999999, 0.0]),
    "predict2-*": (36, [80.0, 68.32506, 58.142068], [0.012807, 0.007272, 0.003929, 0.002]),
    "predict2.5-2b-post-trained": (36 + 1, [0.995025], [0.00990099, 0.0]),
    "predict2.5-2b-pre-trained predict2.5-14b-*": (35 + 1, [0.99980], [0.12809, 0.0]),
}


# Purposes whose noise the seed determines: NumPy's RandomState, but predict1 code takes its initial noise from torch's
# global generator and only that of given latent frames from the seed.
NOISE = {"predict1-*": ("augment",), "cosmos1-* predict2-* predict2.5-*": ("initial", "augment")}


@by_name(NOISE)
def test_noise(card, row):
    source = assembly.noise_source(card.sampling, 3)
    assert tuple(filter(source.reproduces, ("initial", "augment"))) == row
    assert not torch.equal(source((1, 16, 2, 3, 3)), source((1, 16, 2, 3, 3), purpose="augment")) or len(row) == 2


@by_name(GRIDS)
def test_noise_levels(card, row):
    count, first, last = row
    grid = assembly.sigmas(card.sampling, 35).tolist()
    assert len(grid) == count
    assert grid[: len(first)] == pytest.approx(first, rel=1e-4) and grid[-len(last) :] == pytest.approx(last, rel=1e-4)


# (width, height) at 1:1, 4:3, 3:4, 16:9, 9:16. Cosmos-1.0's documentation; predict2 and 2.5 code: resolution tables.
P720 = ((960, 960), (960, 704), (704, 960), (1280, 704), (704, 1280))
P480 = ((480, 480), (640, 480), (480, 640), (768, 432), (432, 768))
P1024 = ((1024, 1024), (1168, 880), (880, 1168), (1360, 768), (768, 1360))
SIZES = {
    "cosmos1-* predict1-* predict2-*-video2world-720p-* predict2.5-*": {"720": P720},
    "predict2-*-video2world-480p-*": {"480": P480},
    "predict2-*-text2image": {"1024": P1024},
}


@by_name(SIZES)
def test_sizes(card, row):
    aspects = ("1:1", "4:3", "3:4", "16:9", "9:16")
    assert card.sizes == {label: dict(zip(aspects, table, strict=True)) for label, table in row.items()}
    assert (card.resolution, card.aspect_ratio) == (*row, "16:9")


# Frames a second, pixel frames, how many may be given, length and SHA-256 of the default negative prompt, who paints a
# first pixel frame. predict1 code: script defaults. predict2 code: 24 latent frames at 16 a second, 16 at 10; scripts'
# defaults; its text2world has one --model_size for both stages. predict2.5 code: 24 latent frames, 0, 1 or 2 are given.
NONE, LONG = (0, sha256(b"").hexdigest()), (538, "6d7ca93077e7e4a8417947ab03266c97dd44c9ec0d7b97fa4272ed956895239f")
CLIPS = {
    "cosmos1-*-text2world predict1-*-text2world": (24, 121, (), LONG, None),
    "cosmos1-*-video2world predict1-*-video2world": (24, 121, (1, 9), LONG, None),
    "predict2-*-text2image": (None, 1, (), NONE, None),
    "predict2-*-video2world-*-16fps": (16, 93, (1, 5), LONG, "predict2-{size}-text2image"),
    "predict2-*-video2world-*-10fps": (10, 61, (1, 5), LONG, "predict2-{size}-text2image"),
    "predict2.5-*": (16, 93, (1, 5), LONG, None),
}


@by_name(CLIPS)
def test_clips(card, row):
    fps, length, given, negative, painter = row
    assert (card.fps, card.num_pixel_frames) == (fps or card.fps, length)
    # Given latent frames have a mask, which is one more channel of the network.
    assert (card.pictures.conditional_pixel_frames, card.dit.condition_mask) == (given, given != ())
    assert (len(card.negative_prompt), sha256(card.negative_prompt.encode()).hexdigest()) == negative
    assert card.first_frame == (painter and painter.format(size=card.name.split("-")[1]))


# predict1 code: bicubic straight to the size, transparency on white, zeros behind the given pixel frames, truncated
# bytes. predict2 code: bilinear on 0..1, then truncated; its saver adds 0.5 to float clips. predict2.5 code: bilinear
# on 0..255, rounded half to even; the fourth channel is cut off; bytes are truncated.
PICTURES = {
    "cosmos1-* predict1-*": {"resize": "bicubic", "alpha": "white", "fill": 0.0, "rounding": "truncate"},
    "predict2-*-text2image": {"resize": "truncate", "rounding": "half up", "edited": "unit"},
    "predict2-*-video2world-*": {"resize": "truncate", "rounding": "half up", "edited": "signed", "hand_over": "files"},
    "predict2.5-*": {"resize": "round", "alpha": "drop", "rounding": "truncate", "hand_over": "pixels"},
}


@by_name(PICTURES)
def test_pictures(card, row):
    assert not differing(card.pictures, {"posterior": "mean", "decoded": "signed"} | row)


# Transformer, tokenizer of clips, text encoder. predict1 and predict2 code: layouts of their checkpoint folders, for
# Cosmos-1.0 its repositories' names. predict2.5 code: its registry of checkpoints, by UUID.
P2, P2_5, T5 = "nvidia/Cosmos-Predict2-{size}-", "nvidia/Cosmos-Predict2.5-", ("google-t5/t5-11b",)
WAN, SHARED = "tokenizer/tokenizer.pth", (f"{P2_5}2B/tokenizer.pth", "nvidia/Cosmos-Reason1-7B")
FILES = {
    "cosmos1-*": ("Cosmos-1.0-Diffusion-{size}-{task}/model.pt", "Cosmos-1.0-Tokenizer-CV8x8x8", *T5),
    "predict1-*": ("Cosmos-Predict1-{size}-{task}/model.pt", "Cosmos-Tokenize1-CV8x8x8-720p", *T5),
    "predict2-*-text2image": (f"{P2}Text2Image/model.pt", f"{P2}Text2Image/{WAN}", *T5),
    "predict2-*-video2world-*": (f"{P2}Video2World/model-{{variant}}.pt", f"{P2}Video2World/{WAN}", *T5),
    "predict2.5-2b-post-trained":
        (f"{P2_5}2B/base/post-trained/81edfebe-bd6a-4039-8c1d-737df1a790bf_ema_bf16.pt", *SHARED),
    "predict2.5-2b-pre-trained":
        (f"{P2_5}2B/base/pre-trained/d20b7120-df3e-4911-919d-db6e08bad31c_ema_bf16.pt", *SHARED),
    "predict2.5-14b-pre-trained":
        (f"{P2_5}14B/base/pre-trained/54937b8c-29de-4f04-862c-e67b04ec41e8_ema_bf16.pt", *SHARED),
    "predict2.5-14b-post-trained":
        (f"{P2_5}14B/base/post-trained/e21d2a49-4747-44c8-ba44-9f6f9243715f_ema_bf16.pt", *SHARED),
}  # fmt: skip


@by_name(FILES)
def test_files(card, row):
    _, size, task, variant = (card.name + "-").split("-", 3)
    task = {"text2world": "Text2World", "video2world": "Video2World"}.get(task)
    named = [path.format(size=size.upper(), task=task, variant=variant.rstrip("-")) for path in row]
    assert [card.files[part] for part in ("dit", "tokenizer", "text")] == named
