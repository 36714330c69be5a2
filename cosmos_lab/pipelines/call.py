"""A generation before it runs: what was asked for, and where the solver begins."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import wraps
from inspect import signature
from typing import TYPE_CHECKING, ParamSpec

from torch import Tensor

from cosmos_lab.diffusion.churn import Churn
from cosmos_lab.diffusion.denoiser import Denoiser
from cosmos_lab.diffusion.difference import Difference
from cosmos_lab.noise import Noise
from cosmos_lab.pipelines.settings import Settings
from cosmos_lab.pipelines.source import Source

if TYPE_CHECKING:
    from cosmos_lab.pipelines.edit import Edit
    from cosmos_lab.pipelines.generate import Pipeline
    from cosmos_lab.pipelines.generation import Generation

Arguments = ParamSpec("Arguments")


@dataclass(frozen=True, kw_only=True, eq=False)
class Call:
    """One generation, completely specified and checked. `replacing` holds noise and embeddings given by hand.

    `edit` is the clip from which, instead of from noise, it begins. Without a source, but with a conditional pixel
    frame among its settings, that one is painted first (`painter.painted`).
    """

    settings: Settings
    conventions: str
    source: Source | None = None
    replacing: dict[str, Noise | Tensor] = field(default_factory=dict, repr=False)
    output: str = "pixels"
    edit: "Edit | None" = None

    @property
    def first(self) -> "Call":
        """The call that decides where it all begins: this one. A long video has that of its first chunk."""
        return self

    @property
    def size(self) -> str:
        """The size of what is made, in words."""
        return f"{self.settings.num_pixel_frames} pixel frames of {self.settings.width}x{self.settings.height}"

    def given(self, source: Source | None) -> "Call":
        """The call that begins with this source, if there is one."""
        return self if source is None else replace(self, source=source)

    def run(self, pipe: "Pipeline", *, progress: bool = True) -> "Generation":
        """Generate it."""
        return pipe.generate(self, progress=progress)


@dataclass(frozen=True, kw_only=True, eq=False)
class Start:
    """Where the solver begins: the denoiser, the first state, the noise levels, and the noise that it puts back.

    `first_step` counts in the grid; None is past its end, for an edit that changes nothing.
    """

    denoiser: Denoiser | Difference = field(repr=False)
    x: Tensor = field(repr=False)
    sigmas: Tensor = field(repr=False)
    first_step: int | None = 0
    churn: Churn | None = field(default=None, repr=False)


def generating(plan: Callable[Arguments, "Call"]) -> Callable[Arguments, "Generation"]:
    """Let a function that only checks and reads also generate; as it was it stays, as the `plan` of the new one."""

    @wraps(plan)
    def generate(pipe: "Pipeline", *given: object, **options: object) -> "Generation":
        return plan(pipe, *given, **options).run(pipe, progress=options.get("progress", True))

    generate.plan, generate.__signature__ = plan, signature(plan).replace(return_annotation="Generation")
    return generate
