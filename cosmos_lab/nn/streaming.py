"""Running a causal video network chunk by chunk along time, with what its layers remember of the past."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn


@dataclass
class Stream:
    """The memory of one pass over one clip: per layer, the last inputs that its next chunk needs as left context.

    A new pass takes a new `Stream`, so nothing survives between clips and two passes can be interleaved.
    """

    past: dict[nn.Module, Tensor] = field(default_factory=dict)
    is_first_chunk: bool = True

    def extend(self, layer: nn.Module, x: Tensor, keep: int) -> Tensor:
        """Return (B, C, keep + T, H, W): x behind the layer's last `keep` inputs, zeros where there were none yet."""
        past = self.past.get(layer)
        if past is None:
            past = torch.zeros_like(x[:, :, :1]).expand(-1, -1, keep, -1, -1)
        extended = torch.cat([past, x], dim=2)
        self.remember(layer, extended, keep)
        return extended

    def remember(self, layer: nn.Module, x: Tensor, keep: int) -> None:
        """Store the last `keep` of x; a copy, as a view would keep all of x in memory."""
        self.past[layer] = x[:, :, -keep:].clone()


def causal_chunks(x: Tensor, window: int) -> Iterator[Tensor]:
    """Yield position 0 of axis 2 alone, then `window` positions at a time; the last chunk may be shorter."""
    yield x[:, :, :1]
    for start in range(1, x.shape[2], window):
        yield x[:, :, start : start + window]
