"""The curve of an edit: strength against what shows, what moved and how much changed."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from cosmos_lab.evaluation.batch import reconstruct_batch
from cosmos_lab.evaluation.editing import WITHIN, EditCase, Outcome, Point, by_kind, edit_cases, outcome, point
from cosmos_lab.evaluation.evaluate import provenance
from cosmos_lab.evaluation.obedience import rate
from cosmos_lab.evaluation.reader import Reader, load_reader
from cosmos_lab.evaluation.reading import read
from cosmos_lab.evaluation.references import read_references
from cosmos_lab.evaluation.report import Evaluation, Figure
from cosmos_lab.pipelines.edit import edit
from cosmos_lab.pipelines.generate import Pipeline
from cosmos_lab.runtime.checkpoints import find_folder
from cosmos_lab.runtime.ranks import Ranks
from cosmos_lab.worlds.captions import caption
from cosmos_lab.worlds.render import render


@dataclass(frozen=True, kw_only=True)
class EditExtent:
    """How much to measure: `edits` clips, each edited once with every strength.

    With `source_prompts` an edit is told what the input shows (FlowEdit, with `num_draws` noises a step); without, it
    is plain SDEdit.
    """

    edits: int = 24
    strengths: tuple[float, ...] = (0.3, 0.5, 0.55, 0.6, 0.65, 0.7, 0.8, 1.0)
    num_steps: int | None = None
    guidance: float | None = None
    source_prompts: bool = True
    num_draws: int | None = None
    seed: int = 0

    def __post_init__(self):
        if self.edits < 1 or not self.strengths:
            raise ValueError(f"give at least 1 edit and 1 strength, not {self.edits} and {self.strengths}")


def measure_edits(
    pipe: Pipeline,
    reader: Reader | None = None,
    *,
    folder: Path | str | None = None,
    extent: EditExtent | None = None,
    progress: bool = True,
    ranks: Ranks | None = None,
) -> Evaluation:
    """Edit clips of known scenes with every strength and return the table; `folder` and `ranks` as in `evaluate`."""
    folder, extent = Path(folder or find_folder("nano")), extent or EditExtent()
    reader = reader or load_reader(folder / "reader.safetensors", pipe.device)
    cases = edit_cases(read_references(folder / "eval", "familiar"), extent.edits)
    given, target = (
        render([getattr(case, when) for case in cases], device=pipe.device).pixels.cpu() for when in ("before", "after")
    )
    before = read(reader, given)

    def judged(clips: np.ndarray) -> list[Outcome]:
        rows = zip(cases, clips, given.numpy(), read(reader, clips), before, strict=True)
        return [outcome(*row) for row in rows]

    beside = {"unedited": given.numpy(), "rendered": target.numpy(),
              "reconstructed": reconstruct_batch(pipe, target).numpy()}  # fmt: skip
    known = {kind: judged(clips) for kind, clips in beside.items()}
    curve = {
        strength: judged(edit_clips(pipe, cases, given.numpy(), strength, extent, progress, ranks))
        for strength in sorted(extent.strengths)
    }
    return Evaluation(
        figures=tuple(curve_figures(curve, known)), provenance=provenance(pipe, extent),
        details={
            "curve": {str(name): _table(outcomes) for name, outcomes in (known | curve).items()},
            "edits": [f"{case.kind}: {case.old} to {case.new}, {case.before.scene.family}" for case in cases],
        },
    )  # fmt: skip


def edit_clips(
    pipe: Pipeline, cases: Sequence[EditCase], given: np.ndarray, strength: float, extent: EditExtent, progress: bool,
    ranks: Ranks | None = None,
) -> np.ndarray:  # fmt: skip
    """Every clip of `given` (N, T, H, W, 3) edited; edit n has a noise of its own, the same at every strength.
    Each rank edits its share of them."""
    from tqdm.auto import tqdm

    made = []
    ranks = ranks or Ranks()
    rows, quiet = ranks.share(range(len(cases))), not (progress and ranks.first)
    for row in tqdm(rows, desc=f"edits of {strength}", disable=quiet, leave=False):
        case = cases[row]
        options = {"num_steps": extent.num_steps, "guidance": extent.guidance, "seed": 1000 * extent.seed + row}
        shown = caption(case.before.scene, "dense") if extent.source_prompts else None
        clip = edit(
            pipe, given[row], case.caption.text, strength=strength, source_prompt=shown, num_draws=extent.num_draws,
            progress=False, **options,
        )  # fmt: skip
        made.append(clip.frames)
    return np.stack(ranks.gather(made))


def _table(outcomes: Sequence[Outcome]) -> dict[str, dict[str, float]]:
    return {"all": asdict(point(outcomes))} | {kind: asdict(found) for kind, found in by_kind(outcomes).items()}


def best_strength(curve: Mapping[float, Point]) -> float:
    """The strength at which most edits show and keep their positions, each within WITHIN pixels; the lower of equals.
    """
    return min(curve, key=lambda strength: (-curve[strength].both, strength))


def curve_figures(curve: Mapping[float, Sequence[Outcome]], known: Mapping[str, Sequence[Outcome]]) -> list[Figure]:
    """Figures of the best strength, of its kinds, and of every strength. `known` judges, by the names of
    `measure_edits`, clips that no model made."""
    points = {strength: point(outcomes) for strength, outcomes in curve.items()}
    best = best_strength(points)
    note = f"unedited; strength {best:g}"
    figures = [_share("edits: shown and each within 2 px", curve[best], known, note=note, least=0.8, what="both")]
    figures += [
        _share(f"edits: {kind}, at that strength", _of(curve[best], kind),
               {name: _of(outcomes, kind) for name, outcomes in known.items()}, note="unedited", what="both")
        for kind in by_kind(curve[best])
    ]  # fmt: skip
    for strength, outcomes in curve.items():
        name = f"edits of strength {strength:g}"
        figures += [
            _share(f"{name}: shown", outcomes, known, note="unedited"),
            _share(f"{name}: shown and each within 2 px", outcomes, known, note="unedited", what="both"),
            _median(f"{name}: positions", "pixels", "shift", outcomes, known),
            _median(f"{name}: change of a pixel, of 255", "number", "change", outcomes, known),
        ]
    return figures


def _of(outcomes: Sequence[Outcome], kind: str) -> list[Outcome]:
    return [o for o in outcomes if o.kind == kind]


def _share(
    name: str, outcomes: Sequence[Outcome], known: Mapping[str, Sequence[Outcome]], *, what: str = "shown",
    **rest: object,
) -> Figure:  # fmt: skip
    flags = [o.shown and (what == "shown" or o.shift <= WITHIN) for o in outcomes]
    beside = {kind: getattr(point(found), what) for kind, found in known.items()}
    return Figure(name=name, value=float(np.mean(flags)), spread=rate(flags).error, number=len(flags),
                  rendered=beside["rendered"], reconstructed=beside["reconstructed"], baseline=beside["unedited"],
                  **rest)  # fmt: skip


def _median(
    name: str, kind: str, what: str, outcomes: Sequence[Outcome], known: Mapping[str, Sequence[Outcome]]
) -> Figure:
    beside = {name: getattr(point(found), what) for name, found in known.items()}
    return Figure(name=name, kind=kind, value=getattr(point(outcomes), what), number=len(outcomes),
                  rendered=beside["rendered"], reconstructed=beside["reconstructed"])  # fmt: skip
