"""The stage `export`: the weights of all stages as a model folder."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

from cosmos_lab.catalog import nano_card
from cosmos_lab.files import whole
from cosmos_lab.runtime.checkpoints import CRITIC, save_model
from cosmos_lab.runtime.ranks import Ranks
from cosmos_lab.train.building import build_critic, build_dit, build_text, build_vae, text_encoder_digest


def export(folder: Path, destination: Path) -> str:
    """Writes the model folder that `lab.load` reads from the weights of all stages; returns its digest.

    Without a trained critic in the folder the model has none, and makes each clip once. Raises ValueError where the
    critic has learned from another text encoder.
    """
    ranks, card = Ranks(), nano_card()
    critic = build_critic(folder, ranks) if (folder / CRITIC).is_file() else None
    notes = {path.stem: json.loads(path.read_text()) for path in sorted(folder.glob("*_training.json"))}
    heard = notes.get("critic_training", {}).get("recipe", {}).get("text_encoder")
    if critic is None:
        card = replace(card, critic=None, sampling=replace(card.sampling, tries=1))
    elif heard not in (None, text_encoder_digest(folder)):
        raise ValueError(f"{folder / CRITIC} has learned from another text encoder: train it again, or remove it")
    digest = save_model(destination, card=card, dit=build_dit(folder, ranks), vae=build_vae(folder, ranks),
                        text=build_text(folder, ranks), critic=critic, notes=notes)
    for name in ("reader.safetensors", "reader_training.json"):
        if (folder / name).is_file():
            with whole(destination / name) as beside:
                shutil.copyfile(folder / name, beside)
    return digest
