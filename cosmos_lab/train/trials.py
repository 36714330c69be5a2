"""Trials: nano makes clips of training prompts, and the ruler judges them. What comes of both: `train/trial_loss.py`.

They are made as users make theirs, guided: what is to be unlearned are the failures that users meet.
"""

import hashlib
import multiprocessing
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor
from tqdm.auto import tqdm

from cosmos_lab.evaluation.batch import decode_batch, denoise_batches
from cosmos_lab.evaluation.obedience import Asked, asked, obeys
from cosmos_lab.evaluation.permanence import permanence_faults
from cosmos_lab.evaluation.reader import Reader, load_reader
from cosmos_lab.evaluation.reading import Reading, read
from cosmos_lab.files import check_writable, sha256, whole, write_json
from cosmos_lab.pipelines.generate import Pipeline, load
from cosmos_lab.train.clips import ClipSource
from cosmos_lab.worlds.captions import describe
from cosmos_lab.worlds.families import draw_scene, drawn_family
from cosmos_lab.worlds.split import admits

TRIALS = "trials.safetensors"
# The captions that say enough to fail.
LENGTHS = ("sentence", "dense")
# How many prompts are asked before those that failed are asked again, and how often each is asked at most.
PROMPTS_AT_ONCE, TRIES = 512, 4
# Noise of trials begins here: no evaluation has it.
FIRST_NOISE = 10_000_000
# What must be the same in the model that is asked and in the one that learns: weights, and words.
PARTS, WORDS = ("dit", "text_encoder", "vae"), "tokenizer.json"
Judge = Callable[[Callable[[Reading, Asked], bool], Sequence[tuple[Reading, Asked]]], Sequence[bool]]


def fingerprint(folder: Path) -> str:
    """SHA-256 of a model's weights and words, be it a folder in training or an exported one. Raises FileNotFoundError
    where one is missing."""
    found = hashlib.sha256()
    for file in (folder / f"{part}.safetensors" for part in PARTS):
        if not file.is_file():
            raise FileNotFoundError(f"trials need a whole model: {folder} lacks {file.name}")
        for name, tensor in sorted(load_file(file).items()):
            found.update(name.encode() + tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    found.update((folder / WORDS).read_bytes())
    return found.hexdigest()


@dataclass(frozen=True, kw_only=True)
class Trials:
    """Pairs of clips of one prompt: normalised latents (N, C, T, h, w) of one that shows what is asked and of one that
    does not, the prompt's `tokens` (N, length), 0 past its end, and the `fingerprint` of the model that made them."""

    obeyed: Tensor
    failed: Tensor
    tokens: Tensor
    fingerprint: str = ""

    def draw(self, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Latents and tokens of count // 2 random pairs, and 1 for those that obeyed, -1 for those that failed (B,)."""
        device = self.tokens.device
        chosen = torch.randint(len(self.tokens), (count // 2,), generator=generator, device=device)
        latents = torch.cat([self.obeyed[chosen], self.failed[chosen]]).float()
        verdict = torch.ones(len(latents), device=device)
        verdict[len(chosen) :] = -1
        return latents, self.tokens[chosen].long().repeat(2, 1), verdict

    def save(self, file: Path) -> None:
        """Writes beside, then renames."""
        held = {name: getattr(self, name).contiguous().cpu() for name in ("obeyed", "failed", "tokens")}
        with whole(file) as beside:
            save_file(held, beside, metadata={"fingerprint": self.fingerprint})

    @classmethod
    def load(cls, file: Path, device: torch.device | str = "cpu") -> "Trials":
        """Raises FileNotFoundError where there are none."""
        check_trials(file)
        with safe_open(file, framework="pt", device=str(device)) as held:
            made_by = (held.metadata() or {}).get("fingerprint", "")
            return cls(**{name: held.get_tensor(name) for name in held.keys()}, fingerprint=made_by)


def check_trials(file: Path) -> None:
    """Raises FileNotFoundError where there are no trials."""
    if not file.is_file():
        raise FileNotFoundError(f"no trials at {file}: make them with `python -m cosmos_lab train trials`")


def training_prompts(source: ClipSource) -> Iterator[tuple[str, Asked]]:
    """Captions of drawn scenes that training may see, and what each asks for."""
    for seed in range(source.first_seed, source.first_seed + source.count):
        scene = draw_scene(seed, drawn_family(seed, source.odds) if source.odds else None)
        if admits("train", scene):
            caption = describe(scene, LENGTHS[seed % len(LENGTHS)])
            yield caption.text, asked(scene, caption)


def shows(reading: Reading, prompt: Asked) -> bool:
    """Whether a clip obeys in all that the ruler can tell, and breaks no permanence."""
    return all(obeys(reading, prompt).values()) and not permanence_faults(reading, prompt.groups)


def make_trials(folder: Path, model: Path, source: ClipSource, device: torch.device) -> Mapping[str, int]:
    """Asks a finished model for training prompts; writes `trials.safetensors`, after each round what there is so far,
    and `trials_training.json`. Returns how many prompts were asked, failed at first, and made a pair.

    Raises ValueError where no prompt failed and obeyed by turns, and what `load` and `load_reader` do.
    """
    check_writable(folder / TRIALS)
    reader, made_by = load_reader(model / "reader.safetensors", device), fingerprint(model)
    pipe = load(model, device=device, dtype="bfloat16" if device.type == "cuda" else "float32")
    notes = {"model": pipe.model.digest, "reader": sha256(model / "reader.safetensors"), "source": asdict(source)}
    notes["source"]["minutes"] = None if source.minutes == float("inf") else source.minutes
    counts = {}
    for trials, counts in ask(pipe, reader, source):
        if len(trials.tokens):
            replace(trials, fingerprint=made_by).save(folder / TRIALS)
            write_json(folder / "trials_training.json", notes | {"figures": counts})
    if not counts.get("pairs"):
        raise ValueError(f"none of {counts.get('asked', 0)} prompts failed and obeyed by turns: ask for more --clips")
    return counts


@torch.no_grad()
def ask(
    pipe: Pipeline, reader: Reader, source: ClipSource, *, progress: bool = True
) -> Iterator[tuple[Trials, Mapping[str, int]]]:
    """After each round of PROMPTS_AT_ONCE, until `source.count` seeds or `source.minutes` are used up: all pairs so
    far, and how many prompts were asked, failed at first, and made a pair.

    A prompt that failed is asked again, with other noise, until a clip obeys or TRIES are used up.
    """
    prompts, begun = training_prompts(source), time.monotonic()
    bar = tqdm(total=source.count, desc="asking", disable=not progress, mininterval=5)
    pairs, texts, asked_for, failed = [], [], 0, 0
    with multiprocessing.get_context("spawn").Pool(source.workers) as judges:
        while (some := list(islice(prompts, PROMPTS_AT_ONCE))) and time.monotonic() - begun < 60 * source.minutes:
            failures, made = _pairs(pipe, reader, some, judges.starmap, FIRST_NOISE + TRIES * asked_for)
            pairs, texts = pairs + list(made.values()), texts + [some[row][0] for row in made]
            asked_for, failed = asked_for + len(some), failed + failures
            bar.update(len(some))
            bar.set_postfix(pairs=len(pairs))
            yield _joined(pipe, pairs, texts), {"asked": asked_for, "failed": failed, "pairs": len(pairs)}
    bar.close()


def _joined(pipe: Pipeline, pairs: Sequence[tuple[Tensor, Tensor]], texts: Sequence[str]) -> Trials:
    """Pairs (failed, obeyed) with their prompts' tokens."""
    if not pairs:
        return Trials(obeyed=torch.empty(0), failed=torch.empty(0), tokens=torch.empty(0))
    failed, obeyed = (torch.stack(side) for side in zip(*pairs))
    tokens = pipe.model.text.tokenize(list(texts)).ids.to(torch.int16)
    return Trials(obeyed=obeyed, failed=failed, tokens=tokens)


def _pairs(
    pipe: Pipeline, reader: Reader, prompts: Sequence[tuple[str, Asked]], judge: Judge, first_noise: int
) -> tuple[int, dict[int, tuple[Tensor, Tensor]]]:
    """How many prompts failed at first, and (failed, obeyed) latents of those that obeyed in the end, by row."""
    failures: dict[int, Tensor] = {}
    made: dict[int, tuple[Tensor, Tensor]] = {}
    rows, number = list(range(len(prompts))), 0
    for attempt in range(TRIES):
        if not rows:
            break
        again = []
        seeds = [first_noise + row * TRIES + attempt for row in rows]
        answers = _answers(pipe, reader, [prompts[row] for row in rows], seeds, judge)
        for row, (latents, obeyed) in zip(rows, answers, strict=True):
            # Clones: a part of a batch would keep all of the batch.
            if not obeyed:
                failures.setdefault(row, latents.clone())
                again.append(row)
            elif row in failures:
                made[row] = (failures[row], latents.clone())
        rows, number = again, number or len(again)
    return number, made


def _answers(
    pipe: Pipeline, reader: Reader, prompts: Sequence[tuple[str, Asked]], seeds: Sequence[int], judge: Judge
) -> list[tuple[Tensor, bool]]:
    """The latents (C, T, h, w) of a clip of each prompt, and whether that clip obeys."""
    texts, wanted = zip(*prompts)
    latents, readings = [], []
    for part in denoise_batches(pipe, texts, seeds=seeds):
        latents += (part / pipe.card.sampling.sigma_data).half().cpu()
        readings += read(reader, np.stack(decode_batch(pipe, part)))
    return list(zip(latents, judge(shows, list(zip(readings, wanted))), strict=True))
