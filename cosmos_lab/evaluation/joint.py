"""The joint rule: a clip passes only if everything that its prompt states is there and its motion is lawful."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from cosmos_lab.evaluation.laws import Tolerance, law_error, law_of, tolerance
from cosmos_lab.evaluation.obedience import Asked, Rate, obeys, rate
from cosmos_lab.evaluation.permanence import permanence_faults
from cosmos_lab.evaluation.reading import Reading
from cosmos_lab.worlds.scene import Scene


@dataclass(frozen=True, kw_only=True)
class Case:
    """One prompt: its scene, what it asks for, and whether it states the sizes of things."""

    scene: Scene
    asked: Asked
    size_is_stated: bool


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What became of one clip. `wrong` are the attributes that it does not show as asked; `physics` is None where no
    law of the scene can be measured; `permanence` is a further condition, reported apart."""

    wrong: tuple[str, ...]
    physics: bool | None
    permanence: bool

    @property
    def passes(self) -> bool:
        """Attributes and physics."""
        return not self.wrong and self.physics is not False

    @property
    def faults(self) -> tuple[str, ...]:
        """All that is wrong by name: attributes, `physics`, `permanence`."""
        laws = {"physics": self.physics is not False, "permanence": self.permanence}
        return (*self.wrong, *(name for name, holds in laws.items() if not holds))


def law_tolerances(rendered: Sequence[Reading], cases: Sequence[Case]) -> dict[str, Tolerance]:
    """The ruler's error under each law, from rendered clips; laws with fewer than 3 measured clips are left out."""
    errors: dict[str, list[float]] = {}
    for reading, case in zip(rendered, cases, strict=True):
        error = law_error(reading, case.scene)
        if error is not None and np.isfinite(error):
            errors.setdefault(law_of(case.scene), []).append(error)
    return {law: tolerance(values) for law, values in errors.items() if len(values) >= 3}


def judge(
    reading: Reading, case: Case, tolerances: Mapping[str, Tolerance], rendered: Reading | None = None
) -> Verdict:
    """Judge one clip. `rendered` is the reading of the scene's own render: a law that cannot be measured on that (a
    roll that leaves the picture at once, say) is not held against the clip."""
    law = law_of(case.scene)
    physics = None
    if law in tolerances and (rendered is None or np.isfinite(law_error(rendered, case.scene))):
        physics = tolerances[law].admits(law_error(reading, case.scene, case.size_is_stated))
    permanence = reading.readable and not permanence_faults(reading, case.asked.groups)
    wrong = tuple(name for name, shown in obeys(reading, case.asked).items() if not shown)
    return Verdict(wrong=wrong, physics=physics, permanence=permanence)


def joint_rates(verdicts: Sequence[Verdict], cases: Sequence[Case]) -> dict[str, Rate]:
    """Pass rates: `all`, `familiar`, `withheld`, by number of objects (`1 object`, ...), `physics` where measured,
    `permanence`, and `with permanence`."""
    chosen = {"all": lambda case: True, "familiar": lambda case: not case.asked.withheld,
              "withheld": lambda case: case.asked.withheld}  # fmt: skip
    pairs = list(zip(verdicts, cases, strict=True))
    rates = {name: rate([v.passes for v, case in pairs if keep(case)]) for name, keep in chosen.items()}
    for number in sorted({len(case.scene.objects) for case in cases}):
        name = f"{number} object" + ("" if number == 1 else "s")
        rates[name] = rate([v.passes for v, case in pairs if len(case.scene.objects) == number])
    rates["physics"] = rate([v.physics for v in verdicts if v.physics is not None])
    rates["permanence"] = rate([v.permanence for v in verdicts])
    rates["with permanence"] = rate([v.passes and v.permanence for v in verdicts])
    return rates
