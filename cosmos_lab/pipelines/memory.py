"""The GPU's out-of-memory error as a message that names the fix."""

from collections.abc import Iterator
from contextlib import contextmanager
from traceback import clear_frames

import torch

FIX = "ask for a smaller resolution or fewer pixel frames, load in bfloat16, or take a card with more memory"


class OutOfMemory(MemoryError):
    """The GPU's memory is too small for what was asked for; the message says what that was, and the fix."""


@contextmanager
def enough_memory(work: str) -> Iterator[None]:
    """Raise OutOfMemory where `work` finds no memory on the GPU, and free what it had taken."""
    try:
        yield
    except torch.cuda.OutOfMemoryError as error:
        # A notebook keeps the last traceback, and with its frames all tensors of the work that failed.
        clear_frames(error.__traceback__)
        torch.cuda.empty_cache()
        raise OutOfMemory(f"the GPU has not enough memory for {work}: {FIX}") from None
