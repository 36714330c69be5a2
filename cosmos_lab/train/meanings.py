"""What a caption says, beside the flow: the text encoder is also asked which words belong together.

One learned query a question (of each color: what shape has it, does it act, on which side; what happens; what does the
camera) looks once at the encoder's vectors, and what it finds must be the answer. A vector that holds "yellow" then
holds "ball" too, and a transformer that looks up the yellow body need not guess whose noun it was. The flow alone
teaches this late, since swapped nouns cost it little. The head is dropped after training.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cosmos_lab.worlds.captions import SIDES, Caption, side_of
from cosmos_lab.worlds.families import MOTIONS
from cosmos_lab.worlds.scene import CAMERAS, COLORS, SHAPES, Scene

# Numbers of answers to each question: bodies (shapes at rest, shapes that act, no such color), sides (or not said) of
# each color; motions; cameras (or not said).
SIZES = [2 * len(SHAPES) + 1] * len(COLORS) + [len(SIDES) + 1] * len(COLORS) + [len(MOTIONS), len(CAMERAS) + 1]


def meaning_of(scene: Scene, caption: Caption) -> list[int]:
    """The right answer to each question of SIZES."""
    bodies = dict.fromkeys(COLORS, 2 * len(SHAPES))
    sides = dict.fromkeys(COLORS, len(SIDES))
    for body in map(scene.body, caption.mentioned):
        acts = body.name in scene.facts["actors"]
        bodies[body.color] = SHAPES.index(body.shape) + len(SHAPES) * acts
        # Only paragraphs say where things stand, and what hangs on a string has no such place.
        if caption.length == "dense" and not (acts and scene.family == "pendulum"):
            sides[body.color] = SIDES.index(side_of(scene, _placed(scene, body.name))[0])
    camera = CAMERAS.index(scene.camera) if "camera" in caption.stated else len(CAMERAS)
    return [*bodies.values(), *sides.values(), list(MOTIONS).index(scene.motion), camera]


def _placed(scene: Scene, name: str) -> str:
    """The body whose place is told: a tower or a row has that of its first."""
    group = scene.facts["group"]
    return group["names"][0] if group and name in group["names"] else name


class MeaningHead(nn.Module):
    """Attention with one learned query a question, and a linear map for its answers; both are drawn with `seed`."""

    def __init__(self, width: int, inner: int = 64, *, seed: int = 0):
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.queries = nn.Parameter(0.02 * torch.randn(len(SIZES), inner, generator=generator))
        self.key, self.value = nn.Linear(width, inner, bias=False), nn.Linear(width, width)
        self.answers = nn.Parameter(width**-0.5 * torch.randn(len(SIZES), width, max(SIZES), generator=generator))
        self.register_buffer("beyond", torch.arange(max(SIZES)) >= torch.tensor(SIZES)[:, None], persistent=False)

    def forward(self, text: Tensor, mask: Tensor) -> Tensor:
        """Logits (B, questions, answers), -inf past a question's last answer, from the encoder's vectors (B, N, D);
        `mask` (B, N) is False on padding."""
        text = text.float()
        found = F.scaled_dot_product_attention(
            self.queries.expand(len(text), -1, -1), self.key(text), self.value(text), attn_mask=mask[:, None]
        )
        return torch.einsum("bqd,qda->bqa", found, self.answers).masked_fill(self.beyond, -torch.inf)

    def error(self, text: Tensor, mask: Tensor, meanings: Tensor) -> Tensor:
        """Cross-entropy in nats, the mean over the questions, against `meanings` (B, questions)."""
        return F.cross_entropy(self(text, mask).flatten(0, 1), meanings.flatten().long())
