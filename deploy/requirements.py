"""Print what pyproject.toml asks for: the base dependencies, and those of the extras that are named.

In: names of extras, a comma between them, and further requirements; pyproject.toml, in the working directory.
Out: a line a requirement, without the project itself, so that an image has its dependencies in a layer that
no change of our code touches. Among them is dumb-init, which is the first process of each container.
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
    """Return the base dependencies and those of the extras, with extras that these name in turn.

    Args:
        project: the table ``project`` of pyproject.toml.
        extras: their names.

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
