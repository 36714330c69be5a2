"""The result of a generation: pixels, latents, and everything needed to make them again."""

import base64
import html
import io
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter

import numpy as np
from torch import Tensor

from cosmos_lab import video
from cosmos_lab.files import json_text, output_files, sha256, whole


class Timing(dict):
    """Seconds by stage."""

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        begin = perf_counter()
        yield
        self[name] = self.get(name, 0.0) + perf_counter() - begin


@dataclass(frozen=True, kw_only=True, eq=False)
class Generation:
    """A generated clip, or image: shows itself in a notebook, saves itself, and knows how it was made.

    frames      uint8 `(T, H, W, 3)` pixel frames; None where only latents were asked for
    latents     `(1, C, T', h, w)` float32 on the CPU, normalised
    fps         pixel frames a second
    provenance  model, weights, settings, input, versions: equal provenance on one machine means equal pixel frames
    timing      seconds by stage
    call        what `replay` needs beyond provenance while the generation is in memory
    odds        that each try shows the prompt, by the model's critic, in the order of their making; the clip is the
                one with the best. Empty where no critic was asked
    """

    frames: np.ndarray | None = field(repr=False)
    latents: Tensor = field(repr=False)
    fps: float
    provenance: Mapping[str, object]
    timing: Mapping[str, float] = field(default_factory=dict)
    call: object = field(default=None, repr=False)
    odds: tuple[float, ...] = ()

    def __eq__(self, other: object) -> bool:
        """Equal pixel frames (latents where there are none) and equal provenance; timing and odds aside."""
        if not isinstance(other, Generation):
            return NotImplemented
        if (self.frames is None) != (other.frames is None) or self.provenance != other.provenance:
            return False
        if self.frames is None:
            return self.latents.shape == other.latents.shape and bool((self.latents == other.latents).all())
        return np.array_equal(self.frames, other.frames)

    __hash__ = None

    @property
    def prompt(self) -> str:
        return self.provenance["settings"]["prompt"]

    @property
    def kept(self) -> int:
        """The number of the try that this is, from 1 on: of several the first one with the best odds."""
        return 1 + self.odds.index(max(self.odds)) if self.odds else 1

    @property
    def is_image(self) -> bool:
        return self.provenance["settings"]["task"] == "text2image"

    @property
    def note(self) -> str:
        """Which texts were too long to be read whole; empty where none was."""
        tokens = self.provenance["tokens"]
        lost = {"the prompt": tokens["dropped"], "source_prompt": tokens["source_dropped"]}
        said = (f"{name} is too long: its last {count} tokens were not read" for name, count in lost.items() if count)
        return "; ".join(said)

    def save(self, path: str | Path) -> Path:
        """Write the clip (.mp4) or image (.jpg, .png, .webp), its prompts (.txt) and its provenance (.json).

        The provenance comes last: where it lies, the rest is whole. It also holds the SHA-256 of the file itself,
        and the critic's odds where there are some.
        Raises ValueError for a suffix that does not fit.
        """
        path, frames = Path(path), self._shown()
        picture = self.is_image and path.suffix.lower() in video.IMAGES
        if not picture and path.suffix.lower() != ".mp4":
            fitting = ".jpg, .png, .webp or .mp4" if self.is_image else ".mp4"
            raise ValueError(f"{path.name}: a {'picture' if self.is_image else 'clip'} is saved as {fitting}")
        _, prompted, described = output_files(path)
        # All three are written before the first is in its place, so that no old provenance stands beside a new clip.
        with whole(described) as provenance, whole(prompted) as prompts, whole(path) as pixels:
            if picture:
                video.write_image(pixels, frames[0])
            else:
                video.write_video(pixels, frames, fps=self.fps)
            prompts.write_text(self._prompts(), encoding="utf-8")
            beside = {"file": {"sha256": sha256(pixels)}, **({"odds": list(self.odds)} if self.odds else {})}
            provenance.write_text(json_text({**self.provenance, **beside}), encoding="utf-8")
            described.unlink(missing_ok=True)
        return path

    def contact_sheet(self, *, columns: int = 6, rows: int = 3) -> np.ndarray:
        """Evenly spaced pixel frames as one picture, uint8 `(H', W', 3)`."""
        return video.contact_sheet(self._shown(), columns=columns, rows=rows)

    def _prompts(self) -> str:
        settings = self.provenance["settings"]
        parts = [f"[Prompt]\n{settings['prompt']}\n"]
        if settings["negative_prompt"]:
            parts.append(f"[Negative Prompt]\n{settings['negative_prompt']}\n")
        return "\n".join(parts)

    def _shown(self) -> np.ndarray:
        if self.frames is None:
            raise ValueError("this generation holds latents only; make it with output='pixels'")
        return self.frames

    def __repr__(self) -> str:
        settings = self.provenance["settings"]
        shape = "latents only" if self.frames is None else "x".join(map(str, self.frames.shape[:3]))
        return f"Generation({settings['task']}, {settings['prompt'][:60]!r}, seed={settings['seed']}, {shape})"

    def _repr_html_(self) -> str:
        if self.frames is None:
            return f"<code>{html.escape(repr(self))}</code>"
        settings = self.provenance["settings"]
        # Small clips are shown at twice their size, with their own pixels.
        width = self.frames.shape[2] * (2 if self.frames.shape[2] < 300 else 1)
        size = f'width="{width}" style="image-rendering:pixelated"'
        if len(self.frames) == 1:
            player = f'<img {size} src="data:image/png;base64,{_base64(_png(self.frames[0]))}">'
        else:
            data = _base64(video.video_bytes(self.frames, fps=self.fps))
            player = f'<video {size} loop autoplay muted controls src="data:video/mp4;base64,{data}"></video>'
        shown = ("seed", "guidance", "num_steps", "num_pixel_frames", "num_conditional_frames", "fps", "guardrail",
                 "strength", "image_strength", "source_prompt", "num_draws")  # fmt: skip
        facts = [self.provenance["model"], *(f"{name} {_short(settings[name])}" for name in shown if name in settings)]
        facts += [f"fits {100 * max(self.odds):.0f} % (try {self.kept})"] if self.odds else []
        seconds = " · ".join(f"{name} {value:.1f} s" for name, value in self.timing.items())
        caption = html.escape(settings["prompt"])
        return (
            f'<figure style="margin:0">{player}<figcaption><b>{caption}</b><br>{html.escape(" · ".join(facts))}'
            f"<br><small>{seconds}</small></figcaption></figure>"
        )


def _short(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _png(picture: np.ndarray) -> bytes:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, format="png")
    return buffer.getvalue()


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
