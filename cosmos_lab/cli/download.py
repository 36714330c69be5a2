"""Fetches official weights from the Hugging Face Hub: says what and how large, asks, then downloads."""

import argparse
import re
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cosmos_lab.config import Card

GENERATIONS = ("cosmos1", "predict1", "predict2", "predict2.5")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("models", nargs="*", help="models by name (see `cosmos-lab models`)")
    group = parser.add_argument_group("instead of names, as the guides of Cosmos 1.0 and Predict1 have it")
    group.add_argument("--generation", choices=GENERATIONS, default="predict1", help="of which models; predict1")
    group.add_argument("--model_sizes", nargs="+", help="such as 7B 14B; all")
    group.add_argument("--model_types", nargs="+", help="such as Text2World Video2World; all")
    group.add_argument("--resolution", type=int, nargs="+", choices=(480, 720), help="of Predict2's clips; both")
    group.add_argument("--fps", type=int, nargs="+", choices=(10, 16), help="of Predict2's clips; both")
    group.add_argument("--natten", action="store_true", help="sparse attention; not there yet")
    parser.add_argument("--dry_run", action="store_true", help="only say what and how large")
    parser.add_argument("--checkpoint_dir", default="checkpoints", help="where to put them; checkpoints")
    parser.add_argument("--yes", action="store_true", help="do not ask")


def run(arguments: argparse.Namespace) -> int:
    from cosmos_lab.cli.absent import refuse_absent
    from cosmos_lab.runtime.download import fetch, inspect, needed

    refuse_absent(arguments)
    parts = {}
    for card in _cards(arguments):
        for part in needed(card):
            parts.setdefault((part.repository, part.patterns), part)
    offers = inspect(parts.values())
    for offer in offers:
        gated = ", gated: accept its license there, then `hf auth login`" if offer.gated else ""
        print(f"{offer.num_bytes / 2**30:8.2f} GiB  {offer.part.license_page}{gated}")
    print(f"{sum(offer.num_bytes for offer in offers) / 2**30:8.2f} GiB  in all, into {arguments.checkpoint_dir}")
    if arguments.dry_run:
        return 0
    if not arguments.yes and not _agreed():
        print("nothing was downloaded; --yes does not ask")
        return 1
    for path in fetch(offers, arguments.checkpoint_dir):
        print(path)
    return 0


def _cards(arguments: argparse.Namespace) -> "list[Card]":
    """The cards that were named, by name or by size and type."""
    from cosmos_lab import catalog
    from cosmos_lab.cli.choosing import alias

    variant = arguments.resolution or arguments.fps
    by_kind = arguments.model_sizes or arguments.model_types or variant or "--generation" in arguments.spelled
    if bool(arguments.models) == bool(by_kind):
        raise ValueError("name models (see `cosmos-lab models`), or say --generation, --model_sizes and --model_types")
    if arguments.models:
        return [catalog.card(alias(name)) for name in arguments.models]
    if variant and arguments.generation != "predict2":
        raise ValueError("--resolution and --fps choose among the models of Predict2: add --generation predict2")
    cards = [card for card in catalog.cards().values() if card.generation == arguments.generation]
    sizes = arguments.model_sizes or sorted({card.size for card in cards})
    types = [kind.lower() for kind in arguments.model_types or ("text2image", "text2world", "video2world")]
    chosen = [card for card in cards if card.size in sizes and any(kind in card.name for kind in types)
              and _is_variant(card.name, arguments)]  # fmt: skip
    if not chosen:
        known = ", ".join(card.name for card in cards)
        raise ValueError(f"{arguments.generation} has no {' or '.join(types)} of size {' or '.join(sizes)}: {known}")
    return chosen


def _is_variant(name: str, arguments: argparse.Namespace) -> bool:
    """Whether a model has a wanted resolution and rate, if its name says that there are several."""
    found = re.search(r"-(\d+)p-(\d+)fps$", name)
    wanted = (arguments.resolution, arguments.fps)
    return not found or all(not given or int(own) in given for own, given in zip(found.groups(), wanted, strict=True))


def _agreed() -> bool:
    """The user's answer; no, where nobody can answer."""
    return sys.stdin.isatty() and input("download? [y/N] ").strip().lower() in ("y", "yes")
