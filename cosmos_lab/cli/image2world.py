"""An image becomes a clip."""

import argparse

from cosmos_lab.cli import flags, video2world


def add_arguments(parser: argparse.ArgumentParser) -> None:
    flags.add_model_flags(parser)
    video2world.add_own_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    return video2world.go_on(arguments, "image2world")
