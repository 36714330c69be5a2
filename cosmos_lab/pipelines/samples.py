"""Predict2.5's files of samples: one object with a table `samples`, or one flat object for each sample.

    {"inference_type": "text2world", "seed": 1, "samples": {"snow": {"prompt": "…"}, "sand": {"prompt_path": "a.txt"}}}
    {"inference_type": "video2world", "name": "robot", "prompt": "…", "input_path": "robot.mp4"}

The second form may also stand line by line in a .jsonl file. Comments are allowed; paths are relative to the file.
With "enable_autoregressive" a sample of the second form has `num_output_frames`, made in chunks of `chunk_size` pixel
frames, each beginning with the last `chunk_overlap` of the one before.
"""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from cosmos_lab.pipelines.batch_files import broken_text, numbered_lines, parse, read_text

INFERENCE_TYPES = ("text2world", "image2world", "video2world")
# All fields but the name: type and meaning.
FIELDS = {
    "inference_type": (str, "what to make"),
    "prompt": (str, "what should happen, in words"),
    "prompt_path": (str, "a text file with the prompt"),
    "negative_prompt": (str, "what to avoid"),
    "input_path": (str, "the image or clip to begin with"),
    "seed": (int, "the same seed makes the same clip"),
    "guidance": (float, "from 0 to 7"),
    "resolution": (str, "height,width in pixels, or none"),
    "num_steps": (int, "steps from noise to picture"),
    "enable_autoregressive": (bool, "clips of several chunks"),
    "num_output_frames": (int, "their length in pixel frames; 77"),
    "chunk_size": (int, "pixel frames of a chunk; 77, or as many as the model makes"),
    "chunk_overlap": (int, "pixel frames that a chunk takes over; 1"),
}
SHARED = ("inference_type", "negative_prompt", "seed", "guidance", "resolution", "num_output_frames")
OWN = ("prompt", "prompt_path", "input_path")
TOKENS = re.compile(r'"(?:\\.|[^"\\])*"|//[^\n]*|/\*.*?\*/', re.DOTALL)


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One sample: its fields as given, the folder of its file, and what is wrong with it.

    `path_wins` says which of `prompt` and `prompt_path` counts where both are given: the path in the form with
    `samples`, the prompt in the flat one.
    """

    label: str
    name: str
    fields: Mapping[str, object] = field(default_factory=dict)
    folder: Path = Path()
    path_wins: bool = False
    problem: str = ""

    def overridden(self, fields: Mapping[str, object]) -> "Sample":
        """The sample with some fields replaced; a prompt replaces both ways of giving one."""
        kept = {name: value for name, value in self.fields.items() if "prompt" not in fields or name != "prompt_path"}
        return replace(self, fields={**kept, **fields})

    def checked(self) -> "Sample":
        """The sample with its problem found, if it has one."""
        return self if self.problem else replace(self, problem=_problem(self))

    @property
    def inference_type(self) -> str:
        return str(self.fields.get("inference_type"))

    @property
    def prompt(self) -> str:
        """The text of `prompt`, or of the file at `prompt_path`. Raises FileNotFoundError and ValueError."""
        prompt, path = self.fields.get("prompt"), self.fields.get("prompt_path")
        if path is not None and (self.path_wins or prompt is None):
            return read_text(self.folder / str(path)).strip()
        return "" if prompt is None else str(prompt)

    @property
    def input_path(self) -> str | None:
        path = self.fields.get("input_path")
        return None if path is None else str(self.folder / str(path))

    @property
    def options(self) -> dict[str, object]:
        """The keyword arguments of a generation; what is not given is left to the card."""
        names = ("negative_prompt", "seed", "guidance", "num_steps")
        given = {name: self.fields[name] for name in names if self.fields.get(name) is not None}
        resolution = self.fields.get("resolution", "none")
        return given if resolution == "none" else given | {"resolution": resolution}

    @property
    def is_long(self) -> bool:
        """Whether it is made chunk by chunk."""
        return bool(self.fields.get("enable_autoregressive"))

    def chunks(self, longest: int) -> dict[str, int]:
        """Length, size and overlap of the chunks in pixel frames, for a model that makes `longest` at once."""
        names = ("num_output_frames", "chunk_size", "chunk_overlap")
        given = {name: self.fields[name] for name in names if self.fields.get(name) is not None}
        return {"num_output_frames": 77, "chunk_size": min(77, longest), "chunk_overlap": 1} | given


def read_samples(paths: Iterable[str | Path]) -> list[Sample]:
    """The samples of several files; what is wrong with a sample, or with one of the files, is its problem.

    Raises FileNotFoundError, and ValueError for a file that is no such file, where there is no other.
    """
    samples, wrong, paths = [], [], [Path(path) for path in paths]
    for path in paths:
        try:
            samples += _read(path)
        except (OSError, ValueError) as error:
            wrong.append(error)
            samples.append(Sample(label=path.name, name="", problem=str(error)))
    if wrong and len(wrong) == len(paths):
        raise wrong[0]
    if not samples:
        raise ValueError("there are no samples in these files")
    return _named_once(samples)


def without_comments(text: str) -> str:
    """JSON text with // and /* */ comments blanked, so that lines and columns stay where they are."""

    def blank(match: re.Match[str]) -> str:
        found = match[0]
        return found if found.startswith('"') else re.sub(r"[^\n]", " ", found)

    return TOKENS.sub(blank, text)


def _named_once(samples: list[Sample]) -> list[Sample]:
    """A name that an earlier sample has is the problem of the later one."""
    names, checked = set(), []
    for sample in samples:
        if sample.name in names:
            problem = f"the name {sample.name!r} is given to two samples, but it is the name of the clip: change one"
            sample = replace(sample, problem=sample.problem or problem)
        names |= {sample.name} - {""}
        checked.append(sample)
    return checked


def _read(path: Path) -> list[Sample]:
    if path.suffix.lower() == ".jsonl":
        return [_line(path, f"{path.name}, {place}", line) for place, line in numbered_lines(path)]
    if path.suffix.lower() not in (".json", ".jsonc"):
        raise ValueError(f"{path}: samples are read from .json or .jsonl, not {path.suffix or 'a name without suffix'}")
    try:
        value = parse(without_comments(read_text(path)))
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}, line {error.lineno}, column {error.colno}: {error.msg}") from error
    if not isinstance(value, dict):
        raise ValueError(f"{path} holds no object; it is one sample, or one object with a table 'samples'")
    return _table(path, value) if "samples" in value else [_flat(path, path.name, value)]


def _line(path: Path, label: str, text: str) -> Sample:
    try:
        return _flat(path, label, parse(without_comments(text)))
    except json.JSONDecodeError as error:
        return Sample(label=label, name="", problem=f"no JSON at column {error.colno}: {error.msg}")


def _table(path: Path, value: dict[str, object]) -> list[Sample]:
    unknown = sorted(set(value) - {*SHARED, "samples"})
    if unknown:
        raise ValueError(f"{path}: unknown field {unknown[0]!r}; beside samples there are {', '.join(SHARED)}")
    if not isinstance(value["samples"], dict):
        raise ValueError(f"{path}: samples is a table of names, each with {', '.join(OWN)}")
    # The seed of this form is 1 where none is given, that of the flat form 0.
    shared = {"seed": 1} | {name: given for name, given in value.items() if name != "samples"}
    return [_of_table(path, name, own, shared) for name, own in value["samples"].items()]


def _of_table(path: Path, name: str, own: object, shared: Mapping[str, object]) -> Sample:
    label = f"{path.name}: {name}"
    if broken := broken_text([name, own, shared]):
        return Sample(label=ascii(label)[1:-1], name="", problem=broken)
    if not isinstance(own, dict) or set(own) - set(OWN):
        problem = f"a sample has the fields {', '.join(OWN)}, not {json.dumps(own)[:60]}"
        return Sample(label=label, name=name, problem=problem)
    return Sample(label=label, name=name, fields={**shared, **own}, folder=path.parent, path_wins=True)


def _flat(path: Path, label: str, value: object) -> Sample:
    if not isinstance(value, dict):
        return Sample(label=label, name="", problem="an object was expected")
    if broken := broken_text(value):
        return Sample(label=label, name="", problem=broken)
    name, unknown = str(value.get("name") or ""), sorted(set(value) - {"name", *FIELDS})
    if unknown:
        known = ", ".join(("name", *FIELDS))
        return Sample(label=label, name=name, problem=f"unknown field {unknown[0]!r}; there are {known}")
    return Sample(label=f"{label}: {name}", name=name, fields=value, folder=path.parent)


def _problem(sample: Sample) -> str:
    """What is wrong with the fields, or nothing."""
    fields, kind = sample.fields, sample.inference_type
    if not sample.name or Path(sample.name).name != sample.name:
        return f"'name' is missing or no file name: {sample.name!r}"
    if kind not in INFERENCE_TYPES:
        return f"'inference_type' is one of {', '.join(INFERENCE_TYPES)}, not {fields.get('inference_type')!r}"
    for name, value in fields.items():
        wanted = FIELDS.get(name, (str,))[0]
        fits = type(value) in ((int, float) if wanted is float else (wanted,))
        if value is not None and not fits:
            return f"{name!r} is {json.dumps(value)}, which is of another type than the field's"
    if not 0 <= (fields.get("guidance") or 0) <= 7:
        return f"'guidance' lies between 0 and 7, not {fields['guidance']}"
    if kind != "text2world" and fields.get("input_path") is None:
        return f"'input_path' is missing: {kind} needs an image or clip"
    return ""
