"""A prompt becomes a picture."""

import argparse

from cosmos_lab.cli import flags, making


def add_arguments(parser: argparse.ArgumentParser) -> None:
    flags.add_model_flags(parser)
    flags.add_lora_flags(parser)
    flags.add_prompt_flags(parser)
    flags.add_generation_flags(parser, clip=False)
    flags.add_batch_flags(parser, array="prompt and output_image", lines=None)
    flags.add_performance_flags(parser, clip=False)
    flags.add_safety_flags(parser, upsampler=False)
    flags.add_output_flags(parser, default="output/generated_image.jpg", folder=False)


def run(arguments: argparse.Namespace) -> int:
    command = making.Command(
        task="text2image", save_path="output/generated_image.jpg", suffixes=making.PICTURES,
        output_field="output_image",
    )  # fmt: skip
    return making.produce(arguments, command)
