"""Prints the requirements of an image: pyproject.toml's base dependencies, and those of some extras.

Arguments: names of extras separated by commas, then further requirements; pyproject.toml is read from the
working directory. The project itself is left out, so that dependencies get a layer of their own, which a
change of our code does not touch. dumb-init, the first process of each container, is added.
"""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


def requirements(project: dict[str, Any], extras: Iterable[str]) -> list[str]:
    """Return the base dependencies and those of the extras, including extras that these name in turn.

    Args:
        project: the table ``project`` of pyproject.toml.
        extras: names of extras.

    Raises:
        SystemExit: there is no such extra.
    """
    return sorted({*project["dependencies"], *_of_extras(project, extras)})


def _of_extras(project: dict[str, Any], extras: Iterable[str]) -> Iterator[str]:
    known = project["optional-dependencies"]
    for extra in extras:
        if extra not in known:
            raise SystemExit(f"no extra is called {extra!r}; there are: {', '.join(sorted(known))}")
        for line in known[extra]:
            own = re.fullmatch(rf"{project['name']}\[([\w,-]+)\]", line)
            if own is None:
                yield line
            else:
                yield from _of_extras(project, own[1].split(","))


if __name__ == "__main__":
    table = tomllib.loads(Path("pyproject.toml").read_text())["project"]
    lines = ["dumb-init", *requirements(table, sys.argv[1].split(",")), *filter(None, sys.argv[2:])]
    sys.stdout.write("".join(f"{line}\n" for line in lines))
