"""The recipe of nano: stages, each a function of a folder, run one after another or on another day.

    words      captions -> tokenizer.json
    text       captions -> text_encoder.safetensors, meanings.safetensors
    tokenizer  rendered clips -> vae.safetensors
    world      encoded clips and captions -> dit.safetensors, text_encoder.safetensors
    critic     encoded clips, captions and mistakes, and clips that dit.safetensors makes -> critic.safetensors
    reader     rendered clips and reconstructions, in part as dit.safetensors draws them again -> reader.safetensors
    average    dit.safetensors and text_encoder.safetensors, or critic.safetensors, of two folders -> what lies between
    export     all of these -> the model folder that `lab.load` reads (`export.py`)

Each trained stage starts from the weights that the folder already holds, goes on from its own `state.pt` if it was
interrupted, and leaves the running average of its weights.
"""

from collections.abc import Iterable
from dataclasses import asdict, replace
from pathlib import Path

import torch
from torch import nn

from cosmos_lab.nn.block import Block
from cosmos_lab.nn.wavelet_vae import ResBlock
from cosmos_lab.runtime.checkpoints import save_weights
from cosmos_lab.runtime.ranks import Ranks
from cosmos_lab.text.encoders import train_tokenizer
from cosmos_lab.train.banks import latent_bank, world_bank
from cosmos_lab.train.building import (
    TEXT_ENCODER,
    build_dit,
    build_meanings,
    build_text,
    build_vae,
)
from cosmos_lab.train.clips import ClipSource, Pool, render_pool
from cosmos_lab.train.judging import train_critic_stage
from cosmos_lab.train.loop import train
from cosmos_lab.train.reader import ReaderRecipe, train_reader
from cosmos_lab.train.redrawn import redrawing
from cosmos_lab.train.stage import Stage
from cosmos_lab.train.states import StateHead
from cosmos_lab.train.text import caption_bank, look_around, meaning_loss, understood
from cosmos_lab.train.tokenizer import (
    compile_blocks,
    reconstruction_psnr,
    set_latent_statistics,
    tokenizer_loss,
    uncompiled,
)
from cosmos_lab.train.world_model import WorldRecipe, caption_shuffle_ratio, world_loss
from cosmos_lab.worlds.captions import corpus

# Seeds that no training clip uses: the held-out clips of every stage.
HELD_OUT_SEED = 900_000_000
TOLD_HELD_OUT = 250


def train_words(folder: Path, captions: int = 12_000, seed: int = 0, vocab_size: int = 2048) -> None:
    """Learns the text tokenizer from captions of the nano world."""
    folder.mkdir(parents=True, exist_ok=True)
    train_tokenizer(corpus(captions, seed), vocab_size=vocab_size).save(str(folder / "tokenizer.json"))


def held_out_pool(ranks: Ranks, workers: int, count: int = 128) -> Pool:
    """Clips of both splits that no stage trains on; every rank renders them for itself."""
    source = ClipSource(count=count, first_seed=HELD_OUT_SEED, split="any", workers=max(1, workers // ranks.size))
    return render_pool(source, Ranks(device=ranks.device), progress=False)


def train_stage(name: str, stage: Stage, pools: Iterable[Pool], held_out: Pool | None) -> dict[str, float]:
    """Trains the stage of that name; returns its figures on held-out clips. "text" needs no clips, and "world" and
    "critic" take them in several pools."""
    if name == "text":
        return train_text_stage(stage)
    if name == "world":
        return train_world_stage(stage, pools, held_out, replace(stage.world, batch=stage.batch))
    if name == "critic":
        return train_critic_stage(stage, pools)
    (pool,) = pools
    if name == "tokenizer":
        return train_tokenizer_stage(stage, pool, held_out)
    return train_reader_stage(stage, pool, ReaderRecipe(batch=stage.batch, clips=stage.reader_clips))


def train_text_stage(stage: Stage) -> dict[str, float]:
    """Trains the text encoder to say what captions say; `stage.source` counts the scenes that are told, not clips.

    It begins by looking around (`train/text.py`), whatever it has learned before.
    """
    text = build_text(stage.folder, stage.ranks)
    look_around(text.model)
    modules = nn.ModuleDict({"text": text, "meanings": build_meanings(stage.folder, text)})
    source = stage.source.part(stage.ranks)
    seeds = range(source.first_seed, source.first_seed + source.count)
    bank = caption_bank(text, seeds, split=source.split, workers=source.workers)
    training = stage.training(modules, "text")
    train(training, meaning_loss(modules, bank, stage.batch), stage.runs / "text")
    training.swap_average()
    figures = {}
    for split in ("train", "withheld"):
        unseen = caption_bank(text, range(HELD_OUT_SEED, HELD_OUT_SEED + TOLD_HELD_OUT), split=split)
        figures |= {f"{split}_{name}": share for name, share in understood(modules, unseen).items()}
    if stage.ranks.first:
        save_weights(stage.folder / TEXT_ENCODER, text.model, dtype=torch.float16)
        save_weights(stage.folder / "meanings.safetensors", modules["meanings"], dtype=torch.float16)
        stage.describe("text_training", {**figures, "steps": training.step, "captions": len(bank.tokens)})
    stage.ranks.barrier()
    return figures


def train_tokenizer_stage(stage: Stage, pool: Pool, held_out: Pool) -> dict[str, float]:
    """Trains the video tokenizer, measures its latent statistics and its PSNR on unseen clips.

    With `keep_latents` its decoder alone: a transformer that knows these latents still does.
    """
    vae = build_vae(stage.folder, stage.ranks)
    if stage.keep_latents:
        vae.encoder.requires_grad_(False)
        vae.quant_conv.requires_grad_(False)
    if stage.compile:
        compile_blocks(vae, (ResBlock,))
    training = stage.training(nn.ModuleDict({"vae": vae}), "tokenizer")
    loss = tokenizer_loss(vae, pool.pixels, stage.batch, stage.latent_noise, stage.ssim_weight)
    train(training, loss, stage.runs / "tokenizer")
    training.swap_average()
    with uncompiled():
        if not stage.keep_latents:
            set_latent_statistics(vae, pool.pixels)
            stage.ranks.broadcast([vae.latent_mean, vae.latent_std])
        figures = {"held_out_psnr": reconstruction_psnr(vae, held_out.pixels).mean().item()}
    if stage.ranks.first:
        save_weights(stage.folder / "vae.safetensors", vae, dtype=torch.float16)
        asked = {name: getattr(stage, name) for name in ("latent_noise", "ssim_weight", "keep_latents")}
        stage.describe("tokenizer_training", {**figures, "steps": training.step}, asked)
    stage.ranks.barrier()
    return figures


def train_world_stage(stage: Stage, pools: Iterable[Pool], held_out: Pool, recipe: WorldRecipe) -> dict[str, float]:
    """Trains transformer and text encoder together; validates on clips whose seeds training never sees."""
    vae, text = build_vae(stage.folder, stage.ranks), build_text(stage.folder, stage.ranks)
    validation = latent_bank(held_out, vae, text)
    bank = world_bank(pools, vae, text, states=recipe.state_weight > 0, objects=recipe.object_weight > 0)
    dit = build_dit(stage.folder, stage.ranks)
    modules = nn.ModuleDict({"dit": dit, "text": text})
    if recipe.state_weight:
        modules["states"] = StateHead(dit.config.width, dit.blocks[recipe.state_block]).to(stage.ranks.device)
    if recipe.meaning_weight:
        modules["meanings"] = build_meanings(stage.folder, text)
    if stage.compile:
        compile_blocks(dit, (Block,))
    training = stage.training(modules, "world")

    def validate() -> dict[str, float]:
        with uncompiled():
            return caption_shuffle_ratio(modules, validation)

    train(training, world_loss(modules, bank, recipe), stage.runs / "world", observe=validate)
    training.swap_average()
    # All ranks are asked: they have rendered different numbers of clips.
    figures, clips = validate(), sum(stage.ranks.gather([len(bank.latents)]))
    if stage.ranks.first:
        save_weights(stage.folder / "dit.safetensors", dit, dtype=torch.float16)
        save_weights(stage.folder / TEXT_ENCODER, text.model, dtype=torch.float16)
        if recipe.meaning_weight:
            save_weights(stage.folder / "meanings.safetensors", modules["meanings"], dtype=torch.float16)
        stage.describe("world_training", {**figures, "steps": training.step, "clips": clips}, asdict(recipe))
    stage.ranks.barrier()
    return figures


def train_reader_stage(stage: Stage, pool: Pool, recipe: ReaderRecipe) -> dict[str, float]:
    """Trains the ruler on renders, on reconstructions by the folder's video tokenizer, and on what its transformer, if
    there is one, draws again."""
    vae, redraw = build_vae(stage.folder, stage.ranks), None
    if (stage.folder / "dit.safetensors").is_file():
        dit = build_dit(stage.folder, stage.ranks).requires_grad_(False)
        redraw = redrawing(dit, recipe.sigmas)
    pool = pool.first(recipe.clips // stage.ranks.size)
    weights = stage.folder / "reader.safetensors"
    reader, figures = train_reader(pool, stage.plan, stage.ranks, stage.runs / "reader", vae=vae, redraw=redraw,
                                   recipe=recipe, weights=weights)
    if stage.ranks.first:
        save_weights(weights, reader, dtype=torch.float16)
        asked = {} if redraw is None else {"redrawn": recipe.redrawn, "sigmas": recipe.sigmas}
        stage.describe("reader_training", {**figures, "clips": len(pool.rollouts) * stage.ranks.size}, asked)
    return figures
