"""The picture or clip that a generation continues: from a file, an array, a PIL image or an earlier generation."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from cosmos_lab import video
from cosmos_lab.files import sha256


@dataclass(frozen=True, kw_only=True, eq=False)
class Source:
    """The last pixel frames of an input, uint8 `(T, h, w, 3)`, and what provenance keeps of it.

    `sha256` is the file's, or that of the pixels where there is no file. `painter` says which model and weights made
    the picture, where another model did.
    """

    pixels: np.ndarray = field(repr=False)
    is_image: bool
    path: str | None
    sha256: str
    painter: Mapping[str, object] | None = None

    @classmethod
    def first(cls, given: object, *, num_pixel_frames: int, alpha: str = "white") -> "Source":
        """Read what was given and keep its first `num_pixel_frames` pixel frames, the last repeated if too few.

        Raises FileNotFoundError, and ValueError for a damaged file.
        """
        if isinstance(given, Source):
            return given
        source = _read(given, alpha, first=num_pixel_frames)
        pixels = source.pixels[:num_pixel_frames]
        pixels = np.concatenate([pixels, np.repeat(pixels[-1:], num_pixel_frames - len(pixels), axis=0)])
        return replace(source, pixels=pixels)

    @classmethod
    def of(cls, given: object, *, num_conditional_frames: int, alpha: str = "white") -> "Source":
        """Read what was given and keep its last `num_conditional_frames` pixel frames.

        Raises FileNotFoundError, and ValueError for a damaged file, a still image where several pixel frames are to
        be continued, or a clip that is too short.
        """
        if isinstance(given, Source):
            return given
        count = num_conditional_frames
        source = _read(given, alpha, last=count)
        if source.is_image and count > 1:
            raise ValueError(f"a still image cannot be continued from {count} pixel frames; give a clip, or continue 1")
        if len(source.pixels) < count:
            raise ValueError(f"{count} pixel frames were to be continued, but the clip has only {len(source.pixels)}")
        return replace(source, pixels=source.pixels[-count:])

    def described(self) -> dict[str, object]:
        """What provenance keeps."""
        return {"path": self.path, "sha256": self.sha256, "is_image": self.is_image}


def _read(given: object, alpha: str, *, first: int | None = None, last: int | None = None) -> Source:
    """All of what was given; of a file, only the first or last pixel frames."""
    if isinstance(given, str | Path):
        clip = video.read(given, first=first, last=last, alpha=alpha)
        # The whole path, so that a replay finds it from any folder.
        path = str(Path(given).resolve())
        return Source(pixels=clip.pixels, is_image=clip.is_image, path=path, sha256=sha256(given))
    pixels, still = _pixels(given, alpha)
    digest = hashlib.sha256(repr(pixels.shape).encode() + pixels.tobytes()).hexdigest()
    return Source(pixels=pixels, is_image=still, path=None, sha256=digest)


def _pixels(given: object, alpha: str) -> tuple[np.ndarray, bool]:
    given = getattr(given, "frames", getattr(given, "pixels", given))
    if isinstance(given, np.ndarray) and given.ndim == 4:
        if given.dtype != np.uint8 or given.shape[-1] != 3 or len(given) == 0:
            raise ValueError(f"a clip is uint8 (T, H, W, 3), not {given.dtype} {given.shape}")
        return np.ascontiguousarray(given), len(given) == 1
    return video.from_image(given, alpha), True
