"""Classifier-free guidance, with its form spelled out: a bare number would mean two different things."""

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

Form = Literal["cond", "uncond"]


@dataclass(frozen=True)
class Guidance:
    """Pushes a prediction away from the unconditional one.

    form "cond" (every Cosmos generation): cond + scale * (cond - uncond), 0 is no guidance.
    form "uncond" (Ho and Salimans 2022): uncond + scale * (cond - uncond), 1 is no guidance.
    `Guidance(g, "cond")` and `Guidance(g + 1, "uncond")` are the same push; neither form has a threshold.
    """

    scale: float
    form: Form = "cond"

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
        return self if self.form == "cond" else Guidance(self.scale - 1, form="cond")

    @property
    def to_uncond(self) -> "Guidance":
        """The same push in form "uncond"."""
        return self if self.form == "uncond" else Guidance(self.scale + 1, form="uncond")

    @property
    def is_off(self) -> bool:
        """True where the result is the conditional prediction, so that the unconditional one need not be computed."""
        return self.to_cond.scale == 0

    def __call__(self, cond: Tensor, uncond: Tensor) -> Tensor:
        """Combines two predictions of one shape and dtype."""
        return (cond if self.form == "cond" else uncond) + self.scale * (cond - uncond)
