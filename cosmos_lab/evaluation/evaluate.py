"""The whole evaluation of a nano model: references, several kinds of clips, one ruler, one table."""

import platform
import time
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch

from cosmos_lab.evaluation import obedience
from cosmos_lab.evaluation.batch import REDRAWN_FROM
from cosmos_lab.evaluation.clips import Extent, Group, Runner, prompt_cases
from cosmos_lab.evaluation.codec import codec_figures
from cosmos_lab.evaluation.continuation_figures import continuation_figures
from cosmos_lab.evaluation.distribution import halves_distance
from cosmos_lab.evaluation.physics_figures import physics_figures
from cosmos_lab.evaluation.reader import Reader, load_reader
from cosmos_lab.evaluation.reading import Reading
from cosmos_lab.evaluation.report import Evaluation, Figure
from cosmos_lab.evaluation.ruler import position_errors
from cosmos_lab.evaluation.text_figures import text_figures
from cosmos_lab.pipelines.generate import Pipeline
from cosmos_lab.runtime.checkpoints import find_folder
from cosmos_lab.runtime.ranks import Ranks


def evaluate(
    pipe: Pipeline,
    reader: Reader | None = None,
    *,
    folder: Path | str | None = None,
    extent: Extent | None = None,
    progress: bool = True,
    ranks: Ranks | None = None,
) -> Evaluation:
    """Measure a model of the nano world and return its table.

    `folder` holds the reference sets (`eval/`) and the reader (`reader.safetensors`); by default the embedded ones.
    Of several `ranks` each makes and reads its share of the clips, and all return the same table.
    Raises ValueError where they are missing.
    """
    folder = Path(folder or find_folder("nano"))
    reader = reader or load_reader(folder / "reader.safetensors", pipe.device)
    begun, extent = time.perf_counter(), extent or Extent()
    runner = Runner(pipe, reader, folder / "eval", extent, progress, ranks)
    main = runner.group([("familiar", extent.prompts // 2), ("withheld", extent.prompts // 2)])
    figures = [*_ruler_figures(main, runner.redrawn(main)), *_codec_figures(main, extent.codec, pipe.device)]
    text, details = text_figures(runner, main)
    figures += text
    figures += physics_figures(runner)
    figures += continuation_figures(runner, main)
    figures += _distribution_figures(main)
    details["seconds"] = time.perf_counter() - begun
    return Evaluation(figures=tuple(figures), provenance=provenance(pipe, extent), details=details)


def _ruler_figures(group: Group, redrawn: list[Reading]) -> list[Figure]:
    """What the ruler gets right where it is known what a clip shows. Beside it, where the model drew the clip again:
    what is wrong there is the ruler's mistake or the model's."""
    _, cases = prompt_cases(group.rollouts, ("dense",))
    prompts = [case.asked for case in cases]
    kinds = {**group.readings, "redrawn": redrawn}
    rates = {kind: obedience.obedience(readings, prompts) for kind, readings in kinds.items()}
    rows = {name: {kind: rate[name].value for kind, rate in rates.items()} for name in obedience.ATTRIBUTES}
    errors = {kind: position_errors(readings, group.truth) for kind, readings in kinds.items()}
    means = {kind: float(values.mean()) if len(values) else np.nan for kind, values in errors.items()}
    readable = {kind: float(np.mean([reading.readable for reading in readings])) for kind, readings in kinds.items()}
    return [
        *(_ruler_figure(name, values, number=rates["rendered"][name].number, least=0.99)
          for name, values in rows.items()),
        _ruler_figure("position error", means, number=len(errors["rendered"]), kind="pixels", most=1.0),
        _ruler_figure("clips it can read", readable, number=len(group), least=0.99),
    ]  # fmt: skip


def _ruler_figure(name: str, values: dict[str, float], **rest: object) -> Figure:
    return Figure(
        name=f"ruler: {name}", value=values["rendered"], rendered=values["rendered"],
        reconstructed=values["reconstructed"], baseline=values["redrawn"],
        note=f"drawn again from sigma {REDRAWN_FROM:g}", **rest,
    )  # fmt: skip


def _codec_figures(group: Group, number: int, device: torch.device) -> list[Figure]:
    # Every second clip or so, so that familiar and withheld scenes are both in.
    chosen = torch.linspace(0, len(group) - 1, min(number, len(group))).round().long()
    measured = codec_figures(group.reconstructed[chosen], group.rendered[chosen], device=device)
    moving = measured["edge_psnr"][torch.isfinite(measured["edge_psnr"])]
    rows = (("PSNR", "decibel", measured["psnr"], 36.0), ("SSIM", "ratio", measured["ssim"], 0.97),
            ("PSNR at moving edges", "decibel", moving, -np.inf))  # fmt: skip
    return [
        Figure(name=f"tokenizer: {name}", kind=kind, value=float(values.mean()), least=least, number=len(values),
               spread=float(values.std() / len(values) ** 0.5))
        for name, kind, values, least in rows
    ]  # fmt: skip


def _distribution_figures(group: Group) -> list[Figure]:
    features = {
        kind: torch.from_numpy(np.stack([reading.features for reading in readings]))
        for kind, readings in group.readings.items()
    }
    model = next(values for kind, values in features.items() if kind.startswith("seed"))
    generator = torch.Generator().manual_seed(0)
    value, spread = halves_distance(model, features["rendered"], generator)
    real, _ = halves_distance(features["rendered"], features["rendered"], generator)
    decoded, _ = halves_distance(features["reconstructed"], features["rendered"], generator)
    return [Figure(name="distribution: Fréchet distance", kind="number", value=value, spread=spread, rendered=real,
                   reconstructed=decoded, baseline=real, note="real against real", number=len(group))]  # fmt: skip


def provenance(pipe: Pipeline, extent: "DataclassInstance") -> dict[str, object]:  # noqa: F821
    """What was measured, how, on what and when; `extent` is a dataclass that says how much."""
    hardware = torch.cuda.get_device_name(pipe.device) if pipe.device.type == "cuda" else platform.processor() or "CPU"
    return {
        "model": pipe.name, "weights": pipe.model.digest, "hardware": hardware, "torch": torch.__version__,
        "dtype": str(pipe.dtype).removeprefix("torch."), "extent": asdict(extent), "date": time.strftime("%Y-%m-%d"),
    }  # fmt: skip
