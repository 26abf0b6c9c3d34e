"""Writes the last ``make compare`` as tables into docs/models.md, and six columns of it into README."""

from __future__ import annotations

from pathlib import Path

from benchmarks.page import with_table as page_with_table
from benchmarks.page import wrapped
from training.compare.results import from_json
from training.compare.table import markdown

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results" / "models" / "compare.json"
PAGE = ROOT / "docs" / "models.md"
README = ROOT / "README.md"
_COLUMNS = 6  # of README: without quartiles and size


def table(results: str) -> str:
    """Write a ``compare.json`` as Markdown. Raises CheckpointError if it is something else."""
    return wrapped(markdown(from_json(results)))


def short_table(results: str) -> str:
    """Write the first columns of its first table: cost, accuracy and speed of each model."""
    lines = table(results).partition("\n\n")[0].splitlines()
    return "".join("|".join(line.split("|")[: _COLUMNS + 1]) + "|\n" for line in lines)


def with_table(page: str, results: str) -> str:
    """Return docs/models.md with the tables of ``results`` between its markers.

    Raises:
        ValueError: the page does not have both markers, in order.
    """
    return page_with_table(page, "compare", table(results))


def with_short_table(page: str, results: str) -> str:
    """Return README with the short table of ``results`` between its markers. Raises ValueError as above."""
    return page_with_table(page, "compare", short_table(results))


def main() -> None:
    """Write the tables into both pages."""
    results = RESULTS.read_text()
    PAGE.write_text(with_table(PAGE.read_text(), results))
    README.write_text(with_short_table(README.read_text(), results))


if __name__ == "__main__":
    main()
