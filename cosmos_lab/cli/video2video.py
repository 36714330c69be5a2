"""A clip becomes another one of the same layout and motion (SDEdit)."""

import argparse

from cosmos_lab.cli import flags, making


def add_arguments(parser: argparse.ArgumentParser) -> None:
    flags.add_model_flags(parser, phases=True)
    flags.add_lora_flags(parser)
    flags.add_prompt_flags(parser)
    group = parser.add_argument_group("editing")
    group.add_argument("--input_video_path", "--input_path", help="the clip to edit; its first pixel frames count")
    group.add_argument("--video2world_edit_strength", type=float, default=0.8,
                       help="0 leaves the clip as it is, 1 generates anew; 0.8")  # fmt: skip
    group.add_argument("--text2image_edit_strength", type=float,
                       help="of the first pixel frame, edited as a picture first; 0.4 in Predict2, no such phase in "
                            "nano without this flag")  # fmt: skip
    flags.add_generation_flags(parser)
    flags.add_batch_flags(parser, array="prompt and output_video (all edits of --input_video_path)", lines=None)
    flags.add_performance_flags(parser)
    flags.add_safety_flags(parser, upsampler=False)
    flags.add_output_flags(parser, default="output/generated_video.mp4", folder=False)


def run(arguments: argparse.Namespace) -> int:
    strengths = {
        "strength": arguments.video2world_edit_strength, "image_strength": arguments.text2image_edit_strength,
    }  # fmt: skip
    command = making.Command(
        task="video2video", given=arguments.input_video_path, given_flag="--input_video_path", arguments=strengths
    )
    return making.produce(arguments, command)
