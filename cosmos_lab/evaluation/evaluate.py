"""The whole evaluation of a nano model: references, three kinds of clips, one ruler, one table."""

import platform
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch

from cosmos_lab.evaluation import continuation, obedience, physics
from cosmos_lab.evaluation.clips import LENGTHS, Extent, Group, Runner, prompt_cases
from cosmos_lab.evaluation.codec import codec_figures
from cosmos_lab.evaluation.distribution import halves_distance
from cosmos_lab.evaluation.joint import Case, Verdict, joint_rates, judge, law_tolerances
from cosmos_lab.evaluation.laws import equivalent_radius
from cosmos_lab.evaluation.reader import Reader, load_reader
from cosmos_lab.evaluation.reading import Reading
from cosmos_lab.evaluation.report import Evaluation, Figure
from cosmos_lab.evaluation.ruler import bootstrap, position_errors
from cosmos_lab.pipelines.generate import Pipeline
from cosmos_lab.runtime.checkpoints import find_folder
from cosmos_lab.runtime.ranks import Ranks
from cosmos_lab.worlds.scene import Rollout


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
    figures = [*_ruler_figures(main), *_codec_figures(main, extent.codec, pipe.device)]
    text, details = _text_figures(runner, main)
    figures += text
    figures += _physics_figures(runner)
    figures += _continuation_figures(runner, main)
    figures += _distribution_figures(main)
    details["seconds"] = time.perf_counter() - begun
    return Evaluation(figures=tuple(figures), provenance=provenance(pipe, extent), details=details)


def _ruler_figures(group: Group) -> list[Figure]:
    _, cases = prompt_cases(group.rollouts, ("dense",))
    prompts = [case.asked for case in cases]
    rates = {kind: obedience.obedience(readings, prompts) for kind, readings in group.readings.items()}
    figures = [
        Figure(name=f"ruler: {name}", rendered=rates["rendered"][name].value, number=rates["rendered"][name].number,
               reconstructed=rates["reconstructed"][name].value, value=rates["rendered"][name].value, least=0.99)
        for name in obedience.ATTRIBUTES
    ]  # fmt: skip
    errors = {kind: position_errors(readings, group.truth) for kind, readings in group.readings.items()}
    means = {kind: float(values.mean()) if len(values) else np.nan for kind, values in errors.items()}
    readable = {kind: float(np.mean([r.readable for r in readings])) for kind, readings in group.readings.items()}
    return [
        *figures,
        Figure(name="ruler: position error", kind="pixels", value=means["rendered"], most=1.0,
               number=len(errors["rendered"]), rendered=means["rendered"], reconstructed=means["reconstructed"]),
        Figure(name="ruler: clips it can read", value=readable["rendered"], least=0.99, number=len(group),
               rendered=readable["rendered"], reconstructed=readable["reconstructed"]),
    ]  # fmt: skip


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


def _text_figures(runner: Runner, group: Group) -> tuple[list[Figure], dict[str, object]]:
    """Obedience, permanence and the joint rule over text2world clips, repeated with every seed."""
    texts, cases = prompt_cases(group.rollouts, LENGTHS)
    prompts = [case.asked for case in cases]
    tolerances = law_tolerances(group.readings["rendered"], cases)
    for seed in runner.extent.seeds:
        group.readings[f"seed {seed}"] = runner.made(texts, seed)
    verdicts = {kind: _judge_all(readings, cases, tolerances, group) for kind, readings in group.readings.items()}
    model = [f"seed {seed}" for seed in runner.extent.seeds]
    figures = _obedience_figures(group, prompts, model) + _joint_figures(verdicts, cases, model)
    details = {
        "law_tolerances": {law: asdict(value) for law, value in tolerances.items()},
        "prompts": texts[:8],
        "unreadable": {kind: int(sum(not r.readable for r in readings)) for kind, readings in group.readings.items()},
    }
    return figures, details


def _judge_all(readings: Sequence[Reading], cases: Sequence[Case], tolerances: dict, group: Group) -> list[Verdict]:
    return [
        judge(reading, case, tolerances, rendered)
        for reading, case, rendered in zip(readings, cases, group.readings["rendered"])
    ]


def _obedience_figures(group: Group, prompts: list[obedience.Asked], model: list[str]) -> list[Figure]:
    halves = {"": [True] * len(prompts), ", withheld": [prompt.withheld for prompt in prompts]}
    figures = []
    for suffix, chosen in halves.items():
        asked = [prompt for prompt, keep in zip(prompts, chosen) if keep]
        kept = {kind: [r for r, keep in zip(readings, chosen) if keep] for kind, readings in group.readings.items()}
        truth = [r for r, keep in zip(group.truth, chosen) if keep]
        rates = {kind: obedience.obedience(readings, asked) for kind, readings in kept.items()}
        if len(asked) < 2:
            continue
        chance = obedience.shuffled(truth, asked)
        for name in (*obedience.ATTRIBUTES, "prompt"):
            figures.append(_over_seeds(
                f"obedience: {'whole prompt' if name == 'prompt' else name}{suffix}", _named(rates, model, name),
                rendered=rates["rendered"][name], reconstructed=rates["reconstructed"][name],
                baseline=chance[name].value, note="chance",
                least=-np.inf if name in ("prompt", "light") else 0.95 if suffix else 0.98,
            ))  # fmt: skip
        if not suffix:
            shuffled = [obedience.shuffled(kept[kind], asked) for kind in model]
            for name in obedience.ATTRIBUTES:
                figures.append(_over_seeds(f"shuffled prompts: {name}", [rates[name] for rates in shuffled],
                                           baseline=chance[name].value, note="chance"))  # fmt: skip
    return figures


def _joint_figures(verdicts: dict[str, list[Verdict]], cases: list[Case], model: list[str]) -> list[Figure]:
    rates = {kind: joint_rates(values, cases) for kind, values in verdicts.items()}
    bounds = {"permanence": 0.98, "all": 0.85, "withheld": 0.70}
    return [
        _over_seeds(
            name if name == "permanence" else f"joint: {name}", _named(rates, model, name),
            rendered=rates["rendered"][name], reconstructed=rates["reconstructed"][name],
            least=bounds.get(name, -np.inf),
        )
        for name in rates["rendered"]
    ]  # fmt: skip


def _named(rates: dict[str, dict[str, obedience.Rate]], kinds: Sequence[str], name: str) -> list[obedience.Rate]:
    """One rate of several kinds of clips."""
    return [rates[kind][name] for kind in kinds]


def _over_seeds(
    name: str, rates: Sequence[obedience.Rate], *, rendered: obedience.Rate | None = None,
    reconstructed: obedience.Rate | None = None, **rest: object,
) -> Figure:
    """The mean over seeds; its spread is the larger of the deviation over seeds and one seed's binomial error."""
    values = [rate.value for rate in rates]
    spread = max(float(np.std(values)), rates[0].error / len(rates) ** 0.5)
    beside = {} if rendered is None else {"rendered": rendered.value, "reconstructed": reconstructed.value}
    return Figure(name=name, value=float(np.mean(values)), spread=spread, number=rates[0].number, **beside, **rest)


def _physics_figures(runner: Runner) -> list[Figure]:
    """Gravity, fall-time ratios and rolling speed, from clips with a fixed camera whose prompts state the sizes."""
    rows: dict[str, dict[str, np.ndarray]] = {"gravity": {}, "ratio": {}, "speed": {}}
    measured: list[Figure] = []
    for name in ("falls", "rolls"):
        number = getattr(runner.extent, name)
        if number == 0:
            continue
        group = runner.group([(name, number)])
        texts, _ = prompt_cases(group.rollouts, ("dense",))
        made = runner.made(texts, runner.extent.seeds[0])
        for kind, readings in (group.readings | {"truth": group.truth, "model": made}).items():
            if name == "falls":
                falls = all_falls(readings, group.rollouts)
                rows["gravity"][kind] = np.array([fall.gravity for fall in falls])
                rows["ratio"][kind] = physics.fall_time_ratios(falls)
            else:
                rows["speed"][kind] = all_speeds(readings, group.rollouts)
        key, balls = ("gravity", _falling_balls(group.rollouts)) if name == "falls" else ("speed", len(group))
        shares = {kind: len(values) / balls for kind, values in rows[key].items()}
        measured.append(Figure(name=f"physics: {name} that can be measured", value=shares["model"], number=balls,
                               rendered=shares["rendered"], reconstructed=shares["reconstructed"]))  # fmt: skip
    titles = {"gravity": ("physics: gravity in m/s²", 9.81), "ratio": ("physics: fall-time ratio", 1.0),
              "speed": ("physics: rolling speed kept", 1.0)}  # fmt: skip
    return [_median_figure(*titles[key], values) for key, values in rows.items() if values] + measured


def _falling_balls(rollouts: Sequence[Rollout]) -> int:
    scenes = [rollout.scene for rollout in rollouts]
    return sum(scene.body(name).shape == "sphere" for scene in scenes for name in scene.facts["actors"])


def _median_figure(name: str, lawful: float, values: dict[str, np.ndarray]) -> Figure:
    medians = {kind: float(np.median(array)) if len(array) else float("nan") for kind, array in values.items()}
    return Figure(
        name=name, kind="ratio", value=medians["model"], spread=bootstrap(values["model"], np.median),
        rendered=medians["rendered"], reconstructed=medians["reconstructed"], baseline=medians["truth"],
        note="true masks", least=0.95 * lawful, most=1.05 * lawful, number=len(values["model"]),
    )  # fmt: skip


def all_falls(readings: Sequence[Reading], rollouts: Sequence[Rollout]) -> list[physics.Fall]:
    """Every fall of a ball that can be measured."""
    falls = []
    for reading, rollout in zip(readings, rollouts, strict=True):
        for name in rollout.scene.facts["actors"]:
            body = rollout.scene.body(name)
            track = reading.track(body.color)
            if body.shape == "sphere" and track is not None:
                falls.append(physics.measure_fall(track, body.size[0], physics.Lens(pitch=reading.pitch)))
    return [fall for fall in falls if fall is not None]


def all_speeds(readings: Sequence[Reading], rollouts: Sequence[Rollout]) -> np.ndarray:
    """Speed kept by every rolling actor that can be measured."""
    speeds = []
    for reading, rollout in zip(readings, rollouts, strict=True):
        body = rollout.scene.body(rollout.scene.facts["actors"][0])
        track = reading.track(body.color)
        if track is not None:
            radius = equivalent_radius(body.shape, body.size)
            speeds.append(physics.speed_kept(track, radius, physics.Lens(pitch=reading.pitch)))
    return np.array([speed for speed in speeds if np.isfinite(speed)])


def _continuation_figures(runner: Runner, group: Group) -> list[Figure]:
    """Positions against the simulator, from 1 and from 5 given pixel frames of the rendered clip."""
    fixed = [i for i, rollout in enumerate(group.rollouts) if rollout.scene.family in continuation.FIXED_BY_START]
    figures = []
    for task, num_given, rows in (("image2world", 1, fixed), ("video2world", 5, list(range(len(group))))):
        texts = prompt_cases([group.rollouts[row] for row in rows], ("dense",))[0]
        given = group.rendered[rows][:, :num_given].numpy()
        clips = {
            "model": runner.made(texts, runner.extent.seeds[0], given),
            "rendered": [group.readings["rendered"][row] for row in rows],
            "reconstructed": [group.readings["reconstructed"][row] for row in rows],
        }
        errors = {kind: _continuation_errors(readings, group, rows, num_given) for kind, readings in clips.items()}
        figures += _continuation_rows(task, errors, [group.rollouts[row] for row in rows])
    return figures


def _continuation_errors(readings: list[Reading], group: Group, rows: list[int], num_given: int) -> list:
    return [
        continuation.continuation_errors(
            reading, group.truth[row], num_given=num_given, last=continuation.last_pixel_frame(group.rollouts[row])
        )
        for reading, row in zip(readings, rows)
    ]


def _continuation_rows(task: str, errors: dict[str, list], rollouts: list[Rollout]) -> list[Figure]:
    """Ratios to the baselines; the linear one apart for steady rolls and for everything that accelerates."""
    def figure(name: str, keep: list[bool], baseline: str, most: float) -> Figure | None:
        kept = {kind: [e for e, k in zip(values, keep) if k and e is not None] for kind, values in errors.items()}
        if not kept["model"]:
            return None
        found = {kind: continuation.ratios(values) for kind, values in kept.items()}
        value = {kind: getattr(ratio, f"over_{baseline}") for kind, ratio in found.items()}
        pairs = np.array([(error.model, getattr(error, baseline)) for error in kept["model"]])
        spread = bootstrap(pairs, lambda rows: rows[:, 0].mean() / rows[:, 1].mean())
        return Figure(
            name=f"{task}: error over {name}", kind="ratio", value=value["model"], spread=spread, most=most,
            rendered=value["rendered"], reconstructed=value["reconstructed"],
            baseline=1.0, note=f"{getattr(found['model'], baseline):.1f} px; the model {found['model'].model:.1f} px",
            number=len(kept["model"]),
        )  # fmt: skip

    steady = [continuation.is_steady(rollout) for rollout in rollouts]
    rows = [figure("repeating the last pixel frame", [True] * len(rollouts), "repeat", 1 / 3)]
    if task == "video2world":
        rows.append(figure("linear extrapolation, accelerating", [not value for value in steady], "linear", 1.0))
        rows.append(figure("linear extrapolation, steady", steady, "linear", 1.2))
    return [row for row in rows if row is not None]


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
