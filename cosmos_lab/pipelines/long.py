"""Long videos: chunk after chunk, each beginning with the last pixel frames of the one before.

Pixels are handed over, not latents: latent frame 0 of a chunk stands for one pixel frame and the others for several,
so the last latents of one chunk are no legal beginning of the next.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Unpack

import numpy as np
import torch

from cosmos_lab import video
from cosmos_lab.pipelines.call import Call
from cosmos_lab.pipelines.generate import Pipeline
from cosmos_lab.pipelines.generation import Generation, Timing
from cosmos_lab.pipelines.settings import Options, Settings
from cosmos_lab.pipelines.source import Source


@dataclass(frozen=True, kw_only=True, eq=False)
class LongCall:
    """A long video, completely specified and checked: its settings, and the call of its first chunk."""

    settings: Settings
    first: Call


def long_video(
    pipe: Pipeline,
    image: object,
    prompt: str,
    *,
    num_chunks: int = 6,
    num_conditional_frames: int = 1,
    **options: Unpack[Options],
) -> Generation:
    """A clip of several chunks; chunk c has the seed `seed + c` and begins with the last pixel frames of chunk c - 1.

    image: what the first chunk begins with, as in `Pipeline.video2world`, or None to begin with the prompt alone.
    num_conditional_frames n is the overlap, which is shown once: F + (num_chunks - 1) (F - n) pixel frames of chunks of
    F. `latents` are those of all chunks, one after the other along time. Raises ValueError as `video2world`.
    """
    call = long_call(
        pipe, image, prompt, num_chunks=num_chunks, num_conditional_frames=num_conditional_frames, **options
    )
    return generate_long(pipe, call, progress=options.get("progress", True))


def long_call(
    pipe: Pipeline,
    image: object,
    prompt: str,
    *,
    num_chunks: int = 6,
    num_conditional_frames: int = 1,
    **options: Unpack[Options],
) -> LongCall:
    """Check a long video and read its input, but generate nothing yet."""
    if isinstance(num_chunks, bool) or not isinstance(num_chunks, int) or num_chunks < 1:
        raise ValueError(f"num_chunks is a whole number from 1 on, not {num_chunks!r}")
    if options.get("output", "pixels") != "pixels":
        raise ValueError("chunks of a long video hand over pixels; leave output='latents' away")
    if options.get("noise") is not None:
        raise ValueError("every chunk of a long video has noise of its own; give a seed instead of noise")
    if image is None and pipe.card.first_frame is not None:
        raise ValueError(f"{pipe.name} begins a long video with an image or a clip; text2world makes one")
    count = num_conditional_frames
    # Also where the first chunk begins with nothing, the others have to begin with a legal number of pixel frames.
    following = pipe.call("video2world", prompt, given=_blank(count), num_conditional_frames=count, **options)
    if image is None:
        first = pipe.call("text2world", prompt, **options)
    else:
        first = pipe.call("video2world", prompt, given=image, num_conditional_frames=count, **options)
    return LongCall(settings=replace(following.settings, task="long_video", num_chunks=num_chunks), first=first)


def generate_long(pipe: Pipeline, call: LongCall, *, progress: bool = True) -> Generation:
    """Run a long video from beginning to end."""
    from tqdm.auto import tqdm

    count, chunk_call, chunks, timing = call.settings.num_conditional_frames, call.first, [], Timing()
    for number in tqdm(range(call.settings.num_chunks), desc="chunks", disable=not progress, leave=False):
        if chunks:
            chunk_call = _following(pipe, call, chunks[-1], number)
        chunks.append(pipe.generate(chunk_call, progress=progress))
        for stage, seconds in chunks[-1].timing.items():
            timing[stage] = timing.get(stage, 0.0) + seconds
    frames = np.concatenate([chunk.frames[count if number else 0 :] for number, chunk in enumerate(chunks)])
    return Generation(
        frames=frames, latents=torch.cat([chunk.latents for chunk in chunks], dim=2), fps=call.settings.fps,
        provenance=pipe.provenance(chunks[0].call, call.settings), timing=timing, call=call,
    )  # fmt: skip


def _following(pipe: Pipeline, call: LongCall, previous: Generation, number: int) -> Call:
    """The call of chunk `number`."""
    settings = replace(call.settings, task="video2world", num_chunks=None, seed=call.settings.seed + number)
    count = settings.num_conditional_frames
    pixels = previous.frames[-count:]
    if pipe.card.pictures.hand_over == "files":
        pixels = _through_file(pixels, fps=settings.fps)
    source = Source.of(pixels, num_conditional_frames=count)
    return replace(call.first, settings=settings, source=source)


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
