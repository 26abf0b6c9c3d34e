"""Writes the figures of the last ``make bench-batch`` into docs/batch.md.

Reads ``batch.json`` and ``lists.json`` of ``benchmarks/results``.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from benchmarks.page import with_table as page_with_table
from benchmarks.page import wrapped
from benchmarks.readme import line

ROOT = Path(__file__).parent.parent
RESULTS = [ROOT / "benchmarks" / "results" / name for name in ("batch.json", "lists.json")]
PAGE = ROOT / "docs" / "batch.md"


def table(speed: dict[str, Any], memory: dict[str, Any]) -> str:
    """Return the figures as a Markdown table, and a line about the machine."""
    versions = ", ".join(f"{name} {version}" for name, version in speed["versions"].items())
    figures = [*speed["figures"].values(), *memory["figures"].values()]
    sources = (
        f"{speed['machine']}, {speed['kernel']}, Python {speed['python']}, {versions}",
        f"speed on one core, {speed['images']}, model {speed['model']}, {speed['time'][:10]}",
        f"memory on {memory['cores']} cores, {memory['time'][:10]}.",
    )
    return wrapped(
        "\n".join(
            [
                "| by `make bench-batch` | median (smallest-largest), n | goal |",
                "|---|---|---|",
                *(line(_title(figure), figure) for figure in figures),
                "",
                "; ".join(sources),
                "",
            ]
        )
    )


def _title(figure: dict[str, Any]) -> str:
    return f"{figure['title']}, {figure['unit']}" if figure["unit"] else str(figure["title"])


def with_table(page: str, speed: dict[str, Any], memory: dict[str, Any]) -> str:
    """Return a page with the table between its markers.

    Raises:
        ValueError: the page does not have both markers, in order.
    """
    return page_with_table(page, "bench-batch", table(speed, memory))


def main() -> None:
    """Write the table into the page."""
    speed, memory = (json.loads(path.read_text()) for path in RESULTS)
    PAGE.write_text(with_table(PAGE.read_text(), speed, memory))


if __name__ == "__main__":
    main()
