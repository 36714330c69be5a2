"""The rows on physics: gravity, fall-time ratios and rolling speed."""

from collections.abc import Callable, Sequence

import numpy as np

from cosmos_lab.evaluation.clips import Group, Runner, prompt_cases
from cosmos_lab.evaluation.falls import Fall, fall_time_ratios, measure_fall
from cosmos_lab.evaluation.laws import equivalent_radius
from cosmos_lab.evaluation.physics import GRAVITY, Lens, speed_kept
from cosmos_lab.evaluation.reading import Reading
from cosmos_lab.evaluation.report import Figure
from cosmos_lab.evaluation.ruler import bootstrap
from cosmos_lab.worlds.scene import Rollout

By = dict[str, np.ndarray]


def physics_figures(runner: Runner) -> list[Figure]:
    """Gravity, fall-time ratios and rolling speed, from clips with a fixed camera whose prompts state the sizes."""
    figures = _fall_figures(runner) if runner.extent.falls else []
    return figures + (_roll_figures(runner) if runner.extent.rolls else [])


def _fall_figures(runner: Runner) -> list[Figure]:
    group = runner.group([("falls", runner.extent.falls)])
    falls = _by_kind(runner, group, all_falls)
    gravity = {kind: np.array([fall.gravity for fall in found]) for kind, found in falls.items()}
    ratio = {kind: fall_time_ratios(found) for kind, found in falls.items()}
    scenes = [rollout.scene for rollout in group.rollouts]
    balls = sum(scene.body(name).shape == "sphere" for scene in scenes for name in scene.facts["actors"])
    return [median_figure("physics: gravity in m/s²", GRAVITY, gravity),
            median_figure("physics: fall-time ratio", 1.0, ratio),
            _share_figure("physics: falls that can be measured", gravity, balls)]  # fmt: skip


def _roll_figures(runner: Runner) -> list[Figure]:
    group = runner.group([("rolls", runner.extent.rolls)])
    speed = _by_kind(runner, group, all_speeds)
    return [median_figure("physics: rolling speed kept", 1.0, speed),
            _share_figure("physics: rolls that can be measured", speed, len(group))]  # fmt: skip


def _by_kind(runner: Runner, group: Group, measure: Callable) -> dict[str, Sequence]:
    """What is measured in renders, reconstructions, true masks and clips of the model."""
    texts, _ = prompt_cases(group.rollouts, ("dense",))
    made = runner.made(texts, runner.extent.seeds[0])
    kinds = group.readings | {"truth": group.truth, "model": made}
    return {kind: measure(readings, group.rollouts) for kind, readings in kinds.items()}


def _share_figure(name: str, values: By, number: int) -> Figure:
    shares = {kind: len(found) / number for kind, found in values.items()}
    return Figure(name=name, value=shares["model"], number=number, rendered=shares["rendered"],
                  reconstructed=shares["reconstructed"])  # fmt: skip


def median_figure(name: str, lawful: float, values: By) -> Figure:
    """The median of what is measured in each kind of clip, met by the model's within 5 % of `lawful`.

    Where renders have one and the model's clips show nothing to measure, it is not met.
    """
    medians = {kind: float(np.median(array)) if len(array) else float("nan") for kind, array in values.items()}
    return Figure(
        name=name, kind="ratio", value=medians["model"], spread=bootstrap(values["model"], np.median),
        rendered=medians["rendered"], reconstructed=medians["reconstructed"], baseline=medians["truth"],
        note="true masks", least=0.95 * lawful, most=1.05 * lawful, number=len(values["model"]),
    )  # fmt: skip


def all_falls(readings: Sequence[Reading], rollouts: Sequence[Rollout]) -> list[Fall]:
    """Every fall of a ball that can be measured."""
    falls = []
    for reading, rollout in zip(readings, rollouts, strict=True):
        for name in rollout.scene.facts["actors"]:
            body = rollout.scene.body(name)
            track = reading.track(body.color)
            if body.shape == "sphere" and track is not None:
                falls.append(measure_fall(track, body.size[0], Lens(pitch=reading.pitch)))
    return [fall for fall in falls if fall is not None]


def all_speeds(readings: Sequence[Reading], rollouts: Sequence[Rollout]) -> np.ndarray:
    """Speed kept by every rolling actor that can be measured."""
    speeds = []
    for reading, rollout in zip(readings, rollouts, strict=True):
        body = rollout.scene.body(rollout.scene.facts["actors"][0])
        track = reading.track(body.color)
        if track is not None:
            radius = equivalent_radius(body.shape, body.size)
            speeds.append(speed_kept(track, radius, Lens(pitch=reading.pitch)))
    return np.array([speed for speed in speeds if np.isfinite(speed)])
