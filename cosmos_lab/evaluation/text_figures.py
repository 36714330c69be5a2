"""The rows on text2world clips: obedience, permanence and the joint rule, over every seed."""

from collections.abc import Sequence
from dataclasses import asdict

import numpy as np

from cosmos_lab.evaluation import obedience
from cosmos_lab.evaluation.clips import LENGTHS, Group, Runner, prompt_cases
from cosmos_lab.evaluation.joint import Case, Verdict, joint_rates, judge, law_tolerances
from cosmos_lab.evaluation.reading import Reading
from cosmos_lab.evaluation.report import Figure


def text_figures(runner: Runner, group: Group) -> tuple[list[Figure], dict[str, object]]:
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
        "faults": {kind: [{"place": place, "prompt": texts[place], "wrong": list(verdict.faults)}
                          for place, verdict in enumerate(judged) if verdict.faults]
                   for kind, judged in verdicts.items()},
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
