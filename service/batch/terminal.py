"""Rows as people and programs read them on standard output, one by one.

In: a row. Out: lines. ``bars`` are for a few pictures, ``table`` for many; ``csv`` and ``jsonl`` are as in
files; ``objects`` is what ``--json`` has always printed.
"""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

from service.batch.bars import as_lines
from service.batch.columns import cells, columns
from service.batch.output import Form, csv_line
from service.batch.row import to_line

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from service.batch.row import Row

_SCORE_WIDTH = 20
_LEAST_NAME_WIDTH = 20
_MOST_NAME_WIDTH = 60


def bars(row: Row) -> Iterator[str]:
    """Write the input's name and a line a class; nothing for one with an error."""
    if not row.error:
        yield as_lines(row.source, row.scores)


def objects(row: Row) -> Iterator[str]:
    """Write a JSON object: ``file`` and either ``classes`` or ``error``."""
    told: dict[str, Any] = {"file": row.source}
    if row.error:
        told["error"] = {"code": row.error, "message": row.message}
    else:
        classes = [
            {"index": place, "label": label, "probability": value} for place, label, value in row.scores
        ]
        told |= {"classes": classes, "model": row.model, "version": row.version}
    yield json.dumps(told, ensure_ascii=False)


def writer(form: Form, top_k: int, *, has_labels: bool) -> Callable[[Row], Iterator[str]]:
    """Return what writes rows in one form, a head before the first."""
    if form is Form.BARS:
        return bars
    if form is Form.JSONL:
        return lambda row: iter((to_line(row),))
    line = _csv if form is Form.CSV else _Table(top_k).line
    head = iter([line(None, top_k, has_labels)])

    def lines(row: Row) -> Iterator[str]:
        yield from head
        yield line(row, top_k, has_labels)

    return lines


def _csv(row: Row | None, top_k: int, has_labels: bool) -> str:  # noqa: FBT001
    values = (
        columns(top_k, has_labels=has_labels) if row is None else cells(row, top_k, has_labels=has_labels)
    )
    return csv_line(values).removesuffix("\n")


class _Table:
    """Lines whose columns are as wide as the terminal lets them be."""

    def __init__(self, top_k: int) -> None:
        width = shutil.get_terminal_size((120, 24)).columns - top_k * _SCORE_WIDTH
        self._width = max(_LEAST_NAME_WIDTH, min(_MOST_NAME_WIDTH, width))

    def line(self, row: Row | None, top_k: int, has_labels: bool) -> str:  # noqa: FBT001
        name = "source" if row is None else row.source
        if len(name) > self._width:
            name = f"…{name[1 - self._width :]}"  # the end of a path says more than its beginning
        if row is None:
            rest = [f"{rank}." for rank in range(1, top_k + 1)]
            truth = "true"
        else:
            rest = [f"{score.label} {score.probability:.1%}" for score in row.scores]
            rest = rest or [f"{row.error}: {row.message}"]
            truth = row.label or ""
        if has_labels:
            rest.insert(0, truth)
        return f"{name:<{self._width}}" + "".join(f"  {cell:<{_SCORE_WIDTH - 2}}" for cell in rest).rstrip()
