"""Puts the last ``make compare`` into the README, so that every figure of the models is one run's.

In: ``benchmarks/results/models/compare.json``. Out: the README's tables of models, between two markers. Knows
nothing of how the figures were made.
"""

from __future__ import annotations

from pathlib import Path

from benchmarks.page import with_table as page_with_table
from training.compare.results import from_json
from training.compare.table import markdown

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results" / "models" / "compare.json"
README = ROOT / "README.md"


def table(results: str) -> str:
    """Write a ``compare.json`` as Markdown. Raises CheckpointError if it is something else."""
    return markdown(from_json(results))


def with_table(page: str, results: str) -> str:
    """Return a page with the tables of ``results`` between its markers.

    Raises:
        ValueError: the page does not have both markers, in order.
    """
    return page_with_table(page, "compare", table(results))


def main() -> None:
    """Write the tables into the README."""
    README.write_text(with_table(README.read_text(), RESULTS.read_text()))


if __name__ == "__main__":
    main()
