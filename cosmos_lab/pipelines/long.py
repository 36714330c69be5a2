"""Long videos: chunk after chunk, each beginning with the last pixel frames of the one before.

Pixels are handed over, not latents: latent frame 0 of a chunk stands for one pixel frame and the others for several,
so the last latents of one chunk are no legal beginning of the next.
"""

from dataclasses import dataclass, replace
from math import ceil
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Unpack

import numpy as np
import torch
from torch import Tensor

from cosmos_lab import video
from cosmos_lab.noise import Noise
from cosmos_lab.pipelines.call import Call, generating
from cosmos_lab.pipelines.generate import Pipeline
from cosmos_lab.pipelines.generation import Generation, Timing
from cosmos_lab.pipelines.settings import Options, Settings, once, whole_number
from cosmos_lab.pipelines.source import Source

NUM_CHUNKS = 6


@dataclass(frozen=True, kw_only=True, eq=False)
class LongCall:
    """A long video, completely specified and checked: its settings, and the call of its first chunk."""

    settings: Settings
    first: Call

    def given(self, source: Source | None) -> "LongCall":
        """The call whose first chunk begins with this source, if there is one."""
        return replace(self, first=self.first.given(source))

    def run(self, pipe: Pipeline, *, progress: bool = True) -> Generation:
        """Generate it, chunk after chunk."""
        from tqdm.auto import tqdm

        settings, chunks, timing = self.settings, [], Timing()
        for number in tqdm(range(settings.num_chunks), desc="chunks", disable=not progress, leave=False):
            chunk = _following(pipe, self, chunks[-1], number) if chunks else self.first
            # Pixels are handed over, also where only latents were asked for.
            chunk = replace(chunk, replacing=_of_chunk(chunk.replacing, number), output="pixels")
            chunks.append(pipe.generate(chunk, progress=progress))
            for stage, seconds in chunks[-1].timing.items():
                timing[stage] = timing.get(stage, 0.0) + seconds
        call = self.given(chunks[0].call.source)
        shown = [chunk.frames[settings.chunk_overlap if number else 0 : settings.chunk_size]
                 for number, chunk in enumerate(chunks)]  # fmt: skip
        return Generation(
            frames=None if call.first.output == "latents" else np.concatenate(shown)[: settings.num_output_frames],
            latents=torch.cat([chunk.latents for chunk in chunks], dim=2), fps=settings.fps, timing=timing, call=call,
            provenance=pipe.provenance(call),
        )  # fmt: skip


@generating
def long_video(
    pipe: Pipeline,
    image: object,
    prompt: str,
    *,
    num_chunks: int | None = None,
    num_conditional_frames: int = 1,
    num_output_frames: int | None = None,
    chunk_size: int | None = None,
    chunk_overlap: int | None = None,
    **options: Unpack[Options],
) -> LongCall:
    """A clip of several chunks; chunk c has the seed `seed + c` and begins with the last pixel frames of chunk c - 1.

    image: what the first chunk begins with, as in `Pipeline.video2world`, or None to begin with the prompt alone.
    num_conditional_frames: how many pixel frames of it are continued. chunk_overlap n: how many a chunk hands to the
    next, which are shown once; by default as many. chunk_size s: how many of each chunk's pixel frames count; all.
    The clip has s + (num_chunks - 1) (s - n) pixel frames (6 chunks by default), or num_output_frames, for which the
    last chunk is cut. `latents` are those of all chunks, one after the other along time. noise: a source for every
    chunk, or `(num_chunks, C, T, h, w)`. Raises ValueError as `video2world`, and for chunks that do not fit.
    """
    options = once(options, "the chunks of a long video are made once")
    overlap = num_conditional_frames if chunk_overlap is None else chunk_overlap
    # Only to check it: whatever the first chunk begins with, the others have to begin with a legal number.
    pipe.call("video2world", prompt, given=_blank(overlap), num_conditional_frames=overlap, **options)
    if image is None:
        first = pipe.call("text2world", prompt, **options)
    else:
        first = pipe.call("video2world", prompt, given=image, num_conditional_frames=num_conditional_frames, **options)
    size = first.settings.num_pixel_frames if chunk_size is None else chunk_size
    if not overlap < size <= first.settings.num_pixel_frames:
        limits = f"more than the {overlap} of the overlap and at most the chunk's {first.settings.num_pixel_frames}"
        raise ValueError(f"chunk_size is {limits} pixel frames, not {size}")
    chunks, total = _extent(num_chunks, num_output_frames, size, size - overlap)
    noise = options.get("noise")
    if isinstance(noise, Tensor) and len(noise) != chunks:
        raise ValueError(f"noise for this video is one entry for each of its {chunks} chunks, not {len(noise)}")
    settings = replace(first.settings, task="long_video", num_chunks=chunks, num_output_frames=total, chunk_size=size,
                       chunk_overlap=overlap)  # fmt: skip
    return LongCall(settings=settings, first=first)


def first_settings(settings: Settings, *, has_input: bool) -> Settings:
    """The settings of the first chunk of a long video."""
    none = dict.fromkeys(("num_chunks", "num_output_frames", "chunk_size", "chunk_overlap"))
    return replace(settings, task="video2world" if has_input else "text2world", **none)


def _extent(num_chunks: int | None, num_output_frames: int | None, size: int, stride: int) -> tuple[int, int]:
    """How many chunks there are, and how many pixel frames they show together."""
    if num_chunks is not None and num_output_frames is not None:
        raise ValueError("num_chunks and num_output_frames both say how long the video is: give one")
    name, given = ("num_chunks", num_chunks) if num_output_frames is None else ("num_output_frames", num_output_frames)
    given = whole_number(name, NUM_CHUNKS if given is None else given, least=1)
    if num_output_frames is None:
        return given, size + (given - 1) * stride
    return 1 + max(0, ceil((given - size) / stride)), given


def _of_chunk(replacing: dict[str, Noise | Tensor], number: int) -> dict[str, Noise | Tensor]:
    """What was given by hand, with the noise of one chunk."""
    noise = replacing.get("noise")
    return replacing | {"noise": noise[number : number + 1]} if isinstance(noise, Tensor) else replacing


def _following(pipe: Pipeline, call: LongCall, previous: Generation, number: int) -> Call:
    """The call of chunk `number`."""
    count, seed = call.settings.chunk_overlap, call.settings.seed + number
    settings = replace(call.first.settings, task="video2world", num_conditional_frames=count, seed=seed)
    pixels = previous.frames[: call.settings.chunk_size][-count:]
    if pipe.card.pictures.hand_over == "files":
        pixels = _through_file(pixels, fps=settings.fps)
    return replace(call.first, settings=settings, source=Source.of(pixels, num_conditional_frames=count))


def _through_file(pixels: np.ndarray, *, fps: float) -> np.ndarray:
    """One pixel frame through a JPEG, several through H.264, as the official script hands them over."""
    if len(pixels) == 1:
        return video.through_jpeg(pixels[0])[None]
    with TemporaryDirectory() as folder:
        path = Path(folder) / "overlap.mp4"
        video.write_video(path, pixels, fps=fps, crf=15)
        return video.read(path).pixels


def _blank(count: int) -> np.ndarray:
    return np.zeros((max(1, count), 16, 16, 3), dtype=np.uint8)
