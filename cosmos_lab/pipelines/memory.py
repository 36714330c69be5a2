"""Errors of too little memory, the GPU's and the machine's, as a message that names the fix."""

from collections.abc import Iterator
from contextlib import contextmanager
from traceback import clear_frames

import torch

FIX = "ask for a smaller resolution or fewer pixel frames, load in bfloat16, or take a {} with more memory"
CPU_ERROR = "can't allocate memory"


class OutOfMemory(MemoryError):
    """The memory is too small for what was asked for; the message says whose, what that was, and the fix."""


@contextmanager
def enough_memory(work: str) -> Iterator[None]:
    """Raise OutOfMemory where `work` finds no memory, and free what it had taken."""
    try:
        yield
    except RuntimeError as error:
        on_gpu = isinstance(error, torch.cuda.OutOfMemoryError)
        if not on_gpu and CPU_ERROR not in str(error):
            raise
        # A notebook keeps the last traceback, and with its frames all tensors of the work that failed.
        clear_frames(error.__traceback__)
        torch.cuda.empty_cache()
        place, larger = ("the GPU", "card") if on_gpu else ("this machine", "machine")
        raise OutOfMemory(f"{place} has not enough memory for {work}: {FIX.format(larger)}") from None
