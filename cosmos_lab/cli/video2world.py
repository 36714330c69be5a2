"""A clip goes on, or begins with an image."""

import argparse

from cosmos_lab.cli import flags, making

BEST_OF_N = (("--num_generations", int), ("--num_critic_trials", int))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    flags.add_model_flags(parser)
    add_own_arguments(parser)
    group = parser.add_argument_group("rejection sampling")
    for flag, kind in BEST_OF_N:
        group.add_argument(flag, type=kind, help="not there yet")
    group.add_argument("--skip_generation", action="store_true", help="not there yet")


def add_own_arguments(parser: argparse.ArgumentParser) -> None:
    """Everything but the choice of the model."""
    flags.add_lora_flags(parser)
    flags.add_prompt_flags(parser)
    flags.add_input_flags(parser)
    flags.add_generation_flags(parser)
    flags.add_batch_flags(parser, array="input_video, prompt and output_video", lines="visual_input and prompt")
    flags.add_performance_flags(parser)
    flags.add_safety_flags(parser)
    flags.add_output_flags(parser, default="output/generated_video.mp4")


def run(arguments: argparse.Namespace) -> int:
    return go_on(arguments, "video2world")


def go_on(arguments: argparse.Namespace, task: str) -> int:
    command = making.Command(
        task=task, array_given="input_video", lines_given="visual_input", given=arguments.input_path,
        given_flag="--input_path", arguments={"num_conditional_frames": arguments.num_conditional_frames},
    )  # fmt: skip
    return making.produce(arguments, command)
