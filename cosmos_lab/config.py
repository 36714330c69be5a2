"""The card of a model: everything that tells one world model from another, and which shapes it can make.

No code asks for a model's name; it asks a card's field, and the field names the idea.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from cosmos_lab.diffusion.churn import check_churn
from cosmos_lab.nn.dit import DiTConfig
from cosmos_lab.nn.frame_counts import latent_frames
from cosmos_lab.nn.wan_vae import WanVAEConfig
from cosmos_lab.nn.wavelet_vae import WaveletVAEConfig
from cosmos_lab.selection.critic import CriticConfig

SCHEDULES = (
    "karras", "predict1_karras", "flow_karras", "flow_shifted", "diffusers_karras", "diffusers_flow_karras",
)  # fmt: skip
CONVENTIONS = ("official", "historical", "diffusers")
TASKS = ("text2image", "text2world", "image2world", "video2world")
Sizes = Mapping[str, Mapping[str, tuple[int, int]]]


def _one_of(what: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise ValueError(f"{what} {value!r} is unknown; choose one of {', '.join(known)}")


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How noise becomes latents.

    parametrization  "rectified_flow" (Predict2, nano), "edm" (Cosmos 1.0, Predict1), "flow" (Predict2.5)
    schedule, solver a grid of noise levels from `diffusion.schedules`, a walk from `diffusion.solvers`
    final_step       "denoise": one more evaluation at the last noise level, whose x0 is the sample; "none"
    condition        how given latent frames enter: "replace" (Predict2, nano), "augment" (Cosmos 1.0),
                     "state" (Predict1), "velocity" (Predict2.5), see `diffusion.conditioning`
    sigma_conditional  the noise level (Predict2.5: the timestep) of given latent frames; None: the common one
    guidance_form    "cond": cond + g (cond - uncond), every Cosmos generation
    unconditional    what an empty negative prompt means: "zero" the zero embedding, "prompt" the prompt itself
                     (so that guidance does nothing), "text" the embedding of the empty text
    guided, precision, batch_guidance   what guidance combines and where a bfloat16 network meets float32, see
                     `diffusion.denoiser`
    noise            "keyed" or "official", see `cosmos_lab.noise`
    guidance_threshold   at or below it guidance is off; 0 is no threshold, diffusers has 1
    guidance_least_sigma  the noise level below which guidance is off; 0, officially: none
    truncate_timesteps   "flow" only: timesteps are cut to integers, officially
    augment_noise    "augment" only: "once" for all evaluations, officially, or anew for "each", as in diffusers
    legacy_replacement  "state" only: Predict1's first release, whose given latent frames end 1.59 times too large
    churn, churn_range   by which share noise is raised again before a step from a level in that range, when all begins
                     with noise: `diffusion.churn`. 0: never, as officially
    full_edit        what an edit of strength 1 begins with: pure "noise", or "latents" of the input under the most
                     noise, officially
    tries, accept    how often a clip is made where a critic judges it, until the odds (0 to 1) that it shows its prompt
                     reach `accept`; see `selection.tries`
    """

    parametrization: str = "rectified_flow"
    sigma_data: float = 1.0
    schedule: str = "karras"
    sigma_min: float = 0.002
    sigma_max: float = 80.0
    rho: float = 7.0
    solver: str = "ab2"
    final_step: str = "denoise"
    num_steps: int = 35
    guidance: float = 7.0
    guidance_form: str = "cond"
    unconditional: str = "zero"
    condition: str = "replace"
    sigma_conditional: float | None = 1e-4
    guided: str = "x0"
    precision: str = "float32"
    batch_guidance: bool = False
    noise: str = "official"
    seed: int = 0
    guidance_threshold: float = 0.0
    guidance_least_sigma: float = 0.0
    truncate_timesteps: bool = True
    augment_noise: str = "once"
    legacy_replacement: bool = False
    full_edit: str = "noise"
    churn: float = 0.0
    churn_range: tuple[float, float] = (0.0, 0.0)
    tries: int = 1
    accept: float = 0.5

    def __post_init__(self) -> None:
        _one_of("parametrization", self.parametrization, ("rectified_flow", "edm", "flow"))
        _one_of("schedule", self.schedule, SCHEDULES)
        _one_of("solver", self.solver, ("euler", "heun", "midpoint", "ab2", "unipc"))
        _one_of("condition", self.condition, ("replace", "augment", "state", "velocity"))
        _one_of("final_step", self.final_step, ("denoise", "none"))
        _one_of("guided", self.guided, ("x0", "output"))
        _one_of("precision", self.precision, ("float32", "mixed", "network"))
        _one_of("unconditional", self.unconditional, ("zero", "prompt", "text"))
        _one_of("noise", self.noise, ("keyed", "official"))
        _one_of("augment_noise", self.augment_noise, ("once", "each"))
        _one_of("full_edit", self.full_edit, ("noise", "latents"))
        if self.churn:
            check_churn(self.churn, *self.churn_range)
            if self.solver not in ("ab2", "heun"):
                raise ValueError(f"the solvers ab2 and heun know churn, {self.solver} does not")
        if self.num_steps < 1 or not 0 < self.sigma_min < self.sigma_max:
            raise ValueError("a schedule needs at least one step and 0 < sigma_min < sigma_max")
        if self.tries < 1 or not 0 <= self.accept <= 1:
            raise ValueError(f"tries is 1 or more and accept from 0 to 1, not {self.tries} and {self.accept}")
        if not 0 <= self.guidance_least_sigma <= self.sigma_max:
            raise ValueError(f"guidance_least_sigma lies between 0 and sigma_max {self.sigma_max:g}, not at "
                             f"{self.guidance_least_sigma:g}")


@dataclass(frozen=True, kw_only=True)
class Pictures:
    """How pictures enter and leave: the rules of `cosmos_lab.video` and which counts can be given.

    `conditional_pixel_frames` are the legal numbers of given pixel frames beside none; `fill` is the value, from -1 to
    1, that follows them up to the full length before encoding, or None for the last one repeated. `posterior` is what
    becomes of the tokenizer's distribution: its "mean", officially, or a "sample", as in diffusers' Predict2.
    `edited` is the range in which a picture to be edited enters the tokenizer: "signed", -1 to 1, or "unit", 0 to 1,
    which is Predict2's text2image. `hand_over` is how a chunk of a long video begins the next: as "pixels", or through
    "files" (a JPEG, an H.264 clip), as in Predict2. `decoded` is the range that decoded pixels are taken to have when
    they become 8 bits: "signed", -1 to 1, or "guessed" from their minimum, as by Predict2's saver.
    """

    resize: str = "truncate"
    alpha: str = "white"
    rounding: str = "half up"
    conditional_pixel_frames: tuple[int, ...] = (1, 5)
    fill: float | None = None
    posterior: str = "mean"
    edited: str = "signed"
    hand_over: str = "pixels"
    decoded: str = "signed"

    def __post_init__(self) -> None:
        _one_of("posterior", self.posterior, ("mean", "sample"))
        _one_of("edited", self.edited, ("signed", "unit"))
        _one_of("hand_over", self.hand_over, ("pixels", "files"))
        _one_of("decoded", self.decoded, ("signed", "guessed"))


@dataclass(frozen=True, kw_only=True)
class Text:
    """The text encoder: kind "t5" or "reason1", its number of positions, and for T5 its configuration by field."""

    kind: str = "t5"
    num_tokens: int = 512
    t5: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Card:
    """One world model. `sizes` maps a resolution's label and an aspect ratio to (width, height) in pixels.

    `like` is the card as which a folder that cannot tell was asked to sample. `critic` is the network that says whether
    a clip shows its prompt; None where the model has none, and each clip is made once.
    """

    name: str
    generation: str
    size: str
    tasks: tuple[str, ...]
    dit: DiTConfig
    tokenizer: WanVAEConfig | WaveletVAEConfig
    text: Text
    sampling: Sampling
    pictures: Pictures
    sizes: Sizes
    resolution: str
    aspect_ratio: str = "16:9"
    fps: float = 16
    num_pixel_frames: int = 93
    any_length: bool = False
    negative_prompt: str = ""
    first_frame: str | None = None
    files: Mapping[str, str] = field(default_factory=dict)
    conventions: str = "official"
    like: str | None = None
    critic: CriticConfig | None = None

    def __post_init__(self) -> None:
        _one_of("conventions", self.conventions, CONVENTIONS)
        for task in self.tasks:
            _one_of("task", task, TASKS)
        self.size_of(self.resolution, self.aspect_ratio)

    def size_of(
        self, resolution: str | tuple[int, int] | None = None, aspect_ratio: str | None = None
    ) -> tuple[int, int]:
        """(height, width) of a resolution: a label of the card, "H,W", a pair (height, width), or None for the default.

        Raises ValueError naming what there is, or the nearest legal size.
        """
        if isinstance(resolution, str) and "," in resolution:
            height, _, width = resolution.partition(",")
            if not (height.strip().isdigit() and width.strip().isdigit()):
                raise ValueError(f"resolution {resolution!r} is not of the form height,width, such as 112,192")
            resolution = (int(height), int(width))
        if isinstance(resolution, tuple):
            return self.check_size(*resolution)
        resolution, aspect_ratio = str(resolution or self.resolution), aspect_ratio or self.aspect_ratio
        _one_of(f"{self.name}: resolution", resolution, tuple(self.sizes))
        _one_of(f"{self.name}: aspect ratio", aspect_ratio, tuple(self.sizes[resolution]))
        width, height = self.sizes[resolution][aspect_ratio]
        return self.check_size(height, width)

    def aspect_of(self, height: int, width: int) -> str | None:
        """The aspect ratio whose table entry is this size; None where there is none."""
        sizes = {size: aspect for table in self.sizes.values() for aspect, size in table.items()}
        return sizes.get((width, height))

    def check_size(self, height: int, width: int) -> tuple[int, int]:
        """The size itself where a whole number of patches covers it and the network has positions for it."""
        patch_h, patch_w = self.dit.patch[1:]
        unit_h, unit_w = patch_h * self.tokenizer.spatial_factor, patch_w * self.tokenizer.spatial_factor
        largest_h, largest_w = self.dit.max_grid[1] * unit_h, self.dit.max_grid[2] * unit_w
        legal = (_nearest(height, unit_h, largest_h), _nearest(width, unit_w, largest_w))
        if (height, width) != legal:
            raise ValueError(
                f"{self.name} cannot make {width}x{height} pixels; the nearest size that it can is "
                f"{legal[1]}x{legal[0]} (multiples of {unit_w}x{unit_h})"
            )
        return height, width

    def check_pixel_frames(self, num_pixel_frames: int | None = None) -> int:
        """A legal number of pixel frames, the card's own for None. Raises ValueError with the nearest legal ones."""
        count = self.num_pixel_frames if num_pixel_frames is None else num_pixel_frames
        chunk = getattr(self.tokenizer, "pixel_frames_per_chunk", None)
        latent_frames(count, self.tokenizer.temporal_factor, chunk)
        longest = 1 + (self.dit.max_grid[0] * self.dit.patch[0] - 1) * self.tokenizer.temporal_factor
        if count > longest:
            raise ValueError(f"{self.name} has positions for {longest} pixel frames at most, not {count}")
        if not self.any_length and count not in (1, self.num_pixel_frames):
            raise ValueError(f"{self.name} makes {self.num_pixel_frames} pixel frames (or 1), not {count}")
        return count

    def check_conditional(self, num_conditional_frames: int) -> int:
        """A legal number of given pixel frames; 0 is legal everywhere."""
        known = self.pictures.conditional_pixel_frames
        if num_conditional_frames not in (0, *known):
            raise ValueError(f"{self.name} continues {_list(known)} pixel frames, not {num_conditional_frames}")
        return num_conditional_frames

    def num_tokens(self, num_pixel_frames: int, height: int, width: int) -> int:
        """How many tokens the transformer sees."""
        factor, patch = self.tokenizer.spatial_factor, self.dit.patch
        frames = latent_frames(num_pixel_frames, self.tokenizer.temporal_factor)
        return frames // patch[0] * (height // factor // patch[1]) * (width // factor // patch[2])


def _nearest(value: int, unit: int, largest: int) -> int:
    return min(max(unit, (value + unit // 2) // unit * unit), largest)


def _list(values: tuple[int, ...]) -> str:
    return " or ".join(map(str, values)) if values else "no"
