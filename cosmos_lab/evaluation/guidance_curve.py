"""Obedience as a function of guidance: the same prompts and the same noise, once with every strength."""

from dataclasses import dataclass, replace
from pathlib import Path

from cosmos_lab.evaluation.clips import LENGTHS, Extent, Runner, prompt_cases
from cosmos_lab.evaluation.evaluate import provenance
from cosmos_lab.evaluation.obedience import ATTRIBUTES, Asked, Rate, obedience, rate
from cosmos_lab.evaluation.permanence import permanence_faults
from cosmos_lab.evaluation.reader import Reader, load_reader
from cosmos_lab.evaluation.reading import Reading
from cosmos_lab.evaluation.report import Evaluation, Figure
from cosmos_lab.pipelines.generate import Pipeline
from cosmos_lab.runtime.checkpoints import find_folder
from cosmos_lab.runtime.ranks import Ranks


@dataclass(frozen=True, kw_only=True)
class GuidanceExtent:
    """How much to measure: `prompts` (half of them withheld), one clip each with every one of `guidances`."""

    guidances: tuple[float, ...] = (1.0, 2.0, 3.0, 5.0, 7.0)
    prompts: int = 24
    num_steps: int | None = None
    seed: int = 0
    batch: int = 64

    def __post_init__(self):
        if not self.guidances:
            raise ValueError("give at least one guidance")
        self.clips()

    def clips(self, guidance: float | None = None) -> Extent:
        """The same as the extent of an evaluation."""
        return Extent(prompts=self.prompts, falls=0, rolls=0, seeds=(self.seed,), num_steps=self.num_steps,
                      guidance=guidance, batch=self.batch)  # fmt: skip


def measure_guidance(
    pipe: Pipeline,
    reader: Reader | None = None,
    *,
    folder: Path | str | None = None,
    extent: GuidanceExtent | None = None,
    progress: bool = True,
    ranks: Ranks | None = None,
) -> Evaluation:
    """Generate every prompt with every guidance and return one table; `folder` and `ranks` as in `evaluate`."""
    folder, extent = Path(folder or find_folder("nano")), extent or GuidanceExtent()
    reader = reader or load_reader(folder / "reader.safetensors", pipe.device)
    runner = Runner(pipe, reader, folder / "eval", extent.clips(), progress, ranks)
    group = runner.group([("familiar", extent.prompts // 2), ("withheld", extent.prompts // 2)])
    texts, cases = prompt_cases(group.rollouts, LENGTHS)
    prompts = [case.asked for case in cases]
    known = {kind: kept(readings, prompts) for kind, readings in group.readings.items()}
    figures = []
    for guidance in sorted(extent.guidances):
        runner.extent = replace(runner.extent, guidance=guidance)
        made = kept(runner.made(texts, extent.seed), prompts)
        figures += guidance_figures(guidance, made, known)
    return Evaluation(figures=tuple(figures), provenance=provenance(pipe, extent), details={"prompts": texts})


def kept(readings: list[Reading], prompts: list[Asked]) -> dict[str, Rate]:
    """Obedience by attribute, of whole prompts (`prompt`), and permanence."""
    pairs = zip(readings, prompts, strict=True)
    lasting = [reading.readable and not permanence_faults(reading, asked.groups) for reading, asked in pairs]
    return obedience(readings, prompts) | {"permanence": rate(lasting)}


def guidance_figures(guidance: float, made: dict[str, Rate], known: dict[str, dict[str, Rate]]) -> list[Figure]:
    """One row for whole prompts, each attribute and permanence; `known` are rates of clips that no model made."""
    return [
        Figure(
            name=f"guidance {guidance:g}: {'whole prompt' if name == 'prompt' else name}", value=made[name].value,
            spread=made[name].error, number=made[name].number, rendered=known["rendered"][name].value,
            reconstructed=known["reconstructed"][name].value,
        )
        for name in ("prompt", *ATTRIBUTES, "permanence")
    ]  # fmt: skip
