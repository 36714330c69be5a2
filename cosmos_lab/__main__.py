"""`python -m cosmos_lab COMMAND`."""

import sys

from cosmos_lab.cli import main

if __name__ == "__main__":
    sys.exit(main())
