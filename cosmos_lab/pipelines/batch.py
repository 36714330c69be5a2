"""Many clips with one loaded model: what is already there is kept, a bad item is reported, the rest goes on."""

import copy
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from pathlib import Path
from time import perf_counter

from cosmos_lab.files import check_writable, output_files, sha256, write_json
from cosmos_lab.pipelines.call import Call
from cosmos_lab.pipelines.edit import edit
from cosmos_lab.pipelines.generate import Pipeline
from cosmos_lab.pipelines.long import LongCall, long_video
from cosmos_lab.pipelines.painter import painted
from cosmos_lab.pipelines.provenance import read_provenance
from cosmos_lab.pipelines.settings import Options
from cosmos_lab.pipelines.source import Source
from cosmos_lab.tables import Table

# Equal values of these mean equal pixel frames on one machine; the input's place and the versions do not count.
COMPARED = ("weights", "conventions", "like", "settings", "given_by_hand", "output", "dtype")
FAILURES = (ValueError, OSError, MemoryError)


@dataclass(frozen=True, kw_only=True)
class Item:
    """One clip to be made: the task's arguments, `options` for all tasks, and where it goes.

    `label` says where the item stands in its file; `problem` why it cannot be made, if its file already shows that.
    """

    label: str
    task: str
    output: Path | None
    prompt: str = ""
    given: object = None
    arguments: Mapping[str, object] = field(default_factory=dict)
    options: Options = field(default_factory=Options)
    problem: str = ""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of an item: "made", "kept" (it was there already), "failed" or "left" (after an interruption)."""

    label: str
    output: str
    status: str
    seconds: float = 0.0
    message: str = ""


@dataclass(frozen=True, kw_only=True)
class Report:
    """The outcomes of a batch, in the order of its items; `problem` says why the report itself could not be written."""

    model: str
    weights: str
    outcomes: tuple[Outcome, ...]
    problem: str = ""

    @property
    def counts(self) -> dict[str, int]:
        """How many items have each status."""
        return {name: sum(o.status == name for o in self.outcomes) for name in ("made", "kept", "failed", "left")}

    @property
    def complete(self) -> bool:
        """Whether every output, and the report, is there."""
        return not self.problem and all(outcome.status in ("made", "kept") for outcome in self.outcomes)

    def table(self) -> Table:
        """One row for each item."""
        rows = ((o.label, o.status, o.output, f"{o.seconds:.1f} s", o.message) for o in self.outcomes)
        return Table(("item", "status", "output", "time", "message"), tuple(rows))

    def save(self, path: str | Path) -> Path:
        """Write the report as JSON."""
        items = [asdict(outcome) for outcome in self.outcomes]
        write_json(path, {"model": self.model, "weights": self.weights, "counts": self.counts, "items": items})
        return Path(path)


def generate_batch(
    pipe: Pipeline,
    items: Sequence[Item],
    *,
    overwrite: bool = False,
    keep_existing: bool = False,
    report_path: str | Path | None = None,
    on_outcome: Callable[[Outcome], None] = lambda outcome: None,
    progress: bool = True,
) -> Report:
    """Make and save every item; an exception of an item, short of an interruption, is its own failure.

    An output that is whole and whose provenance says what would be made now (prompt, seed, settings, input, weights)
    is kept, unless `overwrite`; `keep_existing` keeps any output that is there. The report is written at the end, also
    after an interruption, which is then raised again. Raises OSError where it cannot be written before the work begins.
    """
    batch = _Batch(pipe, items, overwrite=overwrite, keep_existing=keep_existing, tell=on_outcome, progress=progress)
    if report_path is not None:
        # Now, because it would be a pity to learn after hours that it cannot be written.
        batch.report().save(report_path)
    try:
        batch.plan({} if report_path is None else {Path(report_path).resolve(): "the report"})
        batch.paint()
        batch.make()
    finally:
        report = batch.report()
        if report_path is not None:
            try:
                report.save(report_path)
            except OSError as error:
                report = replace(report, problem=str(error))
    return report


def plan(pipe: Pipeline, item: Item) -> Call | LongCall:
    """Check an item and read its input, but generate nothing yet. Raises ValueError and OSError."""
    if item.problem:
        raise ValueError(item.problem)
    arguments = {**item.arguments, **item.options}
    if item.task in ("video2video", "long_video"):
        return (edit if item.task == "video2video" else long_video).plan(pipe, item.given, item.prompt, **arguments)
    return pipe.call(item.task, item.prompt, given=item.given, **arguments)


def is_made(pipe: Pipeline, call: Call | LongCall, output: Path) -> bool:
    """Whether `output`, its prompts and its provenance are there and are what the call would make."""
    try:
        before = read_provenance(output)
        whole = before.get("file") == {"sha256": sha256(output)} and all(map(Path.is_file, output_files(output)))
    except FAILURES:
        return False
    if not whole:
        return False
    now = json.loads(json.dumps(pipe.provenance(call)))
    same = _fingerprints(before) == _fingerprints(now) and _same_painter(pipe, before)
    return same and all(before.get(name) == now[name] for name in COMPARED)


def _same_painter(pipe: Pipeline, before: Mapping[str, object]) -> bool:
    """Whether the model that painted the first pixel frame is still the same, as far as its files are there to tell."""
    weights = getattr(pipe.open_first_frame, "weights", lambda: None)()
    return weights is None or not before["painter"] or before["painter"].get("weights") == weights


def _fingerprints(provenance: Mapping[str, object]) -> tuple[str | None, str | None]:
    """Of the input, wherever it lies, and the text encoder's dtype, which the weights' digest does not hold."""
    return (provenance["input"] or {}).get("sha256"), provenance["loaded"].get("text_dtype")


def _follow_input(pipe: Pipeline, call: Call | LongCall, output: Path) -> None:
    """Let the provenance of a kept clip name the place where its input lies now, so that `replay` finds it."""
    before, now = read_provenance(output), pipe.provenance(call)["input"]
    if before["input"] != now:
        # Where nothing may be written, the clip is still the right one.
        with suppress(OSError):
            write_json(output_files(output)[-1], {**before, "input": now})


def _claim(written: dict[Path, str], item: Item) -> None:
    """Note who writes an item's files. Raises ValueError where another one writes them already."""
    files = [file.resolve() for file in output_files(item.output)]
    for file in files:
        if file in written:
            raise ValueError(f"{file.name} is written by {written[file]} already; choose another name")
    written.update(dict.fromkeys(files, item.label))


class _Batch:
    """The items, what was planned for those still to be made, and the outcomes so far."""

    def __init__(
        self, pipe: Pipeline, items: Sequence[Item], *, overwrite: bool, keep_existing: bool,
        tell: Callable[[Outcome], None], progress: bool,
    ):  # fmt: skip
        self.pipe, self.items, self.tell, self.progress = pipe, tuple(items), tell, progress
        self.overwrite, self.keep_existing = overwrite, keep_existing
        # What is still to be made, with the first pixel frame if another model painted it. Inputs are read again when
        # their turn comes: all at once they might not fit into memory.
        self.waiting: dict[int, Source | None] = {}
        self.outcomes: dict[int, Outcome] = {}

    def plan(self, written: dict[Path, str]) -> None:
        """Check all items before the first is made, so that mistakes show at once; `written` is who writes what."""
        for number, item in enumerate(self.items):
            with self._failing(number):
                call = plan(self.pipe, item)
                _claim(written, item)
                if self._keeps(call, item.output):
                    self._done(number, "kept")
                    continue
                for file in output_files(item.output):
                    check_writable(file)
                self.waiting[number] = None

    def _keeps(self, call: Call | LongCall, output: Path) -> bool:
        if self.keep_existing and output.is_file():
            return True
        kept = not self.overwrite and is_made(self.pipe, call, output)
        if kept:
            _follow_input(self.pipe, call, output)
        return kept

    def paint(self) -> None:
        """All first pixel frames before any clip: the model that paints them is loaded once, and freed again."""
        painting = copy.copy(self.pipe)
        if painting.open_first_frame is not None:
            painting.open_first_frame = cache(painting.open_first_frame)
        for number in list(self.waiting):
            begin = perf_counter()
            with self._failing(number, begin):
                first = plan(self.pipe, self.items[number]).first
                if first.source is None and painting.open_first_frame is not None:
                    self.waiting[number] = painted(painting, first).source

    def make(self) -> None:
        for number, first_frame in self.waiting.items():
            if number in self.outcomes:
                continue
            item, begin = self.items[number], perf_counter()
            with self._failing(number, begin):
                made = plan(self.pipe, item).given(first_frame).run(self.pipe, progress=self.progress)
                made.save(item.output)
                self._done(number, "made", message=made.note, begin=begin)

    def report(self) -> Report:
        left = (Outcome(label=item.label, output=str(item.output or ""), status="left") for item in self.items)
        outcomes = tuple(self.outcomes.get(number, outcome) for number, outcome in enumerate(left))
        return Report(model=self.pipe.name, weights=self.pipe.model.digest, outcomes=outcomes)

    def _done(self, number: int, status: str, *, message: str = "", begin: float | None = None) -> None:
        item = self.items[number]
        seconds = 0.0 if begin is None else perf_counter() - begin
        self.outcomes[number] = Outcome(
            label=item.label, output=str(item.output or ""), status=status, seconds=seconds, message=message
        )
        self.tell(self.outcomes[number])

    @contextmanager
    def _failing(self, number: int, begin: float | None = None) -> Iterator[None]:
        """An item's exception is its outcome; one that was not foreseen is named, and costs the others nothing."""
        try:
            yield
        except Exception as error:
            said = str(error) if isinstance(error, FAILURES) else ""
            self._done(number, "failed", message=said or f"{type(error).__name__}: {error}", begin=begin)
