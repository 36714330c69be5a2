"""The clips that Predict2.5's files describe: one object with `samples`, or one flat object for each sample."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from cosmos_lab.cli import choosing, flags, making, places
from cosmos_lab.pipelines.samples import FIELDS, INFERENCE_TYPES, Sample, read_samples

if TYPE_CHECKING:
    from cosmos_lab.pipelines.batch import Item
    from cosmos_lab.pipelines.generate import Pipeline

# Pixel frames that each type begins with.
GIVEN = {"image2world": 1, "video2world": 5}
# Flags of the other commands that this one does not have.
WITHOUT = dict.fromkeys(
    ("model_size", "diffusion_transformer_dir", "tokenizer_dir", "fps", "lora_path", "aspect_ratio")
)  # fmt: skip


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("positional", nargs="*", metavar="FILE FOLDER", help="one file and the folder, without -i, -o")
    parser.add_argument("-i", "--input_files", nargs="+", help="files of samples (.json, .jsonl)")
    parser.add_argument("-o", "--output_dir", help="the folder of the clips, each called by its sample's name")
    group = parser.add_argument_group("model selection")
    group.add_argument("--model", help="a model's name, also as 2B/post-trained, or a folder; nano")
    group.add_argument("--checkpoint_path", "--dit_path", dest="dit_path", help="another checkpoint of the transformer")
    group.add_argument("--checkpoint_dir", help="where official weights lie; checkpoints")
    group.add_argument("--experiment", help="not there: a model's settings are its card's")
    group.add_argument("--config_file", help="not there: a model's settings are its card's")
    group.add_argument("--device", help="cpu or cuda; the GPU if there is one")
    group.add_argument("--dtype", choices=("float32", "bfloat16"), help="float32 on a CPU, bfloat16 on a GPU")
    _add_fields(parser)
    group = parser.add_argument_group("running")
    group.add_argument("--skip_existing_output", action=flags.Switch, help="keep any clip that is there already")
    group.add_argument("--keep_going", action=flags.Switch, help="go on after a bad sample, which is always so")
    group.add_argument("--context_parallel_size", type=int, default=1, help="1; more GPUs are not there yet")
    group.add_argument("--profile", action=flags.Switch, help="not there yet")
    group.add_argument("--quiet", action="store_true", help="no progress bar")
    flags.add_rerun_flags(group)
    group = parser.add_argument_group("content safety and GPU memory controls")
    group.add_argument("--disable_guardrails", "--disable_guardrail", dest="disable_guardrail", action=flags.Switch,
                       help="do not check prompts and clips; recorded")  # fmt: skip
    for flag in ("diffusion_model", "tokenizer", "text_encoder", "guardrail_models"):
        group.add_argument(f"--offload_{flag}", action=flags.Switch, help="not there yet; nano has nothing to offload")
    parser.set_defaults(**WITHOUT, load_ema=False, use_lora=False, disable_prompt_refiner=False)


def _add_fields(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("fields that replace those of every sample")
    for name, (kind, meaning) in FIELDS.items():
        way = {"action": flags.Switch, "default": None} if kind is bool else {"type": kind}
        choices = {"choices": INFERENCE_TYPES} if name == "inference_type" else {}
        group.add_argument(f"--{name}", help=meaning, **way, **choices)
    group.add_argument("--num_pixel_frames", type=int, help="length of the clips, where the model can make others")


def run(arguments: argparse.Namespace) -> int:
    files, folder = _places(arguments)
    override = {name: getattr(arguments, name) for name in FIELDS if getattr(arguments, name) is not None}
    for name in ("prompt_path", "input_path"):
        # On the command line a path is relative to where one stands, not to the file of samples.
        if name in override:
            override[name] = str(Path(override[name]).resolve())
    shared = _shared(override)
    samples = [sample.overridden(override).checked() for sample in read_samples(files)]
    arguments.resolution = None
    task = next((sample.inference_type for sample in samples if not sample.problem), "text2world")
    name = choosing.model_for(arguments, task)
    samples, report = places.of_batch(
        samples, lambda sample: _output(sample, folder), inputs=_inputs(samples), files=files, report=arguments.report,
        folder=folder,
    )  # fmt: skip
    pipe = making.open_noting(arguments, task, name)
    if "text2world" in pipe.card.tasks:
        making.check_flags(pipe, _item(shared, folder, arguments, pipe))
    return making.make_batch(pipe, [_item(sample, folder, arguments, pipe) for sample in samples], arguments, report)


def _shared(override: dict[str, object]) -> Sample:
    """A sample of nothing but the fields that the command line replaces. Raises ValueError for a wrong one."""
    from cosmos_lab.pipelines.settings import EXAMPLE

    fields = {"prompt": EXAMPLE, **override, "inference_type": "text2world"}
    sample = Sample(label="", name="flags", fields=fields).checked()
    if sample.problem:
        raise ValueError(sample.problem)
    return sample


def _inputs(samples: list[Sample]) -> list[object]:
    """All files that samples name."""
    named = [(sample, sample.fields.get(name)) for sample in samples for name in ("prompt_path", "input_path")]
    return [sample.folder / str(path) for sample, path in named if path is not None]


def _output(sample: Sample, folder: Path) -> Path:
    return folder / f"{sample.name}.mp4"


def _places(arguments: argparse.Namespace) -> tuple[list[str], Path]:
    """The files of samples and the folder of the clips, as flags or by position."""
    files, folder, positional = arguments.input_files, arguments.output_dir, arguments.positional
    if positional and (files or folder or len(positional) != 2):
        raise ValueError("give FILE and FOLDER by position, or any number of files as -i FILE … -o FOLDER")
    if positional:
        return [positional[0]], Path(positional[1])
    if not files or not folder:
        raise ValueError(f"{'-o: name the folder of the clips' if files else '-i: name a file of samples'}")
    return files, Path(folder)


def _item(sample: Sample, folder: Path, arguments: argparse.Namespace, pipe: "Pipeline") -> "Item":
    from cosmos_lab.pipelines.batch import Item

    problem, prompt = sample.problem, ""
    try:
        prompt = "" if problem else sample.prompt
    except (OSError, ValueError) as error:
        problem = str(error)
    count = GIVEN.get(sample.inference_type)
    own = choosing.options(arguments, pipe.card)
    # Fields replaced from the command line are the sample's already.
    options = {name: value for name, value in own.items() if name not in FIELDS} | sample.options
    longest = options.get("num_pixel_frames", pipe.card.num_pixel_frames)
    chunks = sample.chunks(longest) if sample.is_long else {}
    return Item(
        label=sample.label, task="long_video" if chunks else sample.inference_type, prompt=prompt, problem=problem,
        output=_output(sample, folder), given=sample.input_path if count else None, options=options,
        arguments=chunks | ({"num_conditional_frames": count} if count else {}),
    )  # fmt: skip
