"""An image becomes a clip."""

import argparse

from cosmos_lab.cli import flags, making

COMMAND = making.Command(
    task="image2world", given_flag="--input_path", own=("num_conditional_frames",), first_guides=True
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    flags.add_flags(parser, COMMAND)


def run(arguments: argparse.Namespace) -> int:
    return making.produce(arguments, COMMAND)
