"""Clips that the world model makes from captions, some with one thing wrong: what a critic is asked about in the end.

They look otherwise than those of the simulator, also where they show what they should. A clip made from the paragraph
of a scene does not show what a wrong caption of that scene says, and the other way round; so pairs of right and wrong
need no one to look at them, though a clip now and then misses what it was made for.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from cosmos_lab.catalog import nano_card
from cosmos_lab.diffusion import make_denoiser, sample
from cosmos_lab.pipelines import assembly
from cosmos_lab.selection.critic import Critic
from cosmos_lab.train.clips import CAPTION_COUNTS
from cosmos_lab.train.world_model import LatentBank


@dataclass(frozen=True, kw_only=True)
class Imagined:
    """N scenes, each imagined twice: `latents` (N, 2, C, T, h, w) float16, from its first paragraph and from a caption
    with one thing wrong. `paragraphs` (N, P, length) and `wrong` (N, length) are tokens, int16."""

    latents: Tensor
    paragraphs: Tensor
    wrong: Tensor

    def draw(self, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Latents (count, C, T, h, w) float32, tokens (count, length) int64 and whether they belong together, (count,):
        a half of such pairs does."""
        device = self.latents.device

        def drawn(number: int) -> Tensor:
            return torch.randint(number, (count,), generator=generator, device=device)

        chosen, shown, told = drawn(len(self.latents)), drawn(2), drawn(2)
        tokens = torch.where(
            told[:, None] == 0, self.paragraphs[chosen, drawn(self.paragraphs.shape[1])], self.wrong[chosen]
        )
        return self.latents[chosen, shown].float(), tokens.long(), (shown == told).float()


@torch.no_grad()
def imagine(
    bank: LatentBank, dit: nn.Module, text: nn.Module, count: int, generator: torch.Generator, batch: int = 64
) -> Imagined:
    """`count` random scenes of a bank, or all that have a wrong caption, imagined with the settings of nano's card."""
    told = bank.wrong_tokens.any(dim=2)
    scenes = told.any(dim=1).nonzero()[:, 0]
    scenes = scenes[torch.randperm(len(scenes), generator=generator, device=scenes.device)[:count]]
    paragraphs = bank.tokens[scenes, -CAPTION_COUNTS["dense"] :]
    # Of captions that are there at all.
    odds = torch.rand(told[scenes].shape, generator=generator, device=told.device) * told[scenes]
    wrong = bank.wrong_tokens[scenes, odds.argmax(dim=1)]
    tokens = torch.stack([paragraphs[:, 0], wrong], dim=1).flatten(0, 1)
    seeds = torch.randint(2**31, (len(tokens),), generator=generator, device=tokens.device).tolist()
    shape = bank.latents[:1].shape
    made = [bank.latents.new_zeros(0, *shape[1:], dtype=torch.float16)]
    for start in tqdm(range(0, len(tokens), batch), desc="imagining", leave=False):
        part = tokens[start : start + batch].long()
        made.append(_sampled(dit, text(part, part != 0), shape, seeds[start : start + batch]))
    return Imagined(latents=torch.cat(made).unflatten(0, (-1, 2)), paragraphs=paragraphs, wrong=wrong)


def trusted(imagined: Imagined, critic: Critic, text: nn.Module, least: float) -> Imagined:
    """The scenes of which both clips have odds of `least` and more under the caption that they were made from."""
    own = [logits(imagined, critic, text, place, place).sigmoid() >= least for place in (0, 1)]
    rows = own[0] & own[1]
    return Imagined(**{part.name: getattr(imagined, part.name)[rows] for part in fields(imagined)})


def imagined_figures(critic: Critic, imagined: Imagined, text: nn.Module) -> dict[str, float]:
    """How often of two clips of a scene the one that was made from a caption has the higher odds under it; no figure
    where there is no scene."""
    if not len(imagined.latents):
        return {}
    pairs = [[logits(imagined, critic, text, place, told) for place in (told, 1 - told)] for told in (0, 1)]
    return {"imagined_ranked_rightly": torch.cat([own > other for own, other in pairs]).float().mean().item()}


@torch.no_grad()
def logits(imagined: Imagined, critic: Critic, text: nn.Module, shown: int, told: int, batch: int = 256) -> Tensor:
    """The critic's logits (N,) of each scene's clip number `shown` under its paragraph, `told` 0, or its wrong caption,
    1."""
    tokens = (imagined.paragraphs[:, 0], imagined.wrong)[told].long()
    return torch.cat([
        critic(latents.float(), text(part, part != 0))
        for latents, part in zip(imagined.latents[:, shown].split(batch), tokens.split(batch), strict=True)
    ])  # fmt: skip


@torch.no_grad()
def _sampled(dit: nn.Module, text: Tensor, shape: Sequence[int], seeds: Sequence[int]) -> Tensor:
    """Latents (B, C, T, h, w), float16, of texts (B, N, D), as the card of nano samples them; `shape` is one clip's."""
    sampling, device = nano_card().sampling, text.device
    sources = [assembly.noise_source(sampling, seed) for seed in seeds]
    initial = torch.cat([source(shape, purpose="initial") for source in sources]).to(device, torch.float32)
    denoiser = make_denoiser(
        dit, assembly.parametrization(sampling), text=text, guided=sampling.guided, precision=sampling.precision,
        guidance=assembly.guidance(sampling, sampling.guidance, sampling.guidance_form),
        batch_guidance=sampling.batch_guidance,
    )  # fmt: skip
    steps = assembly.walk(
        sampling, denoiser, assembly.initial_state(sampling, initial), assembly.sigmas(sampling, sampling.num_steps),
        churn=assembly.churn(sampling, shape, sources),
    )  # fmt: skip
    with torch.autocast(device.type, dtype=torch.bfloat16):
        return sample(steps).half()
