"""How a model was loaded, as provenance keeps it, so that `replay` loads the same weights again."""

import json
from collections.abc import Mapping
from dataclasses import asdict

import torch

from cosmos_lab.runtime.official import Lora


def to_json(options: Mapping[str, object]) -> dict[str, object]:
    """The options of `load` that were given, as JSON values."""
    given = {name: asdict(value) if isinstance(value, Lora) else value for name, value in options.items() if value}
    return json.loads(json.dumps(given, default=lambda value: str(value).removeprefix("torch.")))


def from_json(loaded: Mapping[str, object]) -> dict[str, object]:
    """The options again."""
    options = dict(loaded)
    if "lora" in options:
        options["lora"] = Lora(**options["lora"])
    if "text_dtype" in options:
        options["text_dtype"] = getattr(torch, options["text_dtype"])
    return options
