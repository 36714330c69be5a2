"""The stage `critic`: from rendered clips and the world model to a critic."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass

import torch
from torch import nn

from cosmos_lab.nn.dit import DiT
from cosmos_lab.runtime.checkpoints import CRITIC, save_weights
from cosmos_lab.text.encoders import T5TextEncoder
from cosmos_lab.train.banks import world_bank
from cosmos_lab.train.building import (
    build_critic,
    build_dit,
    build_text,
    build_vae,
    text_encoder_digest,
    trained_critic,
)
from cosmos_lab.train.clips import Pool
from cosmos_lab.train.critic import CriticRecipe, critic_figures, critic_heads, critic_loss
from cosmos_lab.train.imagined import Imagined, imagine, imagined_figures, trusted
from cosmos_lab.train.loop import train
from cosmos_lab.train.redrawn import redrawn
from cosmos_lab.train.stage import Stage
from cosmos_lab.train.world_model import LatentBank

# How many of its own clips a critic does not learn from, but is measured on.
APART = 256


def train_critic_stage(stage: Stage, pools: Iterable[Pool]) -> dict[str, float]:
    """Trains the critic on the folder's transformer and text encoder, which stay as they are; it is measured on clips
    that it does not learn from. Raises ValueError for fewer than 4 clips."""
    vae, text, dit = (build(stage.folder, stage.ranks) for build in (build_vae, build_text, build_dit))
    bank, recipe = world_bank(pools, vae, text, states=True, wrong_words=True), CriticRecipe()
    lessons = _lessons(stage, bank, dit.requires_grad_(False), text.requires_grad_(False), recipe)
    critic = build_critic(stage.folder, stage.ranks)
    modules = nn.ModuleDict({"critic": critic, **critic_heads(critic.config, stage.ranks.device)})
    training = stage.training(modules, "critic")

    def validate() -> dict[str, float]:
        return {**critic_figures(critic, lessons.held_out, text), **imagined_figures(critic, lessons.unseen, text)}

    loss = critic_loss(modules, lessons.bank, text, stage.batch, recipe, lessons.imagined)
    train(training, loss, stage.runs / "critic", observe=validate)
    training.swap_average()
    # All ranks are asked: they have rendered different numbers of clips.
    counts = stage.ranks.gather([(len(lessons.bank.latents), len(lessons.imagined.latents))])
    figures, (clips, scenes) = validate(), map(sum, zip(*counts))
    if stage.ranks.first:
        save_weights(stage.folder / CRITIC, critic, dtype=torch.float16)
        asked = {**asdict(recipe), "text_encoder": text_encoder_digest(stage.folder)}
        told = {**figures, "steps": training.step, "clips": clips, "scenes": scenes}
        stage.describe("critic_training", told, asked)
    stage.ranks.barrier()
    return figures


@dataclass(frozen=True, kw_only=True)
class Lessons:
    """What a critic learns from, and what it is measured on: rendered clips and imagined ones of each."""

    bank: LatentBank
    imagined: Imagined
    held_out: LatentBank
    unseen: Imagined


def _lessons(stage: Stage, bank: LatentBank, dit: DiT, text: T5TextEncoder, recipe: CriticRecipe) -> Lessons:
    count = len(bank.latents)
    if count < 4:
        raise ValueError(f"a critic learns from 4 clips or more, a quarter of which is held out; not {count}")
    # Clips lie there sorted by what is alike about them.
    order = torch.randperm(count, generator=torch.Generator().manual_seed(stage.plan.seed))
    apart = min(APART, count // 4)
    held_out, bank = bank.part(order[:apart]), bank.part(order[apart:])
    generator = torch.Generator(stage.ranks.device).manual_seed(stage.plan.seed + stage.ranks.rank)
    unseen = imagine(held_out, dit, text, apart, generator)
    imagined = imagine(bank, dit, text, recipe.scenes, generator)
    if judge := trained_critic(stage.folder, stage.ranks):
        imagined = trusted(imagined, judge, text, recipe.trusted)
    bank = redrawn(bank, dit, recipe.redrawn, recipe.sigmas, generator)
    return Lessons(bank=bank, imagined=imagined, held_out=held_out, unseen=unseen)
