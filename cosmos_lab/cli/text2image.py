"""A prompt becomes a picture."""

import argparse

from cosmos_lab.cli import flags


def add_arguments(parser: argparse.ArgumentParser) -> None:
    flags.add_model_flags(parser)
    flags.add_prompt_flags(parser)
    flags.add_generation_flags(parser, clip=False)
    flags.add_output_flags(parser, default="output/generated_image.jpg")


def run(arguments: argparse.Namespace) -> int:
    flags.check_output(arguments.save_path, ".jpg", ".jpeg", ".png", ".webp")
    pipe = flags.open_pipeline(arguments)
    return flags.finish(pipe.text2image(arguments.prompt, **flags.options(arguments)), arguments)
