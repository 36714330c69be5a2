"""A clip of several chunks, each beginning with the end of the one before."""

import argparse

from cosmos_lab.cli import flags, making


def add_arguments(parser: argparse.ArgumentParser) -> None:
    flags.add_model_flags(parser)
    flags.add_lora_flags(parser)
    flags.add_prompt_flags(parser)
    flags.add_input_flags(parser, needed="; without it the prompt alone begins")
    parser.add_argument_group("long video").add_argument("--num_chunks", type=int, default=6, help="how many chunks; 6")
    flags.add_generation_flags(parser)
    flags.add_batch_flags(parser, array="input_video, prompt and output_video", lines=None)
    flags.add_performance_flags(parser)
    flags.add_safety_flags(parser, upsampler=False)
    flags.add_output_flags(parser, default="output/generated_video.mp4", folder=False)


def run(arguments: argparse.Namespace) -> int:
    own = {"num_chunks": arguments.num_chunks, "num_conditional_frames": arguments.num_conditional_frames}
    command = making.Command(
        task="long_video", array_given="input_video", given=arguments.input_path, given_flag="--input_path",
        arguments=own,
    )  # fmt: skip
    return making.produce(arguments, command)
