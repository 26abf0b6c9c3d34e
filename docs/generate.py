"""Regenerates the tables of docs/operations.md from the code: ``python -m docs.generate``."""

from __future__ import annotations

from pathlib import Path

from docs import tables

PAGE = Path(__file__).parent / "operations.md"
_TABLES = {
    "options": tables.options,
    "limits": tables.limits,
    "fixed limits": tables.fixed_limits,
    "statuses": tables.statuses,
    "startup errors": tables.startup_errors,
    "metrics": tables.metrics,
}


def filled(page: str) -> str:
    """Return the page with each table between its markers. Raises SystemExit if a marker is missing."""
    for name, make in _TABLES.items():
        begin, end = f"<!-- make docs: {name}: begin -->\n", f"<!-- make docs: {name}: end -->\n"
        before, found, rest = page.partition(begin)
        _, closed, after = rest.partition(end)
        if not found or not closed:
            raise SystemExit(f"{PAGE.name} lacks the markers of {name!r}")
        page = before + begin + make() + end + after
    return page


if __name__ == "__main__":
    PAGE.write_text(filled(PAGE.read_text()))
