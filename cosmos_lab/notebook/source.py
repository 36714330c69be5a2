"""The library's own source, shown in a cell: what a notebook wrote by hand is compared with what really runs."""

import inspect
import textwrap
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Source:
    """Source text and the file that it stands in."""

    file: str
    text: str = field(repr=False)

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, str]:
        return {
            "text/markdown": f"`{self.file}`\n\n```python\n{self.text}\n```",
            "text/plain": f"# {self.file}\n{self.text}",
        }


def source(thing: Callable | type | property, *, docstring: bool = True) -> Source:
    """The source of a function, method or class of this library; `docstring=False` leaves its first docstring away."""
    function = inspect.unwrap(thing.fget if isinstance(thing, property) else thing)
    text = textwrap.dedent(inspect.getsource(function)).rstrip()
    if not docstring and function.__doc__:
        text = _without_docstring(text)
    return Source(file=f"{function.__module__.replace('.', '/')}.py", text=text)


def _without_docstring(text: str) -> str:
    import ast

    body = ast.parse(text).body[0].body[0]
    lines = text.split("\n")
    return "\n".join(lines[: body.lineno - 1] + lines[body.end_lineno :])
