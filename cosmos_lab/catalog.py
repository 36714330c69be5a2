"""Every model: its card, its files, its defaults. A row of this file is all that sets a model apart."""

import json
from dataclasses import replace
from difflib import get_close_matches
from functools import cache
from importlib.resources import files
from itertools import product

from cosmos_lab.config import Card, Pictures, Sampling, Sizes, Text
from cosmos_lab.nn.dit import DiTConfig
from cosmos_lab.nn.dit_configs import DIT_CONFIGS
from cosmos_lab.nn.wan_vae import WanVAEConfig
from cosmos_lab.nn.wavelet_vae import WaveletVAEConfig, nano_config
from cosmos_lab.selection.critic import CriticConfig

WORLD = ("text2world", "image2world", "video2world")

# (width, height) by resolution and aspect ratio.
P720 = {"16:9": (1280, 704), "9:16": (704, 1280), "4:3": (960, 704), "3:4": (704, 960), "1:1": (960, 960)}
P480 = {"16:9": (768, 432), "9:16": (432, 768), "4:3": (640, 480), "3:4": (480, 640), "1:1": (480, 480)}
P1024 = {"16:9": (1360, 768), "9:16": (768, 1360), "4:3": (1168, 880), "3:4": (880, 1168), "1:1": (1024, 1024)}
T5 = "google-t5/t5-11b"
NANO_SIZES: Sizes = {"112": {"16:9": (192, 112)}}


@cache
def cards() -> dict[str, Card]:
    """All cards by name, nano first."""
    rows = [nano_card(), *_cosmos1_and_predict1(), *_predict2(), *_predict2_5()]
    return {card.name: card for card in rows}


def card(name: str) -> Card:
    """The card of a model. Raises ValueError, listing the known ones, for a name that there is not."""
    if name not in cards():
        near = get_close_matches(name, cards(), n=1, cutoff=0.5)
        hint = f"did you mean {near[0]}? " if near else ""
        raise ValueError(f"there is no model {name!r}; {hint}Known models: {', '.join(cards())}")
    return cards()[name]


def nano_card(dit: DiTConfig | None = None, tokenizer: WaveletVAEConfig | None = None) -> Card:
    """The embedded model, or another of its kind with a different network.

    Churn leaves alone the pure noise at sigma 80, and what lies below 4, where the layout stands. Guidance ends where
    all that a prompt says is there to be seen. The critic is severe: a try in vain costs time, a wrong clip is seen.
    """
    dit = dit or DIT_CONFIGS["nano"]()
    return Card(
        name="nano", generation="nano", size="nano", tasks=("text2image", *WORLD),
        dit=dit, tokenizer=tokenizer or nano_config(), text=Text(num_tokens=128),
        sampling=Sampling(num_steps=25, guidance=3.0, noise="keyed", batch_guidance=True, churn=0.3,
                          churn_range=(4.0, 79.0), guidance_least_sigma=0.3, tries=4, accept=0.97),
        pictures=Pictures(resize="round"), sizes=NANO_SIZES, resolution="112", num_pixel_frames=33, any_length=True,
        files={"folder": "assets/nano"},
        critic=CriticConfig(latent_channels=dit.latent_channels, text_width=dit.text_width),
    )


def _negative(generation: str) -> str:
    return json.loads((files("cosmos_lab") / "negative_prompts.json").read_text(encoding="utf-8"))[generation]


def _predict2() -> list[Card]:
    rows = []
    for size in ("0.6B", "2B", "14B"):
        name, folder = f"predict2-{size.lower()}-text2image", f"nvidia/Cosmos-Predict2-{size}-Text2Image"
        rows.append(Card(
            name=name, generation="predict2", size=size, tasks=("text2image",),
            dit=DIT_CONFIGS[name](), tokenizer=WanVAEConfig(), text=Text(),
            sampling=Sampling(guidance=4.0, full_edit="latents"),
            pictures=Pictures(conditional_pixel_frames=(), edited="unit"),
            sizes={"1024": P1024}, resolution="1024", num_pixel_frames=1,
            files={"dit": f"{folder}/model.pt", "tokenizer": f"{folder}/tokenizer/tokenizer.pth", "text": T5},
        ))  # fmt: skip
    for size, resolution, (fps, length) in product(("2B", "14B"), ("720", "480"), ((16, 93), (10, 61))):
        family, folder = f"predict2-{size.lower()}-video2world", f"nvidia/Cosmos-Predict2-{size}-Video2World"
        rows.append(Card(
            name=f"{family}-{resolution}p-{fps}fps", generation="predict2", size=size, tasks=WORLD,
            dit=DIT_CONFIGS[family](), tokenizer=WanVAEConfig(), text=Text(),
            sampling=Sampling(unconditional="prompt", full_edit="latents"), pictures=Pictures(hand_over="files"),
            sizes={resolution: P720 if resolution == "720" else P480}, resolution=resolution,
            fps=fps, num_pixel_frames=length,
            negative_prompt=_negative("predict2"), first_frame=f"predict2-{size.lower()}-text2image",
            files={"dit": f"{folder}/model-{resolution}p-{fps}fps.pt",
                   "tokenizer": f"{folder}/tokenizer/tokenizer.pth", "text": T5},
        ))  # fmt: skip
    return rows


def _predict2_5() -> list[Card]:
    karras = Sampling(
        parametrization="flow", schedule="flow_karras", solver="unipc", final_step="none", sigma_min=0.01,
        sigma_max=200.0, condition="velocity", sigma_conditional=0.1, unconditional="text", guided="output",
    )  # fmt: skip
    shifted = replace(karras, schedule="flow_shifted", sigma_conditional=None)
    rows = []
    for size, stage, identifier, sampling in (
        ("2B", "post-trained", "81edfebe-bd6a-4039-8c1d-737df1a790bf", karras),
        ("2B", "pre-trained", "d20b7120-df3e-4911-919d-db6e08bad31c", shifted),
        ("14B", "pre-trained", "54937b8c-29de-4f04-862c-e67b04ec41e8", shifted),
        # Its official settings are those of the pre-trained one.
        ("14B", "post-trained", "e21d2a49-4747-44c8-ba44-9f6f9243715f", shifted),
    ):
        rows.append(Card(
            name=f"predict2.5-{size.lower()}-{stage}", generation="predict2.5", size=size, tasks=WORLD,
            dit=DIT_CONFIGS[f"predict2.5-{size.lower()}"](), tokenizer=WanVAEConfig(), text=Text(kind="reason1"),
            sampling=sampling, pictures=Pictures(resize="round", alpha="drop", rounding="truncate"),
            sizes={"720": P720}, resolution="720", negative_prompt=_negative("predict2_5"),
            files={"dit": f"nvidia/Cosmos-Predict2.5-{size}/base/{stage}/{identifier}_ema_bf16.pt",
                   "tokenizer": "nvidia/Cosmos-Predict2.5-2B/tokenizer.pth", "text": "nvidia/Cosmos-Reason1-7B"},
        ))  # fmt: skip
    return rows


def _cosmos1_and_predict1() -> list[Card]:
    """The same networks, sampled in two official ways."""
    cosmos1 = Sampling(
        parametrization="edm", sigma_data=0.5, condition="augment", sigma_conditional=0.001, precision="network", seed=1
    )
    predict1 = replace(
        cosmos1, schedule="predict1_karras", solver="euler", final_step="none", sigma_min=0.0002, condition="state",
        guided="output", precision="mixed",
    )  # fmt: skip
    ways = {
        "cosmos1": ("Cosmos-1.0-Diffusion", "Cosmos-1.0-Tokenizer-CV8x8x8", cosmos1),
        "predict1": ("Cosmos-Predict1", "Cosmos-Tokenize1-CV8x8x8-720p", predict1),
    }
    rows = []
    for generation, size, kind in product(ways, ("7B", "14B"), ("Text2World", "Video2World")):
        prefix, tokenizer, sampling = ways[generation]
        video, family = kind == "Video2World", f"{size}-{kind}".lower()
        rows.append(Card(
            name=f"{generation}-{family}", generation=generation, size=size,
            tasks=("image2world", "video2world") if video else ("text2world",),
            dit=DIT_CONFIGS[f"predict1-{family}"](), tokenizer=WaveletVAEConfig(), text=Text(),
            sampling=replace(sampling, unconditional="prompt" if video else "zero"),
            pictures=Pictures(resize="bicubic", rounding="truncate", fill=0.0,
                              conditional_pixel_frames=(1, 9) if video else ()),
            sizes={"720": P720}, resolution="720", fps=24, num_pixel_frames=121, negative_prompt=_negative("predict1"),
            files={"dit": f"{prefix}-{size}-{kind}/model.pt", "tokenizer": tokenizer, "text": T5},
        ))  # fmt: skip
    return rows
