"""Puts a table between the two markers that a page has for it. Knows nothing of what is in it."""

from __future__ import annotations


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
