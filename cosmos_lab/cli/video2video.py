"""A clip becomes another one of the same layout and motion (SDEdit)."""

import argparse

from cosmos_lab.cli.making import Command

COMMAND = Command(
    task="video2video", given_flag="--input_video_path",
    own=("strength", "image_strength", "source_prompt", "num_draws"), phases=True,
)
run = COMMAND.run


def add_arguments(parser: argparse.ArgumentParser) -> None:
    COMMAND.add_arguments(parser)
    group = parser.add_argument_group("editing")
    group.add_argument("--input_video_path", "--input_path",
                       help="the clip to edit, also for a batch; its first pixel frames count")  # fmt: skip
    group.add_argument("--video2world_edit_strength", dest="strength", type=_strength, default=0.8,
                       help="0 leaves the clip as it is, 1 generates anew; 0.8")  # fmt: skip
    group.add_argument("--source_prompt",
                       help="what the input shows: what differs from it in the prompt is changed, the rest stays; "
                            "one for all clips of a batch")  # fmt: skip
    group.add_argument("--num_draws", type=int,
                       help="with --source_prompt: noises that each step averages; 1")  # fmt: skip
    group.add_argument("--text2image_edit_strength", dest="image_strength", type=_strength,
                       help="of the first pixel frame, edited as a picture first; 0.4 in Predict2, no such phase in "
                            "nano without this flag")  # fmt: skip


def _strength(text: str) -> float:
    """A number that the library takes as a strength: the parser knows by which of both flags it came."""
    from cosmos_lab.diffusion.schedules import sdedit_start

    try:
        sdedit_start(1, float(text))
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    return float(text)
