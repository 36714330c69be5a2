"""A prompt becomes a picture."""

import argparse

from cosmos_lab.cli import flags, making

COMMAND = making.Command(task="text2image")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    flags.add_flags(parser, COMMAND)


def run(arguments: argparse.Namespace) -> int:
    return making.produce(arguments, COMMAND)
