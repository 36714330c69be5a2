"""What notebooks are made of, reached as `lab.show`, `lab.check`, `lab.widgets` and `lab.source`."""

from cosmos_lab.notebook import check, show, widgets
from cosmos_lab.notebook.source import source

__all__ = ["check", "show", "source", "widgets"]
