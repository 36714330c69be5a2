"""The ruler's network: per-pixel colors and shapes of every pixel frame, and what a whole clip shows.

A small 2-D U-Net runs on each pixel frame by itself, so that an object is read from what is visible and never from
what usually happens; only the clip-level heads (motion, camera, ...) see time, through a small 3-D branch.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from einops import rearrange, repeat
from torch import Tensor, nn
from torch.nn import functional as F

from cosmos_lab.evaluation.labels import COLOR_NAMES, VIEW_SCALES, vocabularies
from cosmos_lab.worlds.scene import SHAPES


@dataclass(frozen=True, kw_only=True)
class ReaderConfig:
    """Sizes of the reader. `classes` names the classes of each clip-level head; they travel with the weights."""

    height: int = 112
    width: int = 192
    channels: tuple[int, int, int, int] = (32, 64, 96, 128)
    clip_channels: tuple[int, int, int] = (32, 64, 80)
    clip_width: int = 128
    clip_maps: int = 6
    classes: Mapping[str, tuple[str, ...]]

    def __post_init__(self):
        if self.height % 16 or self.width % 16:
            nearest = tuple(max(16, round(size / 16) * 16) for size in (self.height, self.width))
            raise ValueError(
                f"the reader's pixel frames must have sides divisible by 16, not {self.height}x{self.width}; "
                f"the nearest legal size is {nearest[0]}x{nearest[1]}"
            )

    @classmethod
    def default(cls) -> "ReaderConfig":
        """The reader of nano's clips: 112x192 pixel frames and the labels of the nano worlds."""
        return cls(classes=vocabularies())


@dataclass(frozen=True, kw_only=True)
class ReaderOutput:
    """Logits of one forward pass; h = H / 2 and w = W / 2.

    `colors` (B, K, 10, h, w), `shapes` (B, K, 4, h, w), `clip` label -> (B, classes), `features` (B, D).
    `view` (B, 2) is the camera's pitch in degrees and distance in metres, in units of VIEW_SCALES.
    """

    colors: Tensor
    shapes: Tensor
    clip: dict[str, Tensor]
    view: Tensor
    features: Tensor


def block(channels_in: int, channels_out: int, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    """Convolution, batch normalization, SiLU; batch statistics fold away at inference, which keeps the ruler quick."""
    convolution = nn.Conv2d(channels_in, channels_out, kernel, stride, padding=kernel // 2, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(channels_out), nn.SiLU())


def block3d(channels_in: int, channels_out: int) -> nn.Sequential:
    """Halves time, height and width with one 3x3x3 convolution."""
    convolution = nn.Conv3d(channels_in, channels_out, 3, stride=2, padding=1, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm3d(channels_out), nn.SiLU())


class ClipBranch(nn.Module):
    """Sees time: coarse features (B, C, T, H / 8, W / 8) of all pixel frames -> one vector a clip.

    Space is pooled by learned maps rather than by the mean: a pan, an orbit and a zoom differ in *where* things flow.
    """

    def __init__(self, config: ReaderConfig, channels_in: int):
        super().__init__()
        first, second, third = config.clip_channels
        cells = -(-config.height // 32) * -(-config.width // 32)
        self.project = block(channels_in, first, kernel=1)
        self.space_time = nn.Sequential(block3d(first, second), block3d(second, third))
        self.maps = nn.Parameter(nn.init.normal_(torch.empty(config.clip_maps, cells), std=cells**-0.5))
        self.mix = nn.Linear(config.clip_maps * third, config.clip_width)
        self.time = nn.Conv1d(config.clip_width, config.clip_width, 3, padding=1)

    def forward(self, x: Tensor, num_clips: int) -> Tensor:
        """`x` (B T, C, H / 8, W / 8) -> (B, 2 D): the mean and the maximum over time."""
        x = self.space_time(rearrange(self.project(x), "(b t) c h w -> b c t h w", b=num_clips))
        x = torch.einsum("bcth,mh->btmc", rearrange(x, "b c t h w -> b c t (h w)"), self.maps.to(x.dtype))
        x = F.silu(self.mix(rearrange(x, "b t m c -> b t (m c)")))
        x = x + F.silu(rearrange(self.time(rearrange(x, "b t d -> b d t")), "b d t -> b t d"))
        return torch.cat([x.mean(dim=1), x.amax(dim=1)], dim=-1)


class Reader(nn.Module):
    """Reads pixel frames (B, 3, T, H, W) in [-1, 1]; see `ReaderOutput` for what comes out. About 0.95 M parameters."""

    def __init__(self, config: ReaderConfig):
        super().__init__()
        self.config = config
        a, b, c, d = config.channels
        self.stem = nn.Sequential(block(5, a, kernel=5, stride=2), block(a, a))
        self.down = nn.ModuleList(
            nn.Sequential(block(narrow, wide, stride=2), block(wide, wide)) for narrow, wide in ((a, b), (b, c), (c, d))
        )
        self.lateral = nn.ModuleList(nn.Conv2d(wide, narrow, 1) for narrow, wide in ((c, d), (b, c), (a, b)))
        self.up = nn.ModuleList(block(channels, channels) for channels in (c, b, a))
        self.dense = nn.Conv2d(a, len(COLOR_NAMES) + len(SHAPES), 1)
        self.clip_branch = ClipBranch(config, c)
        width = 2 * config.clip_width
        self.heads = nn.ModuleDict({name: nn.Linear(width, len(names)) for name, names in config.classes.items()})
        self.view = nn.Linear(width, len(VIEW_SCALES))

    def forward(self, pixels: Tensor, dense_at: Tensor | None = None) -> ReaderOutput:
        """Read clips.

        `pixels` (B, 3, T, H, W) in [-1, 1]. `dense_at` (B, K) picks the pixel frames whose dense logits are wanted
        (training needs a few); None means all T. Raises ValueError for another size than the reader was made for.
        """
        self._check(pixels)
        num_clips, length = pixels.shape[0], pixels.shape[2]
        skips = self._encode(rearrange(pixels, "b c t h w -> (b t) c h w"))
        coarse = self._merge(0, skips[3], skips[2])
        pooled = self.clip_branch(coarse, num_clips).float()
        if dense_at is not None:
            start = rearrange(torch.arange(num_clips, device=pixels.device) * length, "b -> b 1")
            picked = rearrange(dense_at + start, "b k -> (b k)")
            coarse, skips = coarse[picked], [skip[picked] for skip in skips]
        fine = self._merge(2, self._merge(1, coarse, skips[1]), skips[0])
        logits = rearrange(self.dense(fine), "(b k) c h w -> b k c h w", b=num_clips).float()
        colors, shapes = logits.split([len(COLOR_NAMES), len(SHAPES)], dim=2)
        clip = {name: head(pooled) for name, head in self.heads.items()}
        features = pooled[:, : self.config.clip_width]
        return ReaderOutput(colors=colors, shapes=shapes, clip=clip, view=self.view(pooled), features=features)

    @torch.no_grad()
    def initialize(self, generator: torch.Generator) -> None:
        """Draw all weights anew (He normal, zero biases) from `generator`, which lies on the weights' device."""
        for module in self.modules():
            if isinstance(module, (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu", generator=generator)
                if module.bias is not None:
                    module.bias.zero_()
        maps = self.clip_branch.maps
        maps.normal_(std=maps.shape[1] ** -0.5, generator=generator)
        for head in (self.dense, self.view, *self.heads.values()):
            head.weight.mul_(0.1)
        # Most cells show the background: start from that, so that the first steps are not spent on learning it.
        self.dense.bias[len(COLOR_NAMES) - 1] = 4.0

    def _check(self, pixels: Tensor) -> None:
        expected = (3, self.config.height, self.config.width)
        if pixels.ndim != 5 or (pixels.shape[1], *pixels.shape[3:]) != expected:
            raise ValueError(
                f"the reader needs pixels (B, 3, T, {self.config.height}, {self.config.width}) in [-1, 1], "
                f"not {tuple(pixels.shape)}; resize the clip first"
            )

    def _encode(self, x: Tensor) -> list[Tensor]:
        y_axis = torch.linspace(-1, 1, x.shape[2], device=x.device, dtype=x.dtype)
        x_axis = torch.linspace(-1, 1, x.shape[3], device=x.device, dtype=x.dtype)
        where = torch.stack(torch.meshgrid(y_axis, x_axis, indexing="ij"))
        placed = torch.cat([x, repeat(where, "c h w -> n c h w", n=len(x))], dim=1)
        # Channels last is the layout of the fast half-precision kernels; everything after inherits it.
        skips = [self.stem(placed.contiguous(memory_format=torch.channels_last))]
        for level in self.down:
            skips.append(level(skips[-1]))
        return skips

    def _merge(self, level: int, coarse: Tensor, skip: Tensor) -> Tensor:
        """One step up the U-Net: bring the coarser features to the size of the skip, add, mix."""
        x = F.interpolate(self.lateral[level](coarse), size=skip.shape[-2:], mode="nearest")
        return self.up[level](x + skip)


def save_reader(reader: Reader, path: Path | str, notes: Mapping[str, str] | None = None) -> None:
    """Write the weights as fp16 safetensors with the configuration in the metadata; whole file or nothing."""
    from safetensors.torch import save_file

    path = Path(path)
    state = {
        name: (value.half() if value.is_floating_point() else value).detach().cpu().contiguous()
        for name, value in reader.state_dict().items()
    }
    metadata = {"config": json.dumps(asdict(reader.config)), **(notes or {})}
    partial = path.with_suffix(".partial")
    save_file(state, partial, metadata=metadata)
    partial.replace(path)


def load_reader(path: Path | str, device: torch.device | str = "cpu") -> Reader:
    """Load a reader in float32, ready to read; a file without a configuration is taken for the default reader.

    Raises ValueError for a missing file or one that holds no reader.
    """
    from safetensors import SafetensorError, safe_open

    path = Path(path)
    if not path.is_file():
        raise ValueError(f"no reader at {path}; train one with `python -m cosmos_lab train reader`")
    try:
        with safe_open(path, framework="pt") as file:
            described = (file.metadata() or {}).get("config")
            state = {name: file.get_tensor(name) for name in file.keys()}
    except SafetensorError as error:
        raise ValueError(f"{path} is damaged ({error}); restore it or train one anew") from error
    reader = Reader(_config(json.loads(described)) if described else ReaderConfig.default())
    state = {name: value.float() if value.is_floating_point() else value for name, value in state.items()}
    try:
        reader.load_state_dict(state)
    except RuntimeError as error:
        raise ValueError(f"{path} holds other weights than a reader's: {error}") from error
    return reader.to(device).eval()


def _config(fields: dict) -> ReaderConfig:
    """The configuration that `save_reader` wrote, lists turned back into tuples."""
    classes = {name: tuple(names) for name, names in fields.pop("classes").items()}
    fields = {name: tuple(value) if isinstance(value, list) else value for name, value in fields.items()}
    return ReaderConfig(**fields, classes=classes)
