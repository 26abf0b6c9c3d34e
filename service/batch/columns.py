"""The columns of a table, and the values of a row in their order.

Tables are made from the journal's lines. Nearly all match one regular expression, which takes 5 us a row and
JSON 9 us (one core of a Xeon, shared). It is generated from ``to_line``, so that it always fits.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from service.batch.row import Row, TopClass, to_line

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    Values = Sequence[str | None]

_TEXT = r'"([^"\\,\r\n]*)"'
"""A string that neither JSON has to escape nor CSV has to quote."""
_NUMBER = r"([^\s,}]+)"


def column_names(top_k: int, *, has_labels: bool) -> list[str]:
    """Return the names of a table's columns."""
    best = [f"{name}_{rank}" for rank in range(1, top_k + 1) for name in ("label", "probability")]
    truth = ["true_label"] if has_labels else []
    return ["source", *best, "model", "version", "error", "message", *truth]


def values_of(row: Row, top_k: int, *, has_labels: bool) -> list[Any]:
    """Return the values of a row; None where it has none."""
    best: list[Any] = [value for top in row.classes for value in top[1:]]
    best += [None] * (2 * top_k - len(best))
    truth = [row.label] if has_labels else []
    return [row.source, *best, row.model, row.version, row.error or None, row.message or None, *truth]


def values_of_lines(lines: Iterable[str], top_k: int, *, has_labels: bool) -> Iterator[Values]:
    """Yield the values of the rows on some lines, numbers as they are written there."""
    match_plain = plain_line_matcher(top_k)
    for line in lines:
        match = match_plain(line)
        if match is None:
            yield values_of_line(line, top_k, has_labels=has_labels)
        else:
            *values, label = match.groups()
            yield (*values, None, None, label) if has_labels else (*values, None, None)


def values_of_line(line: str, top_k: int, *, has_labels: bool) -> Values:
    """Return the values of the row on any line, numbers as they are written there."""
    record = _decode(line)[0]
    values: list[str | None] = [record["source"]]
    for top in record["classes"]:
        values += (top["label"], str(top["probability"]))
    values += [None] * (1 + 2 * top_k - len(values))
    error = record["error"] or {}
    values += (record["model"], record["version"], error.get("code"), error.get("message"))
    if has_labels:
        values.append(record.get("label"))
    return values


_decode = json.JSONDecoder(parse_float=str).raw_decode


def plain_line_matcher(top_k: int) -> Callable[[str], re.Match[str] | None]:
    """Make a function that matches plain lines: ``top_k`` classes, no error, and no text to escape or quote.

    Returns:
        A function that takes a line with its line feed. The match's groups are the values without error and
        message; the last one is the label, None if the line has none.
    """
    classes = tuple(TopClass(rank, f"label {rank}", rank + 0.5) for rank in range(top_k))
    row = Row("source", classes, "model", "version", label="truth")
    bare = to_line(row._replace(label=None)).removesuffix("}")
    truth = to_line(row).removesuffix("}").removeprefix(bare)
    pattern = f"{re.escape(bare)}(?:{re.escape(truth)})?" + r"\}\n"
    for name in ("source", "model", "version", "truth", *(top.label for top in classes)):
        pattern = pattern.replace(re.escape(f': "{name}"'), rf":\ {_TEXT}")
    for top in classes:
        pattern = pattern.replace(re.escape(f": {top.class_index},"), r":\ \d+,")
        pattern = pattern.replace(re.escape(f": {top.probability}}}"), rf":\ {_NUMBER}\}}")
    return re.compile(pattern).fullmatch
