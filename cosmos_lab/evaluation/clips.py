"""The clips that an evaluation compares: rendered, reconstructed, drawn again, generated, and what the ruler reads."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from cosmos_lab.evaluation.batch import generate_batch, reconstruct_batch, redraw_batch
from cosmos_lab.evaluation.joint import Case
from cosmos_lab.evaluation.labels import label_table
from cosmos_lab.evaluation.obedience import asked
from cosmos_lab.evaluation.reader import Reader
from cosmos_lab.evaluation.reading import Reading, read, true_readings
from cosmos_lab.evaluation.references import read_references
from cosmos_lab.pipelines.generate import Pipeline
from cosmos_lab.runtime.ranks import Ranks
from cosmos_lab.worlds.captions import describe
from cosmos_lab.worlds.render import render
from cosmos_lab.worlds.scene import Rollout

# Prompt i has length i modulo 4; prompts that must state sizes and speeds are dense.
LENGTHS = ("dense", "sentence", "dense", "short")


@dataclass(frozen=True, kw_only=True)
class Extent:
    """How much to measure: `prompts` text prompts (half of them withheld), `falls` and `rolls` clips for physics,
    `codec` clips for the tokenizer; `seeds` repeat the text prompts with other noise, `tries` is how often each
    of their clips may be made. None takes the model's own value."""

    prompts: int = 512
    falls: int = 96
    rolls: int = 96
    codec: int = 256
    seeds: tuple[int, ...] = (0, 1, 2)
    num_steps: int | None = None
    guidance: float | None = None
    batch: int = 64
    tries: int | None = None

    def __post_init__(self):
        if self.prompts < 4 or self.prompts % 2 or not self.seeds:
            asked = f"{self.prompts} prompts and seeds {self.seeds}"
            raise ValueError(f"give an even number of at least 4 prompts, and at least one seed, not {asked}")


@dataclass(kw_only=True)
class Group:
    """One set of scenes with its rendered clips, their reconstructions, and the readings of everything."""

    rollouts: list[Rollout]
    rendered: Tensor
    reconstructed: Tensor
    truth: list[Reading]
    readings: dict[str, list[Reading]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.rollouts)


class Runner:
    """Makes and reads clips, every rank its share of them; the first one says where it is by a progress bar."""

    def __init__(
        self, pipe: Pipeline, reader: Reader, references: Path, extent: Extent, progress: bool,
        ranks: Ranks | None = None,
    ):  # fmt: skip
        self.pipe, self.reader, self.references, self.extent = pipe, reader, references, extent
        self.ranks = ranks or Ranks()
        self.progress = progress and self.ranks.first
        self.vocabulary = dict(reader.config.classes)

    def group(self, parts: Sequence[tuple[str, int]]) -> Group:
        """Render, reconstruct and read the first clips of the named reference sets."""
        rollouts = [r for name, number in parts for r in read_references(self.references, name, number)]
        rendered, truth = self._rendered(self._share(rollouts))
        reconstructed = reconstruct_batch(self.pipe, rendered)
        # As arrays: a tensor that is part of another one would take all of that along to the other ranks.
        made = self.ranks.gather(list(zip(
            rendered.numpy(), reconstructed.numpy(), truth, self._read(rendered), self._read(reconstructed), strict=True
        )))  # fmt: skip
        rendered, reconstructed, truth, of_rendered, of_reconstructed = map(list, zip(*made))
        return Group(
            rollouts=rollouts, rendered=torch.from_numpy(np.stack(rendered)), truth=truth,
            reconstructed=torch.from_numpy(np.stack(reconstructed)),
            readings={"rendered": of_rendered, "reconstructed": of_reconstructed},
        )  # fmt: skip

    def made(self, prompts: Sequence[str], seed: int, given: np.ndarray | None = None) -> list[Reading]:
        """What the ruler reads in the model's clips of the prompts, begun with `given` where there is any; clip n has a
        noise of its own."""
        rows = self._share(range(len(prompts)))
        clips = generate_batch(
            self.pipe, [prompts[row] for row in rows], seeds=[1000 * seed + row for row in rows],
            given=None if given is None else given[list(rows)], num_steps=self.extent.num_steps,
            guidance=self.extent.guidance, batch=self.extent.batch, tries=self.extent.tries,
            progress=lambda rows: self._bar(rows, "generating"),
        )  # fmt: skip
        return self.ranks.gather(self._read(clips))

    def redrawn(self, group: Group) -> list[Reading]:
        """What the ruler reads in the group's rendered clips once the model has drawn them again."""
        rows = self._share(range(len(group)))
        clips = redraw_batch(
            self.pipe, group.rendered[list(rows)], seeds=rows, num_steps=self.extent.num_steps,
            batch=self.extent.batch, progress=lambda rows: self._bar(rows, "drawing again"),
        )  # fmt: skip
        return self.ranks.gather(self._read(clips))

    def _rendered(self, rollouts: Sequence[Rollout]) -> tuple[Tensor, list[Reading]]:
        """Pixels on the CPU, and what a perfect ruler would read in them."""
        scenes = [rollout.scene for rollout in rollouts]
        table, pixels, truth = label_table(scenes), [], []
        for start in self._bar(range(0, len(rollouts), 16), "rendering"):
            shown = render(list(rollouts[start : start + 16]), device=self.pipe.device)
            labels = table.select(torch.arange(start, start + len(shown.pixels))).to(shown.body_index.device)
            pixels.append(shown.pixels.cpu())
            truth += true_readings(scenes[start : start + 16], shown.body_index, labels, self.vocabulary)
        return torch.cat(pixels), truth

    def _read(self, clips: np.ndarray | Tensor) -> list[Reading]:
        readings = read(self.reader, clips)
        for reading in readings:
            # Here, where every rank does its share of it.
            reading.doubled  # noqa: B018
        return readings

    def _share(self, items: Sequence) -> Sequence:
        if len(items) < self.ranks.size:
            raise ValueError(f"{len(items)} clips cannot be shared by {self.ranks.size} processes: ask for more clips")
        return self.ranks.share(items)

    def _bar(self, items: Sequence, what: str):
        from tqdm.auto import tqdm

        return tqdm(items, desc=what, disable=not self.progress, leave=False)


def prompt_cases(rollouts: Sequence[Rollout], lengths: Sequence[str]) -> tuple[list[str], list[Case]]:
    """Prompts of scenes, lengths in turn, and what each asks for."""
    captions = [describe(rollout.scene, lengths[index % len(lengths)]) for index, rollout in enumerate(rollouts)]
    cases = [
        Case(scene=rollout.scene, asked=asked(rollout.scene, caption), size_is_stated="size" in caption.stated)
        for rollout, caption in zip(rollouts, captions)
    ]
    return [caption.text for caption in captions], cases
