import os
import sys
from pathlib import Path

# Set before torch is imported: two test processes of two threads each run several times slower than one.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
import torch

torch.set_num_threads(1)

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture
def generator() -> torch.Generator:
    """A seeded CPU generator; tests never draw from the global one."""
    return torch.Generator().manual_seed(0)
