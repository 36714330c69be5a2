"""A prompt becomes a picture."""

from cosmos_lab.cli.making import Command

COMMAND = Command(task="text2image")
add_arguments, run = COMMAND.add_arguments, COMMAND.run
