"""What a caption says, beside the flow: the text encoder is also asked which words belong together.

One learned query a question (of each color: what shape has it, does it act, on which side; what happens; what does the
camera) looks once at the encoder's vectors, and what it finds must be the answer. A vector that holds "yellow" then
holds "ball" too, and a transformer that looks up the yellow body need not guess whose noun it was. The flow alone
teaches this late, since swapped nouns cost it little. The head is dropped after training.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cosmos_lab.nn.layers import Linear
from cosmos_lab.worlds.captions import SIDES, Caption, side_of
from cosmos_lab.worlds.families import MOTIONS
from cosmos_lab.worlds.scene import CAMERAS, COLORS, SHAPES, Scene

# The answer where nobody has a color, and which questions are about bodies.
NOBODY = 2 * len(SHAPES)
BODIES = slice(0, len(COLORS))
# Questions of each kind, and answers to each: of every color the body (a shape at rest, a shape that acts, nobody) and
# its side (or not said); the motion; the camera (or not said).
KINDS = ((len(COLORS), NOBODY + 1), (len(COLORS), len(SIDES) + 1), (1, len(MOTIONS)), (1, len(CAMERAS) + 1))
# What a color can have in a clip: nothing, one object of each shape, several (`bodies_of`).
BODY_KINDS = 1 + 2 * len(SHAPES)
SIZES = [answers for questions, answers in KINDS for _ in range(questions)]


def meaning_of(scene: Scene, caption: Caption) -> list[int]:
    """The right answer to each question of SIZES."""
    bodies = dict.fromkeys(COLORS, NOBODY)
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


def bodies_of(scene: Scene) -> list[int]:
    """What has each color: 0 nothing, 1 + shape one object, 1 + shapes + shape of the first where there are several."""
    found = dict.fromkeys(COLORS, 0)
    for body in scene.objects:
        first = found[body.color] or 1 + SHAPES.index(body.shape)
        again = found[body.color] and first <= len(SHAPES)
        found[body.color] = first + len(SHAPES) if again else first
    return list(found.values())


class MeaningHead(nn.Module):
    """Attention with one learned query a question, and one linear map for the answers to all questions of a kind.

    The colors share a map: what stands in a vector for "cylinder" must stand there for every color, those included
    that no cylinder had in training. All is drawn with `seed`.
    """

    def __init__(self, width: int, inner: int = 64, *, seed: int = 0):
        super().__init__()
        self.queries = nn.Parameter(torch.empty(len(SIZES), inner))
        self.key, self.value = Linear(width, inner), Linear(width, width)
        self.answers = nn.ModuleList(Linear(width, size, bias=True) for _, size in KINDS)
        self.draw(torch.Generator().manual_seed(seed))

    @torch.no_grad()
    def draw(self, generator: torch.Generator) -> None:
        """Fills the maps with normal draws of deviation fan_in^-1/2, the biases with zeros."""
        for name, parameter in self.named_parameters():
            spread = 0.0 if name.endswith("bias") else parameter.shape[-1] ** -0.5
            parameter.copy_(spread * torch.randn(parameter.shape, generator=generator))

    def forward(self, text: Tensor, mask: Tensor) -> Tensor:
        """Logits (B, questions, answers), -inf past a question's last answer, from the encoder's vectors (B, N, D);
        `mask` (B, N) is False on padding."""
        text = text.float()
        queries, keys = self.queries.expand(len(text), -1, -1), self.key(text)
        found = F.scaled_dot_product_attention(queries, keys, self.value(text), attn_mask=mask[:, None])
        parts = zip(found.split([count for count, _ in KINDS], dim=1), self.answers, strict=True)
        logits = [answer(part) for part, answer in parts]
        return torch.cat([F.pad(part, (0, max(SIZES) - part.shape[2]), value=-torch.inf) for part in logits], dim=1)

    def error(self, text: Tensor, mask: Tensor, meanings: Tensor) -> Tensor:
        """Cross-entropy in nats, the mean over the questions, against `meanings` (B, questions)."""
        return F.cross_entropy(self(text, mask).flatten(0, 1), meanings.flatten().long())
