"""A clip goes on, or begins with an image."""

import argparse

from cosmos_lab.cli import flags, making

COMMAND = making.Command(
    task="video2world", given_flag="--input_path", own=("num_conditional_frames",), first_guides=True
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    flags.add_flags(parser, COMMAND)
    group = parser.add_argument_group("rejection sampling")
    group.add_argument("--num_generations", type=int, help="not there yet")
    group.add_argument("--num_critic_trials", type=int, help="not there yet")
    group.add_argument("--skip_generation", action="store_true", help="not there yet")
    group.add_argument("--gr00t_variant", help="not there yet")
    group.add_argument("--prompt_prefix", help="not there yet")


def run(arguments: argparse.Namespace) -> int:
    return making.produce(arguments, COMMAND)
