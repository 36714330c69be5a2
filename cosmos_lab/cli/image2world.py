"""An image becomes a clip."""

from cosmos_lab.cli.making import Command

COMMAND = Command(task="image2world", given_flag="--input_path", own=("num_conditional_frames",), first_guides=True)
add_arguments, run = COMMAND.add_arguments, COMMAND.run
