"""Puts the last ``make compare`` into the README, so that every figure of the models is one run's.

In: ``benchmarks/results/models/compare.json``. Out: the README's tables of models, between two markers. Knows
nothing of how the figures were made.
"""

from __future__ import annotations

from pathlib import Path

from training.compare.results import from_json
from training.compare.table import markdown

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results" / "models" / "compare.json"
README = ROOT / "README.md"
_BEGIN, _END = "<!-- make compare: begin -->\n", "<!-- make compare: end -->"


def table(results: str) -> str:
    """Write a ``compare.json`` as Markdown. Raises CheckpointError if it is something else."""
    return markdown(from_json(results))


def with_table(page: str, results: str) -> str:
    """Return a page with the tables of ``results`` between its markers.

    Raises:
        ValueError: the page does not have both markers, in order.
    """
    before, begin, rest = page.partition(_BEGIN)
    _, end, after = rest.partition(_END)
    if not (begin and end):
        raise ValueError(f"the page has no {_BEGIN.strip()} and {_END} to put the table between")
    return before + begin + table(results) + end + after


def main() -> None:
    """Write the tables into the README."""
    README.write_text(with_table(README.read_text(), RESULTS.read_text()))


if __name__ == "__main__":
    main()
