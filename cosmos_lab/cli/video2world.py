"""A clip goes on, or begins with an image."""

import argparse

from cosmos_lab.cli.making import Command

COMMAND = Command(task="video2world", given_flag="--input_path", own=("num_conditional_frames",), first_guides=True)
run = COMMAND.run


def add_arguments(parser: argparse.ArgumentParser) -> None:
    COMMAND.add_arguments(parser)
    group = parser.add_argument_group("rejection sampling")
    group.add_argument("--num_generations", type=int, help="not there yet")
    group.add_argument("--num_critic_trials", type=int, help="not there yet")
    group.add_argument("--skip_generation", action="store_true", help="not there yet")
    group.add_argument("--gr00t_variant", help="not there yet")
    group.add_argument("--prompt_prefix", help="not there yet")
