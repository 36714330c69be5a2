"""A generation before it runs: what was asked for, and where the solver begins."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from torch import Tensor

from cosmos_lab.diffusion.denoiser import Denoiser
from cosmos_lab.noise import Noise
from cosmos_lab.pipelines.settings import Settings
from cosmos_lab.pipelines.source import Source

if TYPE_CHECKING:
    from cosmos_lab.pipelines.edit import Edit


@dataclass(frozen=True, kw_only=True, eq=False)
class Call:
    """One generation, completely specified and checked. `replacing` holds noise and embeddings given by hand.

    `edit` is the clip from which, instead of from noise, it begins.
    """

    settings: Settings
    source: Source | None = None
    replacing: dict[str, Noise | Tensor] = field(default_factory=dict, repr=False)
    output: str = "pixels"
    edit: "Edit | None" = None


@dataclass(frozen=True, kw_only=True, eq=False)
class Start:
    """Where the solver begins: the denoiser, the first state and the noise levels.

    `first_step` counts in the grid; None is past its end, for an edit that changes nothing.
    """

    denoiser: Denoiser = field(repr=False)
    x: Tensor = field(repr=False)
    sigmas: Tensor = field(repr=False)
    first_step: int | None = 0
