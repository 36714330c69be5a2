"""The commands: `python -m cosmos_lab COMMAND`, or `cosmos-lab COMMAND`. Each is one thin file over the library.

A command module has `add_arguments(parser)` and `run(arguments) -> exit code`. Exit code 2 means that the command line
is wrong, 1 that the work failed, 130 that it was interrupted.
"""

import argparse
import os
import re
import sys
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from importlib import import_module
from typing import NoReturn

COMMANDS = {
    "text2image": "a picture of what a prompt says",
    "text2world": "a clip of what a prompt says",
    "image2world": "a clip that begins with an image",
    "video2world": "a clip that continues another one",
    "video2video": "a clip that keeps another one's layout and motion",
    "long-video": "a clip of several chunks",
    "inference": "the clips that Predict2.5's files describe",
    "replay": "make a saved clip again from its provenance",
    "train": "nano's weights, stage by stage",
    "evaluate": "how good a model of the nano world is",
    "benchmark": "what a clip costs on this machine",
    "models": "the models that there are",
    "download": "fetches official weights",
    "doctor": "ten checks of this machine, each with its fix",
}
TRACEBACK = "COSMOS_LAB_TRACEBACK"
# What the library calls by a keyword argument's name, and its flag.
FLAGS = {
    "image_strength": "--text2image_edit_strength", "source_prompt": "--source_prompt",
    "num_draws": "--num_draws", "device='cpu'": "--device cpu",
}  # fmt: skip
_MAKING = ("text2image", "text2world", "image2world", "video2world", "video2video", "long-video", "inference")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    given = [_underscored(word) for word in (sys.argv[1:] if arguments is None else arguments)]
    name = given[0].replace("_", "-") if given else ""
    if name not in COMMANDS:
        _overview().parse_args(given)
    module = import_module(f"cosmos_lab.cli.{name.replace('-', '_')}")
    makes = name in _MAKING
    parser = _Parser(
        prog=f"cosmos-lab {name}", description=f"Makes {COMMANDS[name]}." if makes else COMMANDS[name],
        allow_abbrev=False, usage="%(prog)s [flags]" if makes else None,
    )  # fmt: skip
    module.add_arguments(parser)
    parsed = parser.parse_args(given[1:])
    # Two spellings of one flag may belong to two generations: which one was used, and what was given at all.
    parsed.spelled = frozenset(word.partition("=")[0] for word in given[1:] if word.startswith("--"))
    return _finished(module.run, parsed)


class _Parser(argparse.ArgumentParser):
    """One line for a wrong command line, where argparse would list all flags first."""

    def error(self, message: str) -> NoReturn:
        said, _, unknown = message.partition("unrecognized arguments: ")
        near = [] if said else get_close_matches(unknown.split()[0], self._option_string_actions, n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        self.exit(2, f"{self.prog}: {message}; {hint}see `{self.prog} --help`\n")


def _overview() -> argparse.ArgumentParser:
    listed = "\n".join(f"  {name:<14}{what}" for name, what in COMMANDS.items())
    parser = _Parser(
        prog="cosmos-lab", description="Cosmos world foundation models, from a laptop up.",
        epilog=f"commands:\n{listed}\n\n`cosmos-lab COMMAND --help` says more.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("command", choices=COMMANDS, metavar="COMMAND", help="one of the commands below")
    return parser


def _underscored(word: str) -> str:
    """--save-path and --save_path are one flag."""
    if not word.startswith("--"):
        return word
    flag, equals, value = word.partition("=")
    return "--" + flag[2:].replace("-", "_") + equals + value


def _finished(run: Callable[[argparse.Namespace], int], parsed: argparse.Namespace) -> int:
    """The exit code of a command; what it raises becomes one line."""
    try:
        return run(parsed)
    except KeyboardInterrupt:
        return _failed("interrupted", 130)
    except BrokenPipeError:
        return 1
    except (OSError, MemoryError) as error:
        return _failed(str(error) or "there is not enough memory: make something smaller", 1)
    except ValueError as error:
        from cosmos_lab.video import MediaError

        # A damaged picture is no mistake in the command line.
        return _failed(error, 1 if isinstance(error, MediaError) else 2)
    except ImportError as error:
        return _failed(f"{error}: install it, as README.md says", 1)
    except Exception as error:
        if os.environ.get(TRACEBACK):
            raise
        # One line, also of what takes several.
        said = " ".join(f"unexpected {type(error).__name__}: {error}".split())
        return _failed(f"{said}; this is a mistake in cosmos_lab: run again with {TRACEBACK}=1 to see where", 1)


def _failed(error: object, code: int) -> int:
    said = str(error)
    for name, flag in FLAGS.items():
        said = re.sub(rf"(?<![\w./-]){name}(?![\w./-])", flag, said)
    print(f"cosmos-lab: {said}", file=sys.stderr)
    return code
