"""A clip becomes another one of the same layout and motion (SDEdit)."""

import argparse

from cosmos_lab.cli import flags, making

COMMAND = making.Command(
    task="video2video", given_flag="--input_video_path", own=("strength", "image_strength"), phases=True
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    flags.add_flags(parser, COMMAND)
    group = parser.add_argument_group("editing")
    group.add_argument("--input_video_path", "--input_path",
                       help="the clip to edit, also for a batch; its first pixel frames count")  # fmt: skip
    group.add_argument("--video2world_edit_strength", dest="strength", type=float, default=0.8,
                       help="0 leaves the clip as it is, 1 generates anew; 0.8")  # fmt: skip
    group.add_argument("--text2image_edit_strength", dest="image_strength", type=float,
                       help="of the first pixel frame, edited as a picture first; 0.4 in Predict2, no such phase in "
                            "nano without this flag")  # fmt: skip


def run(arguments: argparse.Namespace) -> int:
    return making.produce(arguments, COMMAND)
