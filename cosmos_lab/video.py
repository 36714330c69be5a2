"""Images and clips: reading any common format, fitting it to a model's size, writing H.264.

A clip is uint8 `(T, H, W, 3)`, RGB, T pixel frames. An image is a clip of one pixel frame.
"""

import math
import os
import struct
from collections import deque
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from cosmos_lab.files import whole

IMAGES = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff")
VIDEOS = (".mp4", ".webm", ".mov", ".mkv", ".avi", ".m4v")

# What Pillow raises where a file ends too early or holds other bytes than its format has; PIL's own are OSErrors.
DAMAGES = (OSError, EOFError, SyntaxError, LookupError, ValueError, TypeError, struct.error)
# Beyond this side an image is first averaged by a whole factor: the float copies of a resize would fill the memory.
LARGEST_SIDE = 16384


class MediaError(ValueError):
    """An image or clip that cannot be used; the message says why and what to do."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Clip:
    """Pixels from a file: uint8 `(T, H, W, 3)`, pixel frames a second (None for a still image), and the count in the
    file, which is larger than T when only the first or last pixel frames were asked for."""

    pixels: np.ndarray
    fps: float | None
    num_in_file: int

    @property
    def is_image(self) -> bool:
        return self.fps is None


def read(path: str | Path, *, first: int | None = None, last: int | None = None, alpha: str = "white") -> Clip:
    """Read an image or a clip, optionally only its `first` or `last` pixel frames.

    Turned as EXIF or the container says, converted to 8-bit RGB. Transparency is laid on white, or dropped with
    `alpha="drop"`. Moving GIF and WebP files are clips. Raises FileNotFoundError, PermissionError and MediaError.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    if not os.access(path, os.R_OK):
        raise PermissionError(f"{path} may not be read; allow it with chmod +r")
    suffix = path.suffix.lower()
    if suffix in IMAGES:
        return _read_image(path, first, last, alpha)
    if suffix in VIDEOS:
        return _read_video(path, first, last)
    raise MediaError(f"{path.name}: unknown kind {suffix or '(no suffix)'!r}; use one of {' '.join(IMAGES + VIDEOS)}")


def from_image(image: object, alpha: str = "white") -> np.ndarray:
    """A PIL image, or an array `(H, W)`, `(H, W, 3)`, `(H, W, 4)` of uint8, as uint8 `(1, H, W, 3)`."""
    from PIL import Image

    if isinstance(image, Tensor):
        image = image.numpy(force=True)
    if isinstance(image, np.ndarray):
        if image.dtype != np.uint8 or image.ndim not in (2, 3):
            raise MediaError(f"an image array is uint8 (H, W, 3), not {image.dtype} {image.shape}")
        image = Image.fromarray(image)
    if not isinstance(image, Image.Image):
        raise MediaError(f"expected a path, a PIL image or a uint8 array, not {type(image).__name__}")
    return _rgb(image, alpha)[None]


def _read_image(path: Path, first: int | None, last: int | None, alpha: str) -> Clip:
    from PIL import Image, ImageSequence

    try:
        with Image.open(path) as image:
            count = getattr(image, "n_frames", 1)
            wanted = _window(count, first, last)
            pictures = [_rgb(frame, alpha) for i, frame in enumerate(ImageSequence.Iterator(image)) if i in wanted]
            milliseconds = image.info.get("duration", 0) or 100
    except Image.DecompressionBombError as error:
        raise MediaError(f"{path.name} is too large ({error}); make it smaller first") from error
    except DAMAGES as error:
        raise MediaError(f"{path.name} is damaged or no image: {error}") from error
    return Clip(pixels=np.stack(pictures), fps=None if count == 1 else 1000 / milliseconds, num_in_file=count)


def _rgb(image: "Image.Image", alpha: str) -> np.ndarray:  # noqa: F821 (PIL is imported where it is used)
    from PIL import Image, ImageOps

    image = ImageOps.exif_transpose(image)
    if max(image.size) > LARGEST_SIDE:
        image = image.convert("RGBA" if _transparent(image) else "RGB")
        image = image.reduce(math.ceil(max(image.size) / LARGEST_SIDE))
    if image.mode.startswith("I"):  # 16-bit gray: 65535 becomes 255
        image = Image.fromarray((np.asarray(image).astype(np.int64).clip(0, 65535) / 257).round().astype(np.uint8))
    if _transparent(image) and alpha == "white":
        values = np.asarray(image.convert("RGBA")).astype(np.float64)
        opacity = values[..., 3:] / 255
        return (values[..., :3] * opacity + 255 * (1 - opacity)).astype(np.uint8)
    return np.array(image.convert("RGBA").convert("RGB") if image.mode == "P" else image.convert("RGB"))


def _transparent(image: "Image.Image") -> bool:  # noqa: F821
    return image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info


def _window(count: int, first: int | None, last: int | None) -> range:
    if first is not None:
        return range(min(first, count))
    return range(0 if last is None else max(0, count - last), count)


def _read_video(path: Path, first: int | None, last: int | None) -> Clip:
    import av

    kept: deque = deque(maxlen=last)
    count, corrupt, expected, fps, end, length = 0, False, 0, 0.0, 0.0, 0.0
    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise MediaError(f"{path.name} holds no pictures")
            stream = container.streams.video[0]
            expected, fps = stream.frames, float(stream.average_rate or stream.guessed_rate or 0)
            length = (container.duration or 0) / av.time_base
            # Sound too, which may be longer than the pictures.
            for packet in container.demux():
                end = max(end, _end(packet))
                if packet.stream_index != stream.index:
                    continue
                corrupt = corrupt or packet.is_corrupt
                for frame in packet.decode():
                    count += 1
                    if first is None or count <= first:
                        kept.append(frame)
            pictures = [_upright(frame) for frame in kept]
    except av.error.FFmpegError as error:
        raise MediaError(f"{path.name} is damaged or cut off: {error.strerror or error}") from error
    # Some containers trim a few pixel frames by an edit list; a file cut off loses more, or ends in a broken packet.
    # Matroska has no count, but says how long the whole is.
    short = count < 0.9 * expected if expected else length - end > max(0.1, 1.5 / (fps or 1))
    if count == 0 or corrupt or short:
        raise MediaError(f"{path.name} is damaged or cut off: {count} of {expected or 'its'} pixel frames are readable")
    return Clip(pixels=np.stack(pictures), fps=fps or 1.0, num_in_file=count)


def _end(packet: "av.Packet") -> float:  # noqa: F821
    """When a packet's sound or picture ends, in seconds."""
    return 0.0 if packet.pts is None else float((packet.pts + (packet.duration or 0)) * packet.time_base)


def _upright(frame: "av.VideoFrame") -> np.ndarray:  # noqa: F821
    return np.ascontiguousarray(np.rot90(frame.to_ndarray(format="rgb24"), k=round(getattr(frame, "rotation", 0) / 90)))


def cover(height: int, width: int, target_height: int, target_width: int) -> tuple[int, int]:
    """The size, aspect kept, that just covers the target: `s = max(W/w, H/h)`, then `(ceil(s h), ceil(s w))`.

    In this order of operations, because rounding in `s` sometimes adds a pixel that the official systems have too.
    """
    scale = max(target_width / width, target_height / height)
    return math.ceil(scale * height), math.ceil(scale * width)


def fit(pixels: np.ndarray, height: int, width: int, *, resize: str = "truncate") -> np.ndarray:
    """Resize uint8 `(T, h, w, 3)` to cover, then cut the center: uint8 `(T, height, width, 3)`.

    `resize="truncate"` is Predict2's rule (on values from 0 to 1, times 255, truncated), `"round"` is Predict2.5's
    (on values from 0 to 255, rounded half to even). Both are bilinear with antialiasing, in float32.
    `"lanczos"` and `"bilinear"` are diffusers' rules: Pillow's, to the size without regard to the aspect.
    """
    if resize in ("lanczos", "bilinear"):
        return _squeeze(pixels, height, width, resize)
    values = _covering(pixels, height, width, resize=resize)
    values = (values * 255) if resize == "truncate" else values.round()
    return rearrange(values.clamp(0, 255).to(torch.uint8), "t c h w -> t h w c").numpy()


def fit_unit(pixels: np.ndarray, height: int, width: int) -> Tensor:
    """The "truncate" rule before its truncation: float32 `(1, 3, T, height, width)`, from 0 to 1."""
    return rearrange(_covering(pixels, height, width, resize="truncate"), "t c h w -> 1 c t h w")


def _covering(pixels: np.ndarray, height: int, width: int, *, resize: str) -> Tensor:
    """Resized and cut, float32 `(T, 3, height, width)`: from 0 to 1 to be truncated, from 0 to 255 to be rounded."""
    if resize not in ("truncate", "round"):
        raise ValueError(f"resize is 'truncate', 'round', 'lanczos' or 'bilinear' here, not {resize!r}")
    covering = cover(*pixels.shape[1:3], height, width)
    if covering[0] * covering[1] > 64 * height * width:
        size = f"{pixels.shape[2]}x{pixels.shape[1]}"
        raise MediaError(f"a picture of {size} is too long for {width}x{height}; crop it first")
    values = rearrange(torch.from_numpy(np.ascontiguousarray(pixels)), "t h w c -> t c h w")
    values = values.float() / 255 if resize == "truncate" else values.float()
    if values.shape[-2:] != covering:
        values = F.interpolate(values, size=covering, mode="bilinear", align_corners=False, antialias=True)
    return _center(values, height, width)


def _squeeze(pixels: np.ndarray, height: int, width: int, resize: str) -> np.ndarray:
    from PIL import Image

    if pixels.shape[1:3] == (height, width):
        return pixels
    method = Image.Resampling[resize.upper()]
    return np.stack([np.asarray(Image.fromarray(picture).resize((width, height), method)) for picture in pixels])


def _center(values: Tensor, height: int, width: int) -> Tensor:
    top, left = round((values.shape[-2] - height) / 2), round((values.shape[-1] - width) / 2)
    return values[..., top : top + height, left : left + width]


def to_network(pixels: np.ndarray, *, dtype: torch.dtype = torch.float32) -> Tensor:
    """uint8 `(T, H, W, 3)` to `(1, 3, T, H, W)` in [-1, 1]: `x / 127.5 - 1`, each step rounded to `dtype`."""
    return rearrange(torch.from_numpy(np.ascontiguousarray(pixels)), "t h w c -> 1 c t h w").to(dtype) / 127.5 - 1


def fit_to_network(
    pixels: np.ndarray, height: int, width: int, *, resize: str = "truncate", dtype: torch.dtype = torch.float32
) -> Tensor:
    """What a generation's tokenizer sees of a clip: `(1, 3, T, height, width)`, about [-1, 1], in `dtype`.

    `"bicubic"` is the rule of Cosmos 1.0 and Predict1: `x / 128 - 1` rounded to bfloat16, squeezed to the size
    without regard to the aspect by an antialiased bicubic, not clamped.
    """
    if resize != "bicubic":
        return to_network(fit(pixels, height, width, resize=resize), dtype=dtype)
    values = (rearrange(torch.from_numpy(pixels), "t h w c -> t c h w").float() / 128 - 1).bfloat16().float()
    if values.shape[-2:] != (height, width):
        values = F.interpolate(values, size=(height, width), mode="bicubic", align_corners=False, antialias=True)
    return rearrange(values.bfloat16(), "t c h w -> 1 c t h w").to(dtype)


def to_uint8(pixels: Tensor, *, rounding: str = "half up", decoded: str = "signed") -> np.ndarray:
    """Decoded `(3, T, H, W)` in [-1, 1], clamped, to uint8 `(T, H, W, 3)`; pixels that are uint8 stay as they are.

    `rounding="half up"` as Predict2 saves, `"truncate"` as the others do. The arithmetic has the dtype of the pixels:
    Predict1's, which decodes a bfloat16 sample, is in bfloat16. `decoded="guessed"` is Predict2's saver: a whole clip
    without a value below -0.5 is taken to lie in [0, 1], so that what is dark in it turns black.
    """
    if rounding not in ("half up", "truncate"):
        raise ValueError(f"rounding is 'half up' or 'truncate', not {rounding!r}")
    if decoded not in ("signed", "guessed"):
        raise ValueError(f"decoded is 'signed' or 'guessed', not {decoded!r}")
    if pixels.dtype != torch.uint8:
        in_unit_range = decoded == "guessed" and bool(pixels.min() >= -0.5)
        unit = pixels if in_unit_range else (pixels + 1) / 2
        pixels = (unit.clamp(0, 1) * 255 + (0.5 if rounding == "half up" else 0.0)).to(torch.uint8)
    return rearrange(pixels, "c t h w -> t h w c").numpy(force=True)


def write_video(path: str | Path, pixels: np.ndarray, *, fps: float, crf: int = 14) -> None:
    """Write uint8 `(T, H, W, 3)` as H.264, every pixel frame once, at `fps`; same pixels, same bytes.

    Colors are BT.709. Odd sizes are kept by not subsampling the colors. Written whole or not at all.
    """
    with whole(path) as beside:
        _encode(str(beside), pixels, fps=fps, crf=crf, container_format="mp4")


def video_bytes(pixels: np.ndarray, *, fps: float, crf: int = 14) -> bytes:
    """The bytes that `write_video` would write."""
    import io

    buffer = io.BytesIO()
    _encode(buffer, pixels, fps=fps, crf=crf, container_format="mp4")
    return buffer.getvalue()


def _encode(target: object, pixels: np.ndarray, *, fps: float, crf: int, container_format: str) -> None:
    import av
    from av.video.reformatter import Colorspace

    if pixels.ndim != 4 or pixels.shape[-1] != 3 or pixels.dtype != np.uint8 or len(pixels) == 0:
        raise ValueError(f"a clip is uint8 (T, H, W, 3) with T > 0, not {pixels.dtype} {pixels.shape}")
    height, width = pixels.shape[1:3]
    # Macroblock-tree rate control and threads make x264 choose differently from run to run.
    options = {"crf": str(crf), "x264-params": "mbtree=0:threads=1"}
    with av.open(target, mode="w", format=container_format) as container:
        stream = container.add_stream("libx264", rate=Fraction(fps).limit_denominator(1001), options=options)
        stream.width, stream.height = width, height
        stream.pix_fmt = "yuv420p" if height % 2 == 0 and width % 2 == 0 else "yuv444p"
        context = stream.codec_context
        context.colorspace = context.color_primaries = context.color_trc = 1  # BT.709
        context.color_range = 1  # 16 to 235, as players expect
        for picture in pixels:
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
            container.mux(stream.encode(frame.reformat(format=stream.pix_fmt, dst_colorspace=Colorspace.ITU709)))
        container.mux(stream.encode())


def write_image(path: str | Path, pixels: np.ndarray, *, quality: int = 95) -> None:
    """Write uint8 `(H, W, 3)` in the format that the suffix names; `quality` counts for JPEG and WebP."""
    from PIL import Image

    if Path(path).suffix.lower() not in IMAGES:
        raise MediaError(f"{Path(path).name}: an image is saved as one of {' '.join(IMAGES)}")
    with whole(path) as beside:
        Image.fromarray(pixels).save(beside, quality=quality)


def through_jpeg(pixels: np.ndarray, *, quality: int = 85) -> np.ndarray:
    """uint8 `(H, W, 3)` as it comes back from a JPEG file, which stands between the two phases of Predict2."""
    import io

    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="jpeg", quality=quality)
    return np.array(Image.open(buffer))


def contact_sheet(pixels: np.ndarray, *, columns: int = 6, rows: int = 3, gap: int = 2) -> np.ndarray:
    """Pixel frames of uint8 `(T, H, W, 3)`, evenly spaced from the first to the last, as one picture `(H', W', 3)`."""
    count = min(len(pixels), columns * rows)
    columns = min(columns, count)
    rows = math.ceil(count / columns)
    chosen = pixels[np.linspace(0, len(pixels) - 1, count).round().astype(int)]
    framed = np.full((rows * columns, pixels.shape[1] + gap, pixels.shape[2] + gap, 3), 255, dtype=np.uint8)
    framed[:count, : pixels.shape[1], : pixels.shape[2]] = chosen
    sheet = rearrange(framed, "(r c) h w rgb -> (r h) (c w) rgb", r=rows)
    return sheet[: sheet.shape[0] - gap, : sheet.shape[1] - gap]
