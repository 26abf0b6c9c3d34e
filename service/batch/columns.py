"""The columns of a job's table, and the cells of a row: of the row itself, or of its line in the journal.

In: rows, or lines as ``service.batch.row`` writes them. Out: cells in the order of the columns. Knows nothing
of what a table is written as.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from service.batch.row import Row, Score, to_line

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    Cells = Sequence[str | None]

_TEXT = r'"([^"\\,\r\n]*)"'
"""Of JSON and of CSV, where nothing in it has to be escaped or quoted."""
_NUMBER = r"([^\s,}]+)"


def columns(top_k: int, *, has_labels: bool) -> list[str]:
    """Name the columns of tables."""
    best = [f"{name}_{rank}" for rank in range(1, top_k + 1) for name in ("label", "probability")]
    truth = ["true_label"] if has_labels else []
    return ["source", *best, "model", "version", "error", "message", *truth]


def cells(row: Row, top_k: int, *, has_labels: bool) -> list[Any]:
    """Make the cells of a row; None for what it does not have."""
    best: list[Any] = [value for score in row.scores for value in score[1:]]
    best += [None] * (2 * top_k - len(best))
    truth = [row.label] if has_labels else []
    return [row.source, *best, row.model, row.version, row.error or None, row.message or None, *truth]


def cells_of_lines(lines: Iterable[str], top_k: int, *, has_labels: bool) -> Iterator[Cells]:
    """Make the cells of rows from their lines, numbers as they are written there."""
    plain = plain_cells(top_k)
    for line in lines:
        match = plain(line)
        if match is None:
            yield told_cells(line, top_k, has_labels=has_labels)
        else:
            found = match.groups()
            no_error = (*found[:-1], None, None)
            yield no_error + found[-1:] if has_labels else no_error


def told_cells(line: str, top_k: int, *, has_labels: bool) -> Cells:
    """Make the cells of a row from its line, numbers as they are written there."""
    told = _tell(line)[0]
    values: list[str | None] = [told["source"]]
    for score in told["classes"]:
        values += (score["label"], str(score["probability"]))
    values += [None] * (1 + 2 * top_k - len(values))
    error = told["error"] or {}
    values += (told["model"], told["version"], error.get("code"), error.get("message"))
    if has_labels:
        values.append(told.get("label"))
    return values


_tell = json.JSONDecoder(parse_float=str).raw_decode


def plain_cells(top_k: int) -> Callable[[str], re.Match[str] | None]:
    """Find out what matches a line that is plain, which nearly all are.

    Plain is a row without an error, with as many classes, and with no text that JSON would escape or CSV
    would quote. This takes a small part of the time of ``told_cells``.

    Returns:
        A function of a line with its end. The match's groups are the cells without error and message; the
        last is the label, None if the line has none.
    """
    # Made of a line, so that it is as lines are.
    scores = tuple(Score(rank, f"label {rank}", rank + 0.5) for rank in range(top_k))
    row = Row("source", scores, "model", "version", label="truth")
    bare = to_line(row._replace(label=None)).removesuffix("}")
    truth = to_line(row).removesuffix("}").removeprefix(bare)
    pattern = f"{re.escape(bare)}(?:{re.escape(truth)})?" + r"\}\n"
    for name in ("source", "model", "version", "truth", *(score.label for score in scores)):
        pattern = pattern.replace(re.escape(f': "{name}"'), rf":\ {_TEXT}")
    for score in scores:
        pattern = pattern.replace(re.escape(f": {score.position},"), r":\ \d+,")
        pattern = pattern.replace(re.escape(f": {score.probability}}}"), rf":\ {_NUMBER}\}}")
    return re.compile(pattern).fullmatch
