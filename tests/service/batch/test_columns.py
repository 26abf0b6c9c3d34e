"""The values of a row are the same from the row, from its line, and from the match of a plain line."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.batch.columns import column_names, plain_line_matcher, values_of, values_of_line, values_of_lines
from service.batch.journal import Journal
from service.batch.output import OutputFormat, publish
from service.batch.row import Row, TopClass, from_line, to_line

pq = pytest.importorskip("pyarrow.parquet", reason="the extra batch is not installed")

texts = st.text(st.characters(codec="utf-8"), max_size=12) | st.sampled_from(
    ["a,b", 'a"b', "a\\b", " a ", "a\nb", "", "truth", "source", ": 0,", "é", "{}", "=1"]
)
probabilities = st.floats(0, 1, width=32) | st.sampled_from([0.0, 1.0, 1e-30, 0.5])
score_lists = st.lists(st.builds(TopClass, st.integers(0, 10**6), texts, probabilities), max_size=3)
rows = st.builds(
    lambda error, message, **row: Row(error=error, message=message if error else "", **row),
    source=texts,
    classes=score_lists.map(tuple),
    model=texts,
    version=texts,
    error=st.sampled_from(["", "", "CORRUPT"]),
    message=texts.filter(bool),
    label=st.none() | texts,
)


@given(rows=st.lists(rows, max_size=4), top_k=st.integers(3, 4), has_labels=st.booleans())
def test_values_of_a_line_are_those_of_its_row(rows: list[Row], top_k: int, has_labels: bool) -> None:  # noqa: FBT001
    found = list(values_of_lines([f"{to_line(row)}\n" for row in rows], top_k, has_labels=has_labels))

    wanted = [
        [
            f"{value:.9g}" if isinstance(value, float) else value
            for value in values_of(row, top_k, has_labels=has_labels)
        ]
        for row in rows
    ]
    assert [[value or None for value in line] for line in found] == [
        [value or None for value in line] for line in wanted
    ]


@pytest.mark.parametrize("top_k", [1, 3, 12])
@pytest.mark.parametrize("label", [None, "cat"])
def test_a_usual_line_is_plain_and_others_are_not(top_k: int, label: str | None) -> None:
    classes = tuple(
        TopClass(rank, f"class {rank}", float(np.float32(1 / (rank + 3)))) for rank in range(top_k)
    )
    row = Row("photos/0001.jpg", classes, "cifar10net", "1", label=label)
    plain = plain_line_matcher(top_k)

    match = plain(f"{to_line(row)}\n")

    assert match is not None
    assert match.group(1) == "photos/0001.jpg"
    assert match.groups()[-3:] == ("cifar10net", "1", label)
    others = [
        row._replace(source="a,b.jpg"),
        row._replace(source='a"b.jpg'),
        row._replace(classes=(*classes, classes[0])),
        row._replace(classes=(), error="CORRUPT", message="is torn"),
    ]
    assert [other for other in others if plain(f"{to_line(other)}\n")] == []
    assert plain(to_line(row)) is None  # without its end it may be cut off


@settings(max_examples=25)
@given(rows=st.lists(rows, max_size=6), has_labels=st.booleans())
def test_tables_hold_what_the_rows_say(rows: list[Row], has_labels: bool) -> None:  # noqa: FBT001
    with TemporaryDirectory() as folder:
        text = (
            _published(rows, Path(folder, "rows.csv"), OutputFormat.CSV, has_labels=has_labels)
            .read_bytes()
            .decode()
        )
        table = pq.read_table(
            _published(rows, Path(folder, "rows.parquet"), OutputFormat.PARQUET, has_labels=has_labels)
        )

    wanted = io.StringIO()
    writer = csv.writer(wanted, lineterminator="\n")
    writer.writerow(column_names(3, has_labels=has_labels))
    lines = [f"{to_line(row)}\n" for row in rows]
    writer.writerows(values_of_line(line, 3, has_labels=has_labels) for line in lines)
    assert text == wanted.getvalue()
    assert [list(row.values()) for row in table.to_pylist()] == [
        [
            float(np.float32(value)) if isinstance(value, float) else value
            for value in values_of(row, 3, has_labels=has_labels)
        ]
        for row in rows
    ]


def _published(rows: list[Row], out: Path, form: OutputFormat, *, has_labels: bool) -> Path:
    with Journal(out, {}, to_line=to_line, from_line=from_line, resume=False, overwrite=False) as journal:
        journal.append(rows)
        publish(journal, out, form, 3, has_labels=has_labels)
    return out
