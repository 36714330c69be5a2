"""Long videos against the simulator: do the chunks join without a jump, and how far does each chunk drift?"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from cosmos_lab.evaluation.batch import reconstruct_batch
from cosmos_lab.evaluation.continuation import continuation_errors
from cosmos_lab.evaluation.evaluate import provenance
from cosmos_lab.evaluation.labels import label_table
from cosmos_lab.evaluation.reader import Reader, load_reader
from cosmos_lab.evaluation.reading import Reading, read, true_readings
from cosmos_lab.evaluation.report import Evaluation, Figure
from cosmos_lab.evaluation.ruler import bootstrap
from cosmos_lab.evaluation.takes import kind_of, read_takes
from cosmos_lab.pipelines.generate import Pipeline
from cosmos_lab.pipelines.long import long_video
from cosmos_lab.runtime.checkpoints import find_folder
from cosmos_lab.runtime.ranks import Ranks
from cosmos_lab.worlds.captions import caption
from cosmos_lab.worlds.render import render
from cosmos_lab.worlds.scene import Rollout

# A step at a seam may be half as large again as the steps around it; a cut is several times as large.
SEAMLESS = 1.5


@dataclass(frozen=True, kw_only=True)
class LongExtent:
    """How much to measure: `takes` long videos of `chunks` chunks, the first of which continues `given` pixel frames of
    the simulated take, as every other continues the one before."""

    takes: int = 9
    chunks: int = 6
    given: int = 5
    num_steps: int | None = None
    guidance: float | None = None
    seed: int = 0

    def __post_init__(self):
        if self.takes < 2 or self.chunks < 2:
            raise ValueError(f"give at least 2 takes and 2 chunks, not {self.takes} and {self.chunks}")


def pixel_steps(clip: np.ndarray) -> np.ndarray:
    """Mean change of a pixel, of 255, from each pixel frame of a clip (T, H, W, 3) to the next: (T - 1,)."""
    return np.array([np.abs(after.astype(int) - before).mean() for before, after in zip(clip, clip[1:])])


def position_steps(reading: Reading) -> np.ndarray:
    """Mean distance in pixels that objects go from each pixel frame to the next, (T - 1,); NaN where none is seen."""
    moved = np.array([np.linalg.norm(np.diff(track.position, axis=0), axis=1) for track in reading.objects])
    if len(moved) == 0:
        return np.full(len(reading.classes) - 1, np.nan)
    seen = np.isfinite(moved)
    return np.where(seen.any(axis=0), np.nansum(moved, axis=0) / np.maximum(seen.sum(axis=0), 1), np.nan)


@dataclass(frozen=True, kw_only=True)
class Seams:
    """Steps at S seams, `at` (S,), and in the two chunks that each joins, `inside` (S, K)."""

    at: np.ndarray
    inside: np.ndarray

    @property
    def ratio(self) -> float:
        """The mean step at seams over the mean step inside: 1 where nothing shows."""
        return float(np.nanmean(self.at) / np.nanmean(self.inside))

    @property
    def standing_out(self) -> float:
        """The share of seams that are the largest step of their two chunks; 1 in K + 1 by chance."""
        known = self._known
        return float(np.mean(self.at[known] > np.nanmax(self.inside[known], axis=1)))

    @property
    def error(self) -> float:
        """The standard error of `ratio`."""
        rows = np.stack([self.at[self._known], np.nanmean(self.inside[self._known], axis=1)], axis=1)
        return bootstrap(rows, lambda drawn: drawn[:, 0].mean() / drawn[:, 1].mean())

    @property
    def _known(self) -> np.ndarray:
        """Seams at which something was seen, also in the chunks around."""
        return np.isfinite(self.at) & np.isfinite(self.inside).any(axis=1)


def seams_of(steps: Sequence[np.ndarray], seams: Sequence[int], length: int) -> Seams:
    """Seams of several videos, from the steps (T - 1,) of each. `seams` are the first new pixel frames of every chunk
    but the first, `length` the number of new pixel frames of a chunk."""
    at = [video[seam - 1] for video in steps for seam in seams]
    inside = [
        np.concatenate([video[seam - length : seam - 1], video[seam : seam + length - 1]])
        for video in steps
        for seam in seams
    ]
    return Seams(at=np.array(at), inside=np.array(inside))


def drift(reading: Reading, truth: Reading, given: int, ends: Sequence[int]) -> np.ndarray:
    """Distances from the true tracks in each chunk, (chunks, 3): sums over (object, pixel frame) pairs of the video's
    and of the repeated last given pixel frame's, and the number of pairs. Chunk c ends before pixel frame `ends[c]`.
    """
    sums = [np.zeros(3)]
    for end in ends:
        errors = continuation_errors(reading, truth, num_given=given, last=end)
        sums.append(np.zeros(3) if errors is None else errors.number * np.array([errors.model, errors.repeat, 1.0]))
    return np.diff(sums, axis=0)


def measure_long(
    pipe: Pipeline,
    reader: Reader | None = None,
    *,
    folder: Path | str | None = None,
    extent: LongExtent | None = None,
    progress: bool = True,
    ranks: Ranks | None = None,
) -> Evaluation:
    """Make long videos of simulated takes and return their table; `folder` and `ranks` as in `evaluate`."""
    ranks = ranks or Ranks()
    folder, extent = Path(folder or find_folder("nano")), extent or LongExtent()
    reader = reader or load_reader(folder / "reader.safetensors", pipe.device)
    length = pipe.card.num_pixel_frames - extent.given
    total = extent.given + extent.chunks * length
    takes = read_takes(folder / "eval", extent.takes)
    if len(takes) < extent.takes or len(takes[0].position) < total:
        raise ValueError(f"{len(takes)} takes of {len(takes[0].position)} pixel frames are stored; ask for fewer")
    rendered, truth = _render(takes, total, reader, pipe.device)
    starts = [extent.given + chunk * length for chunk in range(extent.chunks + 1)]
    clips = {
        "model": _make(pipe, takes, rendered, extent, progress and ranks.first, ranks),
        "rendered": rendered.numpy(),
        "reconstructed": _through_tokenizer(pipe, rendered, starts, extent.given),
        "cut": _cut(rendered.numpy(), starts),
    }
    readings = {kind: [read(reader, clip[None], batch=1)[0] for clip in videos] for kind, videos in clips.items()}
    figures = _seam_figures(clips, readings, starts[1:-1], length)
    drifts = {kind: np.array([drift(found, true, extent.given, starts[1:]) for found, true in zip(videos, truth)])
              for kind, videos in readings.items()}  # fmt: skip
    figures += [_drift_figure(drifts, chunk) for chunk in range(extent.chunks)]
    return Evaluation(
        figures=tuple(figures), provenance=provenance(pipe, extent), details=_details(takes, clips, drifts, starts)
    )


def _render(
    takes: Sequence[Rollout], length: int, reader: Reader, device: torch.device
) -> tuple[Tensor, list[Reading]]:
    """The first pixel frames of the takes, and what a perfect ruler would read in them."""
    shown, scenes = render(takes, num_pixel_frames=length, device=device), [take.scene for take in takes]
    truth = true_readings(scenes, shown.body_index.cpu(), label_table(scenes), dict(reader.config.classes))
    return shown.pixels.cpu(), truth


def _make(
    pipe: Pipeline, takes: Sequence[Rollout], rendered: Tensor, extent: LongExtent, progress: bool, ranks: Ranks
) -> np.ndarray:
    from tqdm.auto import tqdm

    options = {"num_steps": extent.num_steps, "guidance": extent.guidance, "progress": False}
    videos = []
    for row in tqdm(ranks.share(range(len(takes))), desc="long videos", disable=not progress, leave=False):
        # Chunk c takes seed + c: no two videos share a noise.
        seed = 1000 * extent.seed + 100 * row
        made = long_video(
            pipe, rendered[row, : extent.given].numpy(), caption(takes[row].scene, "dense"), num_chunks=extent.chunks,
            num_conditional_frames=extent.given, seed=seed, **options,
        )  # fmt: skip
        videos.append(made.frames)
    return np.stack(ranks.gather(videos))


def _through_tokenizer(pipe: Pipeline, rendered: Tensor, starts: Sequence[int], given: int) -> np.ndarray:
    """The takes, each chunk encoded and decoded by itself: the long videos of a model that makes no mistake."""
    chunks = [reconstruct_batch(pipe, rendered[:, start - given : end]) for start, end in zip(starts, starts[1:])]
    return torch.cat([chunks[0], *(chunk[:, given:] for chunk in chunks[1:])], dim=1).numpy()


def _cut(rendered: np.ndarray, starts: Sequence[int]) -> np.ndarray:
    """Videos that jump to the next take with each chunk."""
    bounds = [0, *starts[1:]]
    return np.concatenate(
        [np.roll(rendered, -chunk, axis=0)[:, a:b] for chunk, (a, b) in enumerate(zip(bounds, bounds[1:]))], axis=1
    )


def _seam_figures(
    clips: Mapping[str, np.ndarray], readings: Mapping[str, Sequence[Reading]], seams: Sequence[int], length: int
) -> list[Figure]:
    figures = []
    pixels = {kind: seams_of([pixel_steps(clip) for clip in videos], seams, length) for kind, videos in clips.items()}
    places = {kind: seams_of([position_steps(r) for r in found], seams, length) for kind, found in readings.items()}
    for name, found in (("change of pixels", pixels), ("step of objects", places)):
        ratio = {kind: value.ratio for kind, value in found.items()}
        share = {kind: value.standing_out for kind, value in found.items()}
        number = int(np.isfinite(found["model"].at).sum())
        common = {"note": "cuts", "number": number}
        figures.append(Figure(
            name=f"long video: {name} at seams over inside", kind="ratio", value=ratio["model"], most=SEAMLESS,
            spread=found["model"].error, rendered=ratio["rendered"], reconstructed=ratio["reconstructed"],
            baseline=ratio["cut"], **common,
        ))  # fmt: skip
        figures.append(Figure(
            name=f"long video: {name} largest at the seam", value=share["model"], rendered=share["rendered"],
            reconstructed=share["reconstructed"], baseline=share["cut"], **common,
        ))  # fmt: skip
    return figures


def _drift_figure(drifts: Mapping[str, np.ndarray], chunk: int) -> Figure:
    """Position error of one chunk over that of repeating the last given pixel frame; sums over takes."""
    sums = {kind: values[:, chunk].sum(axis=0) for kind, values in drifts.items()}
    model, repeat, number = sums["model"]
    return Figure(
        name=f"long video: error over repeating the last pixel frame, chunk {chunk + 1}", kind="ratio",
        value=model / repeat, rendered=sums["rendered"][0] / sums["rendered"][1], baseline=1.0, number=int(number),
        reconstructed=sums["reconstructed"][0] / sums["reconstructed"][1],
        spread=bootstrap(drifts["model"][:, chunk], lambda rows: rows[:, 0].sum() / rows[:, 1].sum()),
        note=f"{repeat / number:.1f} px; the model {model / number:.1f} px",
    )  # fmt: skip


def _details(
    takes: Sequence[Rollout], clips: Mapping[str, np.ndarray], drifts: Mapping[str, np.ndarray], starts: Sequence[int]
) -> dict[str, object]:
    """Mean errors in pixels by kind of take and chunk, and the change of pixels along each video."""
    kinds = [kind_of(take.scene) for take in takes]
    pixels: dict[str, object] = {}
    for kind in sorted(set(kinds)):
        sums = {name: values[[k == kind for k in kinds]].sum(axis=0) for name, values in drifts.items()}
        pixels[kind] = {name: (total[:, 0] / total[:, 2]).tolist() for name, total in sums.items() if name != "cut"}
        pixels[kind]["repeat"] = (sums["model"][:, 1] / sums["model"][:, 2]).tolist()
    steps = [np.round(pixel_steps(clip), 2).tolist() for clip in clips["model"]]
    return {"takes": kinds, "chunks begin": list(starts[:-1]), "error in pixels": pixels, "change of pixels": steps}
