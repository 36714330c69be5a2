"""Fetches official weights from the Hugging Face Hub: says what and how large, asks, then downloads."""

import argparse
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
    parser.add_argument("--checkpoint_dir", default="checkpoints", help="where to put them; checkpoints")
    parser.add_argument("--yes", action="store_true", help="do not ask")


def run(arguments: argparse.Namespace) -> int:
    from cosmos_lab.runtime.download import fetch, inspect, needed

    parts = {}
    for card in _cards(arguments):
        for part in needed(card):
            known = parts.get((part.repository, part.patterns))
            parts[part.repository, part.patterns] = known or part
    offers = inspect(parts.values())
    for offer in offers:
        gated = ", gated: accept its license there, then `hf auth login`" if offer.gated else ""
        print(f"{offer.num_bytes / 2**30:8.2f} GiB  {offer.part.license_page}{gated}")
    print(f"{sum(offer.num_bytes for offer in offers) / 2**30:8.2f} GiB  in all, into {arguments.checkpoint_dir}")
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

    by_kind = arguments.model_sizes or arguments.model_types or "--generation" in arguments.spelled
    if bool(arguments.models) == bool(by_kind):
        raise ValueError("name models (see `cosmos-lab models`), or say --generation, --model_sizes and --model_types")
    if arguments.models:
        return [catalog.card(alias(name)) for name in arguments.models]
    cards = [card for card in catalog.cards().values() if card.generation == arguments.generation]
    sizes = arguments.model_sizes or sorted({card.size for card in cards})
    types = [kind.lower() for kind in arguments.model_types or ("text2image", "text2world", "video2world")]
    chosen = [card for card in cards if card.size in sizes and any(kind in card.name for kind in types)]
    if not chosen:
        known = ", ".join(card.name for card in cards)
        raise ValueError(f"{arguments.generation} has no {' or '.join(types)} of size {' or '.join(sizes)}: {known}")
    return chosen


def _agreed() -> bool:
    """The user's answer; no, where nobody can answer."""
    return sys.stdin.isatty() and input("download? [y/N] ").strip().lower() in ("y", "yes")
