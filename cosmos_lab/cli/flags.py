"""The flags that several commands share, grouped as the guides of the Cosmos models group them."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cosmos_lab.pipelines.generate import Pipeline
    from cosmos_lab.pipelines.generation import Generation
    from cosmos_lab.pipelines.settings import Options

FROM_FLAGS = (
    "negative_prompt", "guidance", "num_steps", "seed", "num_pixel_frames", "resolution", "aspect_ratio", "fps",
)  # fmt: skip


def add_model_flags(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("model selection")
    group.add_argument("--model", default="nano", help="a model's name (see `cosmos-lab models`) or a folder; nano")
    group.add_argument("--device", help="cpu or cuda; the GPU if there is one")
    group.add_argument("--dtype", choices=("float32", "bfloat16"), help="float32 on a CPU, bfloat16 on a GPU")


def add_prompt_flags(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("input parameters")
    group.add_argument("--prompt", required=True, help="what should happen, in words")
    group.add_argument("--negative_prompt", help="what to avoid; the model's own default")
    group.add_argument("--aspect_ratio", choices=("1:1", "4:3", "3:4", "16:9", "9:16"), help="width:height; 16:9")


def add_input_flags(parser: argparse.ArgumentParser, *, default_count: int | None) -> None:
    group = parser.add_argument_group("conditioning")
    group.add_argument("--input_path", required=True, help="the image or clip to go on from; of a clip, its end")
    shown = "the most that the model knows" if default_count is None else str(default_count)
    group.add_argument("--num_conditional_frames", type=int, default=default_count,
                       help=f"how many of its last pixel frames are kept; {shown}")  # fmt: skip


def add_generation_flags(parser: argparse.ArgumentParser, *, clip: bool = True) -> None:
    group = parser.add_argument_group("generation parameters")
    group.add_argument("--guidance", type=float, help="how far to push away from the negative prompt")
    group.add_argument("--num_steps", type=int, help="steps from noise to picture")
    group.add_argument("--seed", type=int, help="the same seed makes the same clip")
    group.add_argument("--resolution", help="a label of the model, or height,width in pixels")
    if clip:
        group.add_argument("--num_pixel_frames", "--num_video_frames", type=int, help="length of the clip")
        group.add_argument("--fps", type=float, help="pixel frames a second")
    safety = parser.add_argument_group("content safety and controls")
    safety.add_argument("--disable_guardrail", action="store_true", help="do not check prompt and clip; recorded")
    safety.add_argument("--disable_prompt_refiner", "--disable_prompt_upsampler", action="store_true",
                        help="do not rewrite the prompt; recorded")  # fmt: skip


def add_output_flags(parser: argparse.ArgumentParser, *, default: str) -> None:
    group = parser.add_argument_group("output parameters")
    group.add_argument("--save_path", default=default, help=f"where to write; {default}")
    group.add_argument("--contact_sheet", action="store_true", help="also write a picture of the clip's pixel frames")
    group.add_argument("--quiet", action="store_true", help="no progress bar")


def open_pipeline(arguments: argparse.Namespace) -> "Pipeline":
    from cosmos_lab.pipelines.generate import load

    return load(arguments.model, device=arguments.device, dtype=arguments.dtype)


def options(arguments: argparse.Namespace) -> "Options":
    """The keyword arguments of a generation; flags that were not given are left to the card."""
    given = {name: getattr(arguments, name, None) for name in FROM_FLAGS}
    return {name: value for name, value in given.items() if value is not None} | {
        "guardrail": not arguments.disable_guardrail,
        "refine": not arguments.disable_prompt_refiner,
        "progress": not arguments.quiet,
    }


def check_output(path: str, *suffixes: str) -> None:
    """Refuse a wrong suffix before a minute of work, not after."""
    if Path(path).suffix.lower() not in suffixes:
        raise ValueError(f"--save_path {path}: the name must end in {' or '.join(suffixes)}")


def finish(made: "Generation", arguments: argparse.Namespace) -> int:
    """Save, and say where everything lies."""
    from cosmos_lab import video

    path = made.save(arguments.save_path)
    lines = [("picture" if made.is_image else "clip", path)]
    if arguments.contact_sheet:
        sheet = path.with_name(f"{path.stem}_sheet.png")
        video.write_image(sheet, made.contact_sheet())
        lines.append(("contact sheet", sheet))
    lines += [("prompts", path.with_suffix(".txt")), ("provenance", path.with_suffix(".json"))]
    for name, place in lines:
        print(f"{name:<14}{place}")
    dropped = made.provenance["tokens"]["dropped"]
    if dropped:
        print(f"note          the prompt is too long: its last {dropped} tokens were not read")
    print(f"{'seconds':<14}" + ", ".join(f"{stage} {seconds:.1f}" for stage, seconds in made.timing.items()))
    return 0
