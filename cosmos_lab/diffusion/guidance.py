"""Classifier-free guidance, with its form spelled out: a bare number would mean two different things."""

from dataclasses import dataclass, replace
from typing import Literal

from torch import Tensor

Form = Literal["cond", "uncond"]


@dataclass(frozen=True)
class Guidance:
    """Pushes a prediction away from the unconditional one.

    form "cond" (every Cosmos generation): cond + scale * (cond - uncond), 0 is no guidance.
    form "uncond" (Ho and Salimans 2022): uncond + scale * (cond - uncond), 1 is no guidance.
    `Guidance(g, "cond")` and `Guidance(g + 1, "uncond")` are the same push; neither form has a threshold.
    Where all noise levels of a batch lie below `least_sigma`, a `Denoiser` leaves guidance away: what a prompt says is
    decided by then, and the unconditional branch is saved (Kynkäänniemi et al. 2024, arXiv 2404.07724). 0, officially:
    it is everywhere.
    """

    scale: float
    form: Form = "cond"
    least_sigma: float = 0.0

    def __post_init__(self) -> None:
        if self.form not in ("cond", "uncond"):
            raise ValueError(f'the form of guidance is "cond" (Cosmos) or "uncond" (textbook), not {self.form!r}')

    @classmethod
    def diffusers(cls, scale: float) -> "Guidance":
        """diffusers' Cosmos pipelines: form "cond", switched off at scale <= 1, so that it jumps from 0 to 1 there."""
        return cls(scale if scale > 1 else 0.0, form="cond")

    @property
    def to_cond(self) -> "Guidance":
        """The same push in form "cond"."""
        return self if self.form == "cond" else replace(self, scale=self.scale - 1, form="cond")

    @property
    def to_uncond(self) -> "Guidance":
        """The same push in form "uncond"."""
        return self if self.form == "uncond" else replace(self, scale=self.scale + 1, form="uncond")

    @property
    def is_off(self) -> bool:
        """True where the result is the conditional prediction, so that the unconditional one need not be computed."""
        return self.to_cond.scale == 0

    def __call__(self, cond: Tensor, uncond: Tensor) -> Tensor:
        """Combines two predictions of one shape and dtype."""
        return (cond if self.form == "cond" else uncond) + self.scale * (cond - uncond)
