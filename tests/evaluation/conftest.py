import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(scope="session")
def dropped():
    """A hand-made fall and its render: (rollout, pixels (1, T, H, W, 3), body_index (1, T, H, W))."""
    from made_worlds import drop

    from cosmos_lab.worlds.render import render

    made = drop()
    pictures = render([made], samples=1, device=torch.device("cpu"))
    return made, pictures.pixels, pictures.body_index
