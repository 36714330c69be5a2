"""The models that there are."""

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--checkpoint_dir", default="checkpoints", help="where official weights lie; checkpoints")


def run(arguments: argparse.Namespace) -> int:
    from cosmos_lab.runtime.doctor import models

    print(models(arguments.checkpoint_dir))
    return 0
