"""A prompt becomes a clip: directly, or in Predict2 by way of a picture that another model paints."""

import argparse

from cosmos_lab.cli import flags, making

COMMAND = making.Command(task="text2world", first_guides=True, phases=True)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    flags.add_flags(parser, COMMAND)


def run(arguments: argparse.Namespace) -> int:
    return making.produce(arguments, COMMAND)
