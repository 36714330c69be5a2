"""A prompt becomes a clip: directly, or in Predict2 by way of a picture that another model paints."""

import argparse

from cosmos_lab.cli import flags, making


def add_arguments(parser: argparse.ArgumentParser) -> None:
    flags.add_model_flags(parser, phases=True)
    flags.add_lora_flags(parser)
    flags.add_prompt_flags(parser)
    flags.add_generation_flags(parser)
    flags.add_batch_flags(parser, array="prompt and output_video", lines="prompt")
    flags.add_performance_flags(parser)
    flags.add_safety_flags(parser)
    flags.add_output_flags(parser, default="output/generated_video.mp4")


def run(arguments: argparse.Namespace) -> int:
    return making.produce(arguments, making.Command(task="text2world"))
