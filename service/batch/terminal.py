"""Rows as lines on standard output: bars for a few pictures, a table for many, CSV, and JSON."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

from service.batch.columns import column_names, values_of
from service.batch.output import OutputFormat, csv_line
from service.batch.row import to_line

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from cifar10net.messages import ClassScore
    from service.batch.row import Row, TopClass

_BAR_WIDTH = 20
_CLASS_WIDTH = 20
_LEAST_NAME_WIDTH = 20
_MOST_NAME_WIDTH = 60


def bars(row: Row) -> Iterator[str]:
    """Yield the lines of ``bar_lines``; none for a row with an error."""
    return iter(()) if row.error else bar_lines(row.source, row.classes)


def bar_lines(name: str, classes: Iterable[TopClass | ClassScore]) -> Iterator[str]:
    """Yield an image's name, and a line for each class: label, probability, bar."""
    yield name
    for top in classes:
        bar = "█" * round(top.probability * _BAR_WIDTH)
        yield f"  {top.label:<12}{top.probability:>7.1%}  {bar}".rstrip()


def json_object(row: Row) -> Iterator[str]:
    """Yield the JSON object of ``--json``: ``file``, and either ``classes`` or ``error``."""
    value: dict[str, Any] = {"file": row.source}
    if row.error:
        value["error"] = {"code": row.error, "message": row.message}
    else:
        classes = [
            {"index": index, "label": label, "probability": probability}
            for index, label, probability in row.classes
        ]
        value |= {"classes": classes, "model": row.model, "version": row.version}
    yield json.dumps(value, ensure_ascii=False)


def writer(output_format: OutputFormat, top_k: int, *, has_labels: bool) -> Callable[[Row], Iterator[str]]:
    """Return a function that yields the lines of a row, with a header before the first row of a table."""
    if output_format is OutputFormat.BARS:
        return bars
    if output_format is OutputFormat.JSONL:
        return lambda row: iter((to_line(row),))
    line = _csv if output_format is OutputFormat.CSV else _Table(top_k).line
    header = iter([line(None, top_k, has_labels)])

    def lines(row: Row) -> Iterator[str]:
        yield from header
        yield line(row, top_k, has_labels)

    return lines


def timing_line(parts_ms: Mapping[str, float]) -> str:
    """Write how many milliseconds each part of a call took in the server."""
    parts = ", ".join(f"{name} {part_ms:.3f} ms" for name, part_ms in parts_ms.items())
    return f"server: {parts or 'sends no timing'}"


def _csv(row: Row | None, top_k: int, has_labels: bool) -> str:  # noqa: FBT001
    names = column_names(top_k, has_labels=has_labels)
    return csv_line(names if row is None else values_of(row, top_k, has_labels=has_labels)).removesuffix("\n")


class _Table:
    """Lines of a table that fits the terminal."""

    def __init__(self, top_k: int) -> None:
        width = shutil.get_terminal_size((120, 24)).columns - top_k * _CLASS_WIDTH
        self._width = max(_LEAST_NAME_WIDTH, min(_MOST_NAME_WIDTH, width))

    def line(self, row: Row | None, top_k: int, has_labels: bool) -> str:  # noqa: FBT001
        name = "source" if row is None else row.source
        if len(name) > self._width:
            name = f"…{name[1 - self._width :]}"  # the end of a path says more than its beginning
        if row is None:
            rest = [f"{rank}." for rank in range(1, top_k + 1)]
            truth = "true"
        else:
            rest = [f"{top.label} {top.probability:.1%}" for top in row.classes]
            rest = rest or [f"{row.error}: {row.message}"]
            truth = row.label or ""
        if has_labels:
            rest.insert(0, truth)
        return f"{name:<{self._width}}" + "".join(f"  {cell:<{_CLASS_WIDTH - 2}}" for cell in rest).rstrip()
