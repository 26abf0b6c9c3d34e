"""One row of a job's output, and its line of JSON, which the journal and JSON-lines outputs hold."""

from __future__ import annotations

import json
from functools import lru_cache
from json.encoder import encode_basestring as _text
from typing import NamedTuple


class TopClass(NamedTuple):
    """One class of a row and its probability, 0 to 1."""

    class_index: int
    """Among the model's labels, from 0."""
    label: str
    probability: float


class Row(NamedTuple):
    """The result for one input: its most likely classes, best first, or an error."""

    source: str
    classes: tuple[TopClass, ...] = ()
    model: str = ""
    version: str = ""
    error: str = ""
    """Error code; empty if there is none."""
    message: str = ""
    """Explains the error."""
    label: str | None = None
    """The true label, where it is known."""


def to_line(row: Row) -> str:
    """Write a row as JSON, without a line end.

    Written by hand: json.dumps takes several times as long. Nine digits are all that a float32 has.
    """
    classes = ", ".join([f"{_head(index, label)}{value:.9g}}}" for index, label, value in row.classes])
    error = f'{{"code": {_text(row.error)}, "message": {_text(row.message)}}}' if row.error else "null"
    label = "" if row.label is None else f', "label": {_text(row.label)}'
    return (
        f'{{"source": {_text(row.source)}, "classes": [{classes}], {_tail(row.model, row.version)}, '
        f'"error": {error}{label}}}'
    )


def from_line(line: str | bytes) -> Row:
    """Read such a line. Raises ValueError if it is not one."""
    try:
        record = json.loads(line)
        error = record["error"] or {"code": "", "message": ""}
        classes = record["classes"]
        return Row(
            record["source"],
            tuple(TopClass(one["index"], one["label"], float(one["probability"])) for one in classes),
            record["model"],
            record["version"],
            error["code"],
            error["message"],
            record.get("label"),
        )
    except (KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"not a row: {line[:80]!r}") from error


@lru_cache(maxsize=1024)
def _head(index: int, label: str) -> str:
    return f'{{"index": {index}, "label": {_text(label)}, "probability": '


@lru_cache(maxsize=16)
def _tail(model: str, version: str) -> str:
    return f'"model": {_text(model)}, "version": {_text(version)}'
