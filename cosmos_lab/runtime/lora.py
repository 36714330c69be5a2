"""Low-rank adapters (LoRA) of post-trained checkpoints, merged into the weights: W + alpha / r · B · A.

The official files hold the adapted network, `X.base_layer.weight` beside `X.lora_A.default.weight` (r, in) and
`X.lora_B.default.weight` (out, r); a file of adapters alone is merged into the weights of another.
"""

import re
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from cosmos_lab.runtime.checkpoints import WeightsError

# The official default of --lora_alpha by generation.
LORA_ALPHA = {"predict2": 16.0, "predict2.5": 32.0}
ADAPTER = re.compile(r"^(?P<module>.+)\.lora_(?P<side>[AB])(\.default)?\.weight$")
BASE = ".base_layer."


def has_adapters(state: Mapping[str, Tensor]) -> bool:
    """Whether any key is an adapter's."""
    return any(ADAPTER.match(key) for key in state)


def merge_lora(
    base: Mapping[str, Tensor], adapters: Mapping[str, Tensor], *, alpha: float, source: str | Path
) -> dict[str, Tensor]:
    """The weights with every adapter merged, computed in float32, in the dtype of each weight.

    `base` and `adapters` may be one mapping, that of a whole post-trained file. Raises WeightsError where there is no
    adapter, where one lacks its other half or its weight, where shapes disagree, and for keys that are none.
    """
    pairs = _pairs(adapters, source)
    whole = adapters is base
    merged = {key.replace(BASE, "."): value for key, value in base.items() if not ADAPTER.match(key)}
    homeless = [name for name in pairs if f"{name}.weight" not in merged]
    foreign = [] if whole else [key for key in adapters if not ADAPTER.match(key)]
    if homeless or foreign:
        raise WeightsError(
            f"the LoRA of {source} does not fit: {len(homeless)} of {len(pairs)} adapters match no weight "
            f"({', '.join(homeless[:5])}), {len(foreign)} keys are no adapters ({', '.join(foreign[:5])}). "
            "Was it trained on another model?"
        )
    for name, (down, up) in pairs.items():
        merged[f"{name}.weight"] = _merged(merged[f"{name}.weight"], down, up, alpha=alpha, name=name, source=source)
    return merged


def _pairs(adapters: Mapping[str, Tensor], source: str | Path) -> dict[str, tuple[Tensor, Tensor]]:
    """(A, B) by module."""
    sides: dict[str, dict[str, Tensor]] = {"A": {}, "B": {}}
    for key, value in adapters.items():
        if match := ADAPTER.match(key):
            sides[match["side"]][match["module"]] = value
    if not sides["A"] and not sides["B"]:
        raise WeightsError(f"{source} holds no LoRA: no key ends in lora_A.default.weight. Leave the LoRA options out")
    halves = sorted(set(sides["A"]) ^ set(sides["B"]))
    if halves:
        raise WeightsError(f"{source}: the adapters of {', '.join(halves[:5])} lack lora_A or lora_B. Fetch it again")
    return {name: (sides["A"][name], sides["B"][name]) for name in sides["A"]}


def _merged(weight: Tensor, down: Tensor, up: Tensor, *, alpha: float, name: str, source: str | Path) -> Tensor:
    rank = down.shape[0]
    if (up.shape[0], down.shape[1]) != tuple(weight.shape) or up.shape[1] != rank:
        raise WeightsError(
            f"{source}: the adapter of {name}, {tuple(up.shape)} · {tuple(down.shape)}, does not fit its weight "
            f"{tuple(weight.shape)}. Was it trained on another size?"
        )
    return (weight.float() + alpha / rank * (up.float() @ down.float())).to(weight.dtype)
