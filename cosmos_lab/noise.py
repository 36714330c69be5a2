"""Where the randomness of a generation comes from: keyed noise, the official draws, and recorded ones.

A noise source is called as `source(shape, purpose=, step=, branch=)` and returns unit-variance float32 noise of shape
(B, C, T, H, W) on the CPU, the same on every machine. Nothing here reads or moves a global generator.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import torch
from torch import Tensor


class Noise(Protocol):
    """A source of unit-variance noise; `branch` is 0 for the conditional, 1 for the unconditional evaluation."""

    def __call__(self, shape: Sequence[int], *, purpose: str = "initial", step: int = 0, branch: int = 0) -> Tensor: ...


def keyed(
    seed: int,
    shape: Sequence[int],
    *,
    purpose: str = "initial",
    sample: int = 0,
    step: int = 0,
    branch: int = 0,
    first_latent_frame: int = 0,
) -> Tensor:
    """Standard normal noise in which every latent frame has a key of its own (NumPy Philox).

    shape (B, C, T, H, W); row b is sample `sample + b`, frame t is latent frame `first_latent_frame + t`. Hence sample
    i does not depend on the batch it came in, nor latent frame k on how many follow it, and a rank that holds some of
    the frames draws just those. Raises ValueError for a negative seed or a shape of other than five axes.
    """
    _check(seed=seed, shape=shape)
    batch, channels, num_latent_frames, height, width = shape
    noise = np.empty((batch, num_latent_frames, channels, height, width), dtype=np.float32)
    for b in range(batch):
        for t in range(num_latent_frames):
            key = (seed, purpose, sample + b, step, branch, first_latent_frame + t)
            _philox(key).standard_normal(out=noise[b, t], dtype=np.float32)
    return torch.from_numpy(np.ascontiguousarray(np.moveaxis(noise, 1, 2)))


def official(seed: int, shape: Sequence[int]) -> Tensor:
    """The draw of Cosmos-1.0, Predict2 and Predict2.5: RandomState(seed).standard_normal(shape), rounded to float32.

    One stream over the whole shape, so another batch or length gives another clip. Raises ValueError as `keyed`.
    """
    _check(seed=seed, shape=shape)
    return torch.from_numpy(np.random.RandomState(seed).standard_normal(tuple(shape)).astype(np.float32))


@dataclass(frozen=True)
class Keyed:
    """The library's own source: `keyed` with a seed and the number of the first sample."""

    seed: int
    sample: int = 0

    def __call__(self, shape: Sequence[int], *, purpose: str = "initial", step: int = 0, branch: int = 0) -> Tensor:
        return keyed(self.seed, shape, purpose=purpose, sample=self.sample, step=step, branch=branch)


@dataclass(frozen=True)
class Official:
    """The official draws of the named `purposes`, which a seed determines; keyed noise for all others.

    The initial noise and Cosmos-1.0's augmentation of conditional latent frames come from one seed and so are the
    same numbers. Noise that an official system takes from a GPU's or a global generator, as Predict1 does its initial
    one, cannot be had again.
    """

    seed: int
    purposes: tuple[str, ...] = ("initial", "augment")

    def reproduces(self, purpose: str) -> bool:
        """Whether this purpose has the official numbers."""
        return purpose in self.purposes

    def __call__(self, shape: Sequence[int], *, purpose: str = "initial", step: int = 0, branch: int = 0) -> Tensor:
        if self.reproduces(purpose):
            return official(self.seed, shape)
        return keyed(self.seed, shape, purpose=purpose, step=step, branch=branch)


@dataclass(frozen=True, eq=False)
class Recorded:
    """Noise that was drawn elsewhere, for parity: a mapping from (purpose, step, branch) to the tensor."""

    draws: Mapping[tuple[str, int, int], Tensor] = field(repr=False)

    def __call__(self, shape: Sequence[int], *, purpose: str = "initial", step: int = 0, branch: int = 0) -> Tensor:
        key = (purpose, step, branch)
        if key not in self.draws:
            raise ValueError(
                f"no noise was recorded for (purpose, step, branch) = {key}; there is {sorted(self.draws)}"
            )
        if tuple(self.draws[key].shape) != tuple(shape):
            raise ValueError(
                f"the noise recorded for {key} is {tuple(self.draws[key].shape)}, asked for {tuple(shape)}"
            )
        return self.draws[key]


def _philox(key: tuple[int | str, ...]) -> np.random.Generator:
    # int() so that a NumPy integer keys the same noise as the Python one: their reprs differ.
    plain = tuple(part if isinstance(part, str) else int(part) for part in key)
    digest = hashlib.blake2b(repr(plain).encode(), digest_size=16).digest()
    return np.random.Generator(np.random.Philox(key=int.from_bytes(digest, "little")))


def _check(*, seed: int, shape: Sequence[int]) -> None:
    if seed < 0:
        raise ValueError(f"a seed is a number from 0 on, not {seed}")
    if len(shape) != 5 or min(shape) < 1:
        raise ValueError(f"noise has the shape (B, C, T, H, W) of latents, each at least 1, not {tuple(shape)}")
