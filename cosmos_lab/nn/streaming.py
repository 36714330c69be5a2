"""Running a causal video network chunk by chunk along time, with what its layers remember of the past."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor, nn


@dataclass
class Stream:
    """The memory of one pass over one clip: per layer, the last inputs that its next chunk needs as left context.

    A new pass takes a new `Stream`, so nothing survives between clips and two passes can be interleaved. `capacity` is
    the largest number of chunks, which layers that look at all earlier chunks need.
    """

    past: dict[nn.Module, Tensor] = field(default_factory=dict)
    chunk: int = 0
    capacity: int = 1

    @property
    def is_first_chunk(self) -> bool:
        return self.chunk == 0

    def extend(self, layer: nn.Module, x: Tensor, keep: int, *, before: Literal["zeros", "first"] = "zeros") -> Tensor:
        """Return (B, C, keep + T, H, W): x behind the layer's last `keep` inputs.

        Where there were none yet stands `before`: zeros, or position 0 of x repeated.
        """
        past = self.past.get(layer)
        if past is None:
            first = x[:, :, :1] if before == "first" else torch.zeros_like(x[:, :, :1])
            past = torch.cat([first] * keep, dim=2)
        extended = torch.cat([past, x], dim=2)
        self.remember(layer, extended, keep)
        return extended

    def remember(self, layer: nn.Module, x: Tensor, keep: int) -> None:
        """Store the last `keep` of x; a copy, as a view would keep all of x in memory."""
        self.past[layer] = x[:, :, -keep:].clone()

    def collect(self, layer: nn.Module, x: Tensor) -> Tensor:
        """Return (..., n, D): x (..., 1, D) of this chunk behind those of the n - 1 earlier ones.

        Room for `capacity` chunks is taken at once, so that memory does not grow on the way.
        """
        if layer not in self.past:
            self.past[layer] = x.new_empty(*x.shape[:-2], self.capacity, x.shape[-1])
        self.past[layer][..., self.chunk : self.chunk + 1, :] = x
        return self.past[layer][..., : self.chunk + 1, :]


def causal_chunks(x: Tensor, window: int) -> Iterator[Tensor]:
    """Yield position 0 of axis 2 alone, then `window` positions at a time; the last chunk may be shorter."""
    yield x[:, :, :1]
    for start in range(1, x.shape[2], window):
        yield x[:, :, start : start + window]
