"""The rows on image2world and video2world: how far clips stray from the simulator, beside simple rivals."""

import numpy as np

from cosmos_lab.evaluation import continuation
from cosmos_lab.evaluation.clips import Group, Runner, prompt_cases
from cosmos_lab.evaluation.reading import Reading
from cosmos_lab.evaluation.report import Figure
from cosmos_lab.evaluation.ruler import bootstrap
from cosmos_lab.worlds.scene import Rollout


def continuation_figures(runner: Runner, group: Group) -> list[Figure]:
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
