"""Which model a command line means: `--model`, or a card picked by the flags of its generation; and its loading."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from cosmos_lab.cli import absent

if TYPE_CHECKING:
    from cosmos_lab.config import Card
    from cosmos_lab.pipelines.generate import Pipeline
    from cosmos_lab.pipelines.settings import Options
    from cosmos_lab.runtime.official import Lora

PREDICT2_RESOLUTIONS = ("480", "720")
POST_TRAINED = "_post-trained"
FROM_FLAGS = (
    "negative_prompt", "guidance", "num_steps", "seed", "num_pixel_frames", "resolution", "aspect_ratio", "fps",
    "conventions", "tries",
)  # fmt: skip


def model_for(arguments: argparse.Namespace, task: str) -> str:
    """The name of the model, after the whole command line was checked against it. Raises ValueError where they differ.

    A folder's card is not known yet; `open_pipeline` checks it.
    """
    from cosmos_lab import catalog
    from cosmos_lab.runtime.diffusers_folder import is_diffusers_folder

    absent.refuse_absent(arguments)
    name = choose(arguments, task)
    known = catalog.cards().get(name)
    if known is not None:
        check(arguments, known, task)
    elif is_diffusers_folder(Path(name)):
        absent.refuse_unchecked(arguments, name)
    return name


def open_pipeline(arguments: argparse.Namespace, task: str, name: str) -> "Pipeline":
    """Load the model that `model_for` named. Raises ValueError for options that it would not use."""
    from cosmos_lab import catalog
    from cosmos_lab.pipelines.generate import load
    from cosmos_lab.pipelines.painter import Painter

    known = catalog.cards().get(name)
    options = loading(arguments)
    pipe = load(name, **options)
    if known is None:
        check(arguments, pipe.card, task)
    if pipe.card.first_frame is not None:
        painter = getattr(arguments, "dit_path_text2image", None)
        own = options | {"dit_path": painter, "ema": bool(painter) and arguments.load_ema, "lora": None}
        pipe.open_first_frame = Painter(name=pipe.card.first_frame, options=own)
    return pipe


def choose(arguments: argparse.Namespace, task: str) -> str:
    """The model's name or folder. Raises ValueError for flags that contradict each other or pick no model."""
    from cosmos_lab import catalog

    model, size = arguments.model, arguments.model_size
    folder = arguments.diffusion_transformer_dir
    picks = folder or size or (task != "text2image" and str(arguments.resolution) in PREDICT2_RESOLUTIONS)
    if model is None and not picks:
        return "nano"
    if model is None and folder and size:
        raise ValueError(
            "--model_size is a flag of Cosmos-Predict2 and --diffusion_transformer_dir of Cosmos 1.0 and Predict1: "
            "give one of them"
        )
    if model is None:
        return card_by_folder(folder).name if folder else predict2_card(arguments, task)
    model = alias(model)
    if model not in catalog.cards() and not Path(model).is_dir():
        catalog.card(model)
    return model


def alias(model: str) -> str:
    """A name of Predict2.5's own guide, such as 2B/post-trained, as the card's."""
    size, slash, stage = model.partition("/")
    known = slash and size in ("2B", "14B") and not Path(model).exists()
    return f"predict2.5-{size.lower()}-{stage}" if known else model


def predict2_card(arguments: argparse.Namespace, task: str) -> str:
    """The model of Predict2 that --model_size, --resolution and --fps name."""
    from cosmos_lab import catalog

    size = (arguments.model_size or "2B").lower()
    if task == "text2image":
        return f"predict2-{size}-text2image"
    if size == "0.6b":
        raise ValueError("--model_size 0.6B makes pictures only (text2image): choose 2B or 14B")
    resolution, fps = str(arguments.resolution or "720"), arguments.fps or 16
    name = f"predict2-{size}-video2world-{resolution}p-{fps:g}fps"
    if name not in catalog.cards():
        raise ValueError(
            f"Cosmos-Predict2 has no model of --resolution {resolution} at --fps {fps:g}: "
            "there are 480 and 720, at 10 and 16"
        )
    return name


def card_by_folder(folder: str) -> "Card":
    """The card of Cosmos 1.0 or Predict1 whose transformer lies in a folder of this name."""
    from cosmos_lab import catalog

    bare = Path(folder).name.removesuffix(POST_TRAINED)
    cards = {card.files["dit"].partition("/")[0]: card for card in catalog.cards().values()
             if card.generation in ("cosmos1", "predict1")}  # fmt: skip
    if bare not in cards:
        raise ValueError(f"--diffusion_transformer_dir {folder}: known are {', '.join(cards)}")
    return cards[bare]


def check(arguments: argparse.Namespace, card: "Card", task: str) -> None:
    """Raises ValueError where the command line does not fit the card."""
    folder, size, fps = arguments.diffusion_transformer_dir, arguments.model_size, getattr(arguments, "fps", None)
    if size is not None and size != card.size:
        raise ValueError(f"--model_size {size} contradicts --model: {card.name} is of size {card.size}; give one")
    if folder is not None and card_by_folder(folder).name != card.name:
        raise ValueError(f"--diffusion_transformer_dir {folder} contradicts --model {card.name}; give one")
    absent.refuse_foreign(arguments, card)
    if card.generation == "predict2" and fps is not None and fps != card.fps:
        raise ValueError(f"--fps {fps:g} contradicts {card.name}, which makes {card.fps:g}; choose by --model_size")
    tokenizer = arguments.tokenizer_dir
    if tokenizer is not None and card.files.get("tokenizer") != Path(tokenizer).name:
        own = card.files.get("tokenizer", "its own")
        raise ValueError(f"--tokenizer_dir {tokenizer}: {card.name} was trained with {own}; leave it out")
    allowed = (task, "text2world", "video2world") if task in ("video2video", "long_video") else (task,)
    if not set(allowed) & set(card.tasks):
        raise ValueError(f"{card.name} does not do {task}; it does {', '.join(card.tasks)}")
    absent.offloading(arguments, card)
    if card.generation != "nano":
        absent.refuse_unchecked(arguments, card.name)


def loading(arguments: argparse.Namespace) -> dict[str, object]:
    """The keyword arguments of `load`."""
    import torch

    folder, root = arguments.diffusion_transformer_dir, arguments.checkpoint_dir
    own = getattr(arguments, "dit_path_video2world", None)
    if own and arguments.dit_path:
        raise ValueError("--dit_path and --dit_path_video2world name the same checkpoint: give one")
    path = arguments.dit_path or own
    if folder is not None and folder.endswith(POST_TRAINED):
        path = str(Path(root or "checkpoints") / folder / "model.pt")
    options = {
        "checkpoints": root, "device": arguments.device, "dtype": arguments.dtype, "dit_path": path,
        "ema": arguments.load_ema, "lora": adapters(arguments, path),
        "text_dtype": torch.bfloat16 if getattr(arguments, "downcast_text_encoder", False) else None,
    }  # fmt: skip
    return {name: value for name, value in options.items() if value}


def adapters(arguments: argparse.Namespace, dit_path: str | None) -> "Lora | None":
    """The adapters to merge, compared with what the flags say of them."""
    from cosmos_lab.runtime.official import Lora

    path = getattr(arguments, "lora_path", None)
    told = [flag for flag in ("--lora_alpha", "--lora_rank", "--lora_target_modules") if flag in arguments.spelled]
    if not path and not getattr(arguments, "use_lora", False):
        if told:
            raise ValueError(f"{told[0]} is about adapters: add --use_lora (with --dit_path) or --lora_path")
        return None
    if not path and not dit_path:
        raise ValueError("--use_lora merges the adapters of a post-trained checkpoint: name it with --dit_path")
    if arguments.lora_rank is not None or arguments.lora_target_modules is not None:
        compare_adapters(path or dit_path, arguments.lora_rank, arguments.lora_target_modules)
    return Lora(path=path, alpha=arguments.lora_alpha)


def compare_adapters(path: str, rank: int | None, targets: str | None) -> None:
    """Raises ValueError where a file's adapters have another rank, or modules, than the flags say."""
    from cosmos_lab.runtime.lora import ADAPTER
    from cosmos_lab.runtime.state_files import read_state

    matches = [(ADAPTER.match(key), value) for key, value in read_state(path).items()]
    ranks = {value.shape[0] for match, value in matches if match and match["side"] == "A"}
    modules = {match["module"] for match, _ in matches if match}
    if rank is not None and ranks - {rank}:
        raise ValueError(f"--lora_rank {rank}: the adapters of {path} have rank {', '.join(map(str, sorted(ranks)))}")
    named = tuple(name.strip() for name in (targets or "").split(",") if name.strip())
    other = sorted(module for module in modules if named and not module.endswith(named))
    if other:
        raise ValueError(f"--lora_target_modules {targets}: {path} has adapters elsewhere too, such as {other[0]}")


def options(arguments: argparse.Namespace, card: "Card") -> "Options":
    """The keyword arguments of a generation; flags that were not given are left to the card."""
    given = {name: getattr(arguments, name, None) for name in FROM_FLAGS}
    height, width = getattr(arguments, "height", None), getattr(arguments, "width", None)
    if height is not None or width is not None:
        if given["resolution"] is not None:
            raise ValueError("--resolution and --height with --width say the same: give one")
        own = card.size_of()
        given["resolution"] = (own[0] if height is None else height, own[1] if width is None else width)
    return {name: value for name, value in given.items() if value is not None} | {
        "guardrail": not arguments.disable_guardrail,
        "refine": not arguments.disable_prompt_refiner,
        "progress": not arguments.quiet,
    }
