"""The flags that several commands share, grouped as the guides of the Cosmos models group them.

Nothing has a default here but what the card does not know: a flag that was not given is None, and the card fills it.
"""

import argparse
from typing import TYPE_CHECKING

from cosmos_lab.cli.absent import OFFLOAD

if TYPE_CHECKING:
    from cosmos_lab.cli.making import Command

ASPECT_RATIOS = ("1:1", "4:3", "3:4", "16:9", "9:16")


class Switch(argparse.Action):
    """A switch that, as in the guides, has a --no_ form."""

    def __init__(self, option_strings: list[str], dest: str, **more: object):
        both = [*option_strings, *(f"--no_{flag[2:]}" for flag in option_strings)]
        super().__init__(both, dest, nargs=0, **{"default": False, **more})

    def __call__(self, parser: object, namespace: argparse.Namespace, values: object, flag: str) -> None:
        setattr(namespace, self.dest, not flag.startswith("--no_"))


def add_flags(parser: argparse.ArgumentParser, command: "Command") -> None:
    """All flags of a command but those of its own."""
    _model(parser, command)
    _adapters(parser)
    _input(parser, command)
    _generation(parser, command)
    _batch(parser, command)
    _performance(parser, command)
    _safety(parser, command)
    _output(parser, command)


def _model(parser: argparse.ArgumentParser, command: "Command") -> None:
    group = parser.add_argument_group("model selection")
    group.add_argument("--model", help="a model's name (see `cosmos-lab models`) or a folder; nano")
    group.add_argument("--model_size", choices=("0.6B", "2B", "14B"), help="of Cosmos-Predict2, instead of --model")
    group.add_argument("--checkpoint_dir", help="where official weights lie; checkpoints")
    group.add_argument("--diffusion_transformer_dir",
                       help="of Cosmos 1.0 or Predict1, such as Cosmos-Predict1-7B-Text2World; instead of --model")
    group.add_argument("--tokenizer_dir", help="of Cosmos 1.0 and Predict1: the one that belongs to the model")
    group.add_argument("--dit_path", help="another checkpoint of the transformer, as after post-training")
    group.add_argument("--load_ema", action="store_true", help="take its averaged weights")
    group.add_argument("--conventions", choices=("official", "diffusers"), help="whose way of sampling; official")
    group.add_argument("--device", help="cpu or cuda; the GPU if there is one")
    group.add_argument("--dtype", choices=("float32", "bfloat16"), help="float32 on a CPU, bfloat16 on a GPU")
    if command.phases:
        group = parser.add_argument_group("text2image phase parameters")
        group.add_argument("--dit_path_text2image", help="another checkpoint of the model that paints the picture")
        group = parser.add_argument_group("video2world phase parameters")
        group.add_argument("--dit_path_video2world", help="another checkpoint of the model that makes the clip")
    group.add_argument("--resolution", help="of Predict2, 480 or 720; or height,width in pixels")
    if not command.is_picture:
        group.add_argument("--fps", type=float, help="pixel frames a second; of Predict2, 10 or 16 picks a model")


def _adapters(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("post-trained adapters (LoRA)")
    group.add_argument("--use_lora", action="store_true", help="merge the adapters in the checkpoint of --dit_path")
    group.add_argument("--lora_path", help="merge the adapters of this file instead")
    group.add_argument("--lora_alpha", type=float, help="their scale; 16 in Predict2, 32 in Predict2.5")
    group.add_argument("--lora_rank", type=int, help="their rank, compared with the file's")
    group.add_argument("--lora_target_modules", help="the modules that have them, compared with the file's")
    group.add_argument("--init_lora_weights", choices=("True", "true"), help="for training; without effect here")


def _input(parser: argparse.ArgumentParser, command: "Command") -> None:
    group = parser.add_argument_group("input parameters")
    group.add_argument("--prompt", help="what should happen, in words")
    group.add_argument("--negative_prompt", help="what to avoid; the model's own default")
    group.add_argument("--aspect_ratio", choices=ASPECT_RATIOS, help="width:height; 16:9")
    if command.takes_path:
        which = "the image or clip to go on from; of a clip, its last pixel frames"
        which += "" if command.needs_given else "; without it the prompt alone begins"
        group.add_argument("--input_path", "--input_image_or_video_path", help=which)
        group.add_argument("--num_conditional_frames", "--num_input_frames", type=int, default=1,
                           help="how many of its last pixel frames are kept (nano, Predict2: 1 or 5; Cosmos 1.0, "
                                "Predict1: 1 or 9); 1")  # fmt: skip


def _generation(parser: argparse.ArgumentParser, command: "Command") -> None:
    group = parser.add_argument_group("generation parameters")
    group.add_argument("--guidance", type=float, help="how far to push away from the negative prompt")
    group.add_argument("--num_steps", type=int, help="steps from noise to picture")
    group.add_argument("--seed", type=int, help="the same seed makes the same clip")
    group.add_argument("--height", type=int, help="in pixels, with --width")
    group.add_argument("--width", type=int, help="in pixels, with --height")
    if command.task in ("text2image", "text2world"):
        group.add_argument("--tries", type=int, help="how often it is made, at most, until the critic accepts it")
        group.add_argument("--distill_steps", type=int, choices=range(5), help="0: a distilled model is not there yet")
    if command.is_picture:
        group.add_argument("--use_fast_tokenizer", action="store_true", help="not there yet")
    else:
        group.add_argument("--num_pixel_frames", "--num_video_frames", type=int, help="length of the clip (of a chunk)")


def _performance(parser: argparse.ArgumentParser, command: "Command") -> None:
    group = parser.add_argument_group("performance parameters")
    group.add_argument("--benchmark", action="store_true", help="make it 4 times and say the mean time of the last 3")
    group.add_argument("--use_cuda_graphs", action="store_true", help="not there yet")
    if not command.is_picture:
        group.add_argument("--natten", action="store_true", help="sparse attention; not there yet")
        group = parser.add_argument_group("multi-GPU inference")
        group.add_argument("--num_gpus", type=int, default=1, help="1; more are not there yet")
    group = parser.add_argument_group("GPU memory controls")
    group.add_argument("--downcast_text_encoder", action="store_true", help="the text encoder in bfloat16")
    for flag in OFFLOAD:
        group.add_argument(flag, action="store_true", help="not there yet; nano has nothing to offload")


def _safety(parser: argparse.ArgumentParser, command: "Command") -> None:
    group = parser.add_argument_group("content safety and controls")
    group.add_argument("--disable_guardrail", action="store_true", help="do not check prompt and clip; recorded")
    group.add_argument("--disable_prompt_refiner", "--disable_prompt_upsampler", action="store_true",
                       help="do not rewrite the prompt; recorded")  # fmt: skip
    if command.first_guides:
        group.add_argument("--prompt_upsampler_dir", help="not there yet")
        group.add_argument("--word_limit_to_skip_upsampler", type=int, help="not there yet")


def _batch(parser: argparse.ArgumentParser, command: "Command") -> None:
    group = parser.add_argument_group("batch processing")
    fields = f"{'input_video, ' if command.takes_path else ''}prompt and {command.output_field}"
    group.add_argument("--batch_input_json", help=f"a JSON array of objects with {fields}")
    if command.first_guides:
        fields = f"{'visual_input and ' if command.takes_path else ''}prompt"
        place = "clips in --video_save_folder"
        group.add_argument("--batch_input_path", help=f"JSON lines, objects with {fields}; {place}")
    add_rerun_flags(group)


def add_rerun_flags(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--overwrite", action="store_true", help="make again what is there already, unchanged")
    group.add_argument("--report", help="the report of the batch (JSON); batch_report.json beside the first output")


def _output(parser: argparse.ArgumentParser, command: "Command") -> None:
    group = parser.add_argument_group("output parameters")
    group.add_argument("--save_path", help=f"where to write; {command.save_path}")
    if command.first_guides:
        group.add_argument("--video_save_name", help="instead, the clip's name without suffix; output")
        group.add_argument("--video_save_folder", help="and its folder, also for --batch_input_path; outputs")
    group.add_argument("--contact_sheet", action="store_true", help="also write a picture of the clip's pixel frames")
    group.add_argument("--quiet", action="store_true", help="no progress bar")
