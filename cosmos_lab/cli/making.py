"""From a parsed command line to saved clips: one, or all of a batch file."""

import argparse
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from cosmos_lab.cli import absent, choosing, flags, places
from cosmos_lab.files import output_files

if TYPE_CHECKING:
    from cosmos_lab.pipelines.batch import Item, Outcome
    from cosmos_lab.pipelines.batch_files import Row
    from cosmos_lab.pipelines.generate import Pipeline
    from cosmos_lab.pipelines.generation import Generation

# The example of Predict2's guide to text2world.
WELDING = (
    "An autonomous welding robot arm operating inside a modern automotive factory, sparks flying as it welds a car "
    "frame with precision under bright overhead lights."
)
PICTURES = (".jpg", ".jpeg", ".png", ".webp")
BENCHMARK_RUNS = 4
# What a batch file says for each of its items, or what makes sense for one clip only.
SINGLE = ("--prompt", "--save_path", "--video_save_name", "--contact_sheet", "--benchmark")
OF_BATCH = ("--overwrite", "--report")
INPUTS = ("--input_path", "--input_image_or_video_path")


@dataclass(frozen=True, kw_only=True)
class Command:
    """What a command makes; its flags, and the fields of its batch files, follow from it.

    `given_flag` names its input; where that is --input_path, a batch file says it for each item. `own` are the flags
    that are arguments of the task. `first_guides`: Cosmos 1.0 and Predict1 have it too, with their batch file and
    folder of clips. `phases`: in Predict2 another model paints a picture first. `add_arguments` and `run` are what
    its command module has.
    """

    task: str
    given_flag: str | None = None
    needs_given: bool = True
    own: tuple[str, ...] = ()
    first_guides: bool = False
    phases: bool = False

    @property
    def is_picture(self) -> bool:
        return self.task == "text2image"

    @property
    def suffixes(self) -> tuple[str, ...]:
        return PICTURES if self.is_picture else (".mp4",)

    @property
    def save_path(self) -> str:
        return "output/generated_image.jpg" if self.is_picture else "output/generated_video.mp4"

    @property
    def output_field(self) -> str:
        return "output_image" if self.is_picture else "output_video"

    @property
    def takes_path(self) -> bool:
        return self.given_flag == "--input_path"

    def given(self, arguments: argparse.Namespace) -> str | None:
        """The input of the command line."""
        return getattr(arguments, self.given_flag[2:]) if self.given_flag else None

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        flags.add_flags(parser, self)

    def run(self, arguments: argparse.Namespace) -> int:
        """Make and save what was asked for; returns the exit code."""
        name = choosing.model_for(arguments, self.task)
        rows = _batch_rows(arguments, self)
        return _one(arguments, self, name) if rows is None else _many(arguments, self, name, rows)


def _one(arguments: argparse.Namespace, command: Command, name: str) -> int:
    row = _single_row(arguments, command, name)
    places.check(places.written(Path(row.output), sheet=arguments.contact_sheet), [row.given])
    pipe = open_noting(arguments, command.task, name)
    item = _item(row, arguments, command, pipe)
    finish(_make(pipe, item, arguments), item.output, arguments)
    return 0


def _many(arguments: argparse.Namespace, command: Command, name: str, rows: "list[Row]") -> int:
    from cosmos_lab.pipelines.batch_files import Row
    from cosmos_lab.pipelines.settings import EXAMPLE

    rows, report = places.of_batch(
        rows, lambda row: Path(row.output), inputs=[command.given(arguments), *(row.given for row in rows)],
        files=[arguments.batch_input_json, getattr(arguments, "batch_input_path", None)], report=arguments.report,
    )  # fmt: skip
    pipe = open_noting(arguments, command.task, name)
    check_flags(pipe, _item(Row(label="", prompt=EXAMPLE), arguments, command, pipe))
    return make_batch(pipe, [_item(row, arguments, command, pipe) for row in rows], arguments, report)


def check_flags(pipe: "Pipeline", item: "Item") -> None:
    """Raises ValueError where what all items share makes even this one impossible, whatever the input."""
    import numpy as np

    from cosmos_lab.pipelines.batch import plan
    from cosmos_lab.pipelines.source import Source

    blank = Source(pixels=np.zeros((1, 16, 16, 3), dtype=np.uint8), is_image=False, path=None, sha256="")
    plan(pipe, replace(item, given=blank))


def make_batch(pipe: "Pipeline", items: "list[Item]", arguments: argparse.Namespace, place: Path | None) -> int:
    """Make a batch, tell what becomes of each item, and end with a table and a report."""
    from cosmos_lab.pipelines.batch import generate_batch

    said = place or "none: no folder of the outputs can be written to; name a place with --report"
    try:
        report = generate_batch(
            pipe, items, overwrite=arguments.overwrite, keep_existing=getattr(arguments, "skip_existing_output", False),
            report_path=place, on_outcome=_tell, progress=not arguments.quiet,
        )  # fmt: skip
    except KeyboardInterrupt:
        print(f"{'report':<14}{said}; the same command goes on with what is left")
        raise
    print(f"\n{report.table()}\n")
    print(f"{pipe.name}: " + ", ".join(f"{count} {status}" for status, count in report.counts.items() if count))
    print(f"{'report':<14}{report.problem or said}")
    return int(not report.complete)


def finish(made: "Generation", path: Path, arguments: argparse.Namespace) -> None:
    """Save one generation, and say where everything lies."""
    from cosmos_lab import video

    path, prompts, provenance = output_files(made.save(path))
    lines = [("picture" if made.is_image else "clip", path)]
    if arguments.contact_sheet:
        sheet = places.sheet_of(path)
        video.write_image(sheet, made.contact_sheet())
        lines.append(("contact sheet", sheet))
    for name, place in (*lines, ("prompts", prompts), ("provenance", provenance)):
        print(f"{name:<14}{place}")
    if made.note:
        print(f"{'note':<14}{made.note}")
    settings = made.provenance["settings"]
    if made.odds:
        fits, number = 100 * max(made.odds), len(made.odds)
        print(f"{'critic':<14}{fits:.0f} % that it shows the prompt, try {made.kept} of {number}")
    print(f"{'checks':<14}guardrail {settings['guardrail']}, prompt {settings['refiner']}")
    print(f"{'seconds':<14}" + ", ".join(f"{stage} {seconds:.1f}" for stage, seconds in made.timing.items()))


def _make(pipe: "Pipeline", item: "Item", arguments: argparse.Namespace) -> "Generation":
    """One generation; for a benchmark the last of four, of which the first does not count."""
    from cosmos_lab.pipelines import batch

    runs = BENCHMARK_RUNS if getattr(arguments, "benchmark", False) else 1
    seconds = []
    for number in range(runs):
        made = batch.plan(pipe, item).run(pipe, progress=not arguments.quiet)
        seconds.append(sum(made.timing.values()))
        if runs > 1:
            print(f"{'run':<14}{seconds[-1]:.1f} s" + ("" if number else ", not counted"))
    if runs > 1:
        print(f"{'mean':<14}{sum(seconds[1:]) / (runs - 1):.1f} s")
    return made


def _batch_rows(arguments: argparse.Namespace, command: Command) -> "list[Row] | None":
    """The rows of the batch file with their outputs; None where there is no such file."""
    from cosmos_lab.pipelines.batch_files import read_array, read_lines

    array, lines = getattr(arguments, "batch_input_json", None), getattr(arguments, "batch_input_path", None)
    if array is None and lines is None:
        return None
    if array is not None and lines is not None:
        raise ValueError("--batch_input_json and --batch_input_path are two batch files: give one")
    single = {*SINGLE, *(INPUTS if command.takes_path else ()), *(("--video_save_folder",) if array else ())}
    unused = sorted(single & arguments.spelled)
    if unused:
        raise ValueError(f"{unused[0]} is for a single run; the batch file says it for each item, leave it out")
    if not command.takes_path:
        _require_given(arguments, command)
    if array is not None:
        rows = read_array(array, given="input_video" if command.takes_path else None, output=command.output_field)
        return [_named(row, command) for row in rows]
    folder = Path(arguments.video_save_folder or "outputs")
    rows = read_lines(lines, given="visual_input" if command.takes_path else None)
    return [replace(row, output=str(folder / f"{number}.mp4")) for number, row in enumerate(rows)]


def _single_row(arguments: argparse.Namespace, command: Command, model: str) -> "Row":
    from cosmos_lab.pipelines.batch_files import Row

    unused = sorted(arguments.spelled.intersection(OF_BATCH))
    if unused:
        raise ValueError(f"{unused[0]} is for a batch; leave it out")
    row = _named(Row(label="", output=str(_output(arguments, command, model))), command)
    if row.problem:
        raise ValueError(f"--save_path {row.problem}")
    _require_given(arguments, command)
    return replace(row, prompt=_prompt(arguments, command, model), given=command.given(arguments))


def _named(row: "Row", command: Command) -> "Row":
    """The row, with its problem where the output's name does not fit."""
    if row.problem or Path(row.output).suffix.lower() in command.suffixes:
        return row
    return replace(row, problem=f"{row.output}: the name must end in {' or '.join(command.suffixes)}")


def _require_given(arguments: argparse.Namespace, command: Command) -> None:
    if command.given_flag and command.needs_given and command.given(arguments) is None:
        raise ValueError(f"{command.given_flag} is missing: name the image or clip to begin from")


def _output(arguments: argparse.Namespace, command: Command, model: str) -> Path:
    from cosmos_lab import catalog

    name, folder = getattr(arguments, "video_save_name", None), getattr(arguments, "video_save_folder", None)
    if arguments.save_path and (name or folder):
        raise ValueError("--save_path and --video_save_name or --video_save_folder say the same: give one")
    card = catalog.cards().get(model)
    first_guides = card is not None and card.generation in ("cosmos1", "predict1")
    if name or folder or (first_guides and not arguments.save_path):
        return Path(folder or "outputs") / f"{name or 'output'}.mp4"
    return Path(arguments.save_path or command.save_path)


def _prompt(arguments: argparse.Namespace, command: Command, model: str) -> str:
    """The prompt, or the guide's own example where it has one."""
    from cosmos_lab import catalog
    from cosmos_lab.pipelines.settings import EXAMPLE

    if arguments.prompt is not None:
        return arguments.prompt
    card = catalog.cards().get(model)
    generation = "nano" if card is None else card.generation
    if command.task not in ("text2image", "text2world") or generation not in ("nano", "predict2"):
        raise ValueError("--prompt is missing: say what should happen (nothing writes the prompt from the input yet)")
    example = EXAMPLE if generation == "nano" else WELDING
    print(f"{'prompt':<14}{example}")
    return example


def _item(row: "Row", arguments: argparse.Namespace, command: Command, pipe: "Pipeline") -> "Item":
    from cosmos_lab.pipelines.batch import Item

    return Item(
        label=row.label, task=command.task, prompt=row.prompt, problem=row.problem,
        output=None if row.output is None else Path(row.output),
        given=command.given(arguments) if row.given is None else row.given,
        arguments={name: getattr(arguments, name) for name in command.own},
        options=choosing.options(arguments, pipe.card),
    )  # fmt: skip


def _tell(outcome: "Outcome") -> None:
    said = f": {outcome.message}" if outcome.message else ""
    print(f"{outcome.status:<8}{outcome.label}  {outcome.output}{said}", flush=True)


def open_noting(arguments: argparse.Namespace, task: str, name: str) -> "Pipeline":
    """Load the model, and say which flags it has no use for."""
    pipe = choosing.open_pipeline(arguments, task, name)
    for flag in absent.offloading(arguments, pipe.card):
        print(f"{'note':<14}{flag}: {pipe.name} has nothing to offload")
    return pipe
