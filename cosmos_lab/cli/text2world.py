"""A prompt becomes a clip: directly, or in Predict2 by way of a picture that another model paints."""

from cosmos_lab.cli.making import Command

COMMAND = Command(task="text2world", first_guides=True, phases=True)
add_arguments, run = COMMAND.add_arguments, COMMAND.run
