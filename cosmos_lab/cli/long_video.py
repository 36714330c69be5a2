"""A clip of several chunks, each beginning with the end of the one before."""

import argparse

from cosmos_lab.cli import flags, making

COMMAND = making.Command(
    task="long_video", given_flag="--input_path", needs_given=False, own=("num_chunks", "num_conditional_frames")
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    flags.add_flags(parser, COMMAND)
    parser.add_argument_group("long video").add_argument("--num_chunks", type=int, default=6, help="how many chunks; 6")


def run(arguments: argparse.Namespace) -> int:
    return making.produce(arguments, COMMAND)
