"""Puts tables of figures between the markers of a page."""

from __future__ import annotations

import textwrap

WIDTH = 120
"""Longest line of prose in a page."""


def with_table(page: str, target: str, table: str) -> str:
    """Return a page with a table between the markers of a make target.

    Raises:
        ValueError: the page does not have both markers, in order.
    """
    begin_mark, end_mark = f"<!-- make {target}: begin -->\n", f"<!-- make {target}: end -->"
    before, begin, rest = page.partition(begin_mark)
    _, end, after = rest.partition(end_mark)
    if not (begin and end):
        raise ValueError(f"the page has no {begin_mark.strip()} and {end_mark} to put the table between")
    return before + begin + table + end + after


def wrapped(text: str) -> str:
    """Break lines of prose after at most 120 characters; rows of tables stay as they are."""
    return "".join(
        line if line.startswith("|") or len(line) <= WIDTH else textwrap.fill(line, WIDTH) + "\n"
        for line in text.splitlines(keepends=True)
    )
