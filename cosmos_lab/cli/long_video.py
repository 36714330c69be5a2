"""A clip of several chunks, each beginning with the end of the one before."""

import argparse

from cosmos_lab.cli.making import Command

COMMAND = Command(
    task="long_video", given_flag="--input_path", needs_given=False, own=("num_chunks", "num_conditional_frames")
)
run = COMMAND.run


def add_arguments(parser: argparse.ArgumentParser) -> None:
    COMMAND.add_arguments(parser)
    parser.add_argument_group("long video").add_argument("--num_chunks", type=int, default=6, help="how many chunks; 6")
