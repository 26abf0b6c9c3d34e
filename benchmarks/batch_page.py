"""Puts the figures of the last ``make bench-batch`` into docs/batch.md, so that all are one run's.

In: ``benchmarks/results/batch.json``. Out: the page's table, between its two markers. Knows nothing of how
the figures were made.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from benchmarks.readme import line

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results" / "batch.json"
PAGE = ROOT / "docs" / "batch.md"
_BEGIN, _END = "<!-- make bench-batch: begin -->\n", "<!-- make bench-batch: end -->"


def table(results: dict[str, Any]) -> str:
    """Write the figures as a Markdown table, and what they were measured on."""
    versions = ", ".join(f"{name} {version}" for name, version in results["versions"].items())
    return "\n".join(
        [
            "| one core, by `make bench-batch` | median (smallest-largest), n | goal |",
            "|---|---|---|",
            *(line(_title(figure), figure) for figure in results["figures"].values()),
            "",
            f"{results['machine']}, {results['kernel']}, Python {results['python']}, {versions};",
            f"{results['images']}, model {results['model']}, {results['time'][:10]}.",
            "",
        ]
    )


def _title(figure: dict[str, Any]) -> str:
    return f"{figure['title']}, {figure['unit']}" if figure["unit"] else str(figure["title"])


def with_table(page: str, results: dict[str, Any]) -> str:
    """Return a page with the table of ``results`` between its markers.

    Raises:
        ValueError: the page does not have both markers, in order.
    """
    before, begin, rest = page.partition(_BEGIN)
    _, end, after = rest.partition(_END)
    if not (begin and end):
        raise ValueError(f"the page has no {_BEGIN.strip()} and {_END} to put the table between")
    return before + begin + table(results) + end + after


def main() -> None:
    """Write the table into the page."""
    PAGE.write_text(with_table(PAGE.read_text(), json.loads(RESULTS.read_text())))


if __name__ == "__main__":
    main()
