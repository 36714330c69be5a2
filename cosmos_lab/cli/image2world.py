"""An image becomes a clip."""

import argparse

from cosmos_lab.cli import flags


def add_arguments(parser: argparse.ArgumentParser) -> None:
    flags.add_model_flags(parser)
    flags.add_prompt_flags(parser)
    flags.add_input_flags(parser, default_count=1)
    flags.add_generation_flags(parser)
    flags.add_output_flags(parser, default="output/generated_video.mp4")


def run(arguments: argparse.Namespace) -> int:
    flags.check_output(arguments.save_path, ".mp4")
    pipe = flags.open_pipeline(arguments)
    made = pipe.image2world(
        arguments.input_path,
        arguments.prompt,
        num_conditional_frames=arguments.num_conditional_frames,
        **flags.options(arguments),
    )
    return flags.finish(made, arguments)
