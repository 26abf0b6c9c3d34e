"""One row of a job's output, and its form as a line of JSON.

Made by the engines, one an input. The line is what the journal keeps and what JSON lines show. Knows nothing
of files.
"""

from __future__ import annotations

import json
from functools import lru_cache
from json.encoder import encode_basestring as _text
from typing import NamedTuple


class Score(NamedTuple):
    """One class and its probability, 0 to 1."""

    position: int
    """Of the class among the model's labels, from 0."""
    label: str
    probability: float


class Row(NamedTuple):
    """What became of one input: classes, best first, or an error."""

    source: str
    scores: tuple[Score, ...] = ()
    model: str = ""
    version: str = ""
    error: str = ""
    """Its code; empty if there is none."""
    message: str = ""
    """What is wrong, for people."""
    label: str | None = None
    """What it is, where that is known."""


def to_line(row: Row) -> str:
    """Write a row as JSON, without the end of the line.

    By hand, since json.dumps takes several times as long, and with nine digits, which are all that a float32
    has.
    """
    scores = ", ".join([f"{_head(position, label)}{value:.9g}}}" for position, label, value in row.scores])
    error = f'{{"code": {_text(row.error)}, "message": {_text(row.message)}}}' if row.error else "null"
    label = "" if row.label is None else f', "label": {_text(row.label)}'
    return (
        f'{{"source": {_text(row.source)}, "classes": [{scores}], {_tail(row.model, row.version)}, '
        f'"error": {error}{label}}}'
    )


def from_line(line: str | bytes) -> Row:
    """Read such a line.

    Raises:
        ValueError: it is none.
    """
    try:
        told = json.loads(line)
        error = told["error"] or {"code": "", "message": ""}
        return Row(
            told["source"],
            tuple(Score(one["index"], one["label"], float(one["probability"])) for one in told["classes"]),
            told["model"],
            told["version"],
            error["code"],
            error["message"],
            told.get("label"),
        )
    except (KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"no row: {line[:80]!r}") from error


@lru_cache(maxsize=1024)
def _head(position: int, label: str) -> str:
    return f'{{"index": {position}, "label": {_text(label)}, "probability": '


@lru_cache(maxsize=16)
def _tail(model: str, version: str) -> str:
    return f'"model": {_text(model)}, "version": {_text(version)}'
