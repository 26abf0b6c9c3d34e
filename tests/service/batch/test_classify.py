"""``cifar10net classify`` over collections: outputs, summaries, exit codes, refusals."""

from __future__ import annotations

import csv
import json
import re
import time
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result
from rich.console import Console

from service.batch import evaluation, terminal
from service.batch.evaluation import Evaluation
from service.batch.journal import Journal
from service.batch.output import OutputFormat
from service.batch.progress import LINE_EVERY_S, JobProgress
from service.batch.row import Row, TopClass, from_line, to_line
from service.batch.summary import JobSummary
from service.cli import cli
from service.errors import JobError, OutputError, SourceError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

COLOURS = ("red", "green", "blue")


@pytest.fixture
def run(model: Path, album: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Return a function that runs the command beside the album, in this process."""
    monkeypatch.chdir(album.parent)

    def classify(*arguments: str, stdin: str | None = None, local: bool = True) -> Result:
        where = ["--model", str(model), "--threads", "1"] if local else []
        return CliRunner().invoke(cli, ["classify", *arguments, *where], input=stdin)

    return classify


def test_each_form_has_a_row_an_input_with_the_same_values(run: Callable[..., Result], album: Path) -> None:
    for name in ("rows.csv", "rows.jsonl", "rows.parquet"):
        done = run("album", "none.png", "--out", name, "--labels", "folder", "--top", "2")
        assert (done.exit_code, done.stderr) == (1, "")
    folder = album.parent

    with (folder / "rows.csv").open(newline="") as file:
        records = list(csv.DictReader(file))
    objects = [json.loads(line) for line in (folder / "rows.jsonl").read_text().splitlines()]
    table = pq.read_table(folder / "rows.parquet").to_pylist()

    assert list(records[0]) == [
        "source", "label_1", "probability_1", "label_2", "probability_2", "model", "version", "error",
        "message", "true_label",
    ]  # fmt: skip
    assert [row["source"] for row in records] == [row["source"] for row in table]
    assert [row["source"] for row in records] == [row["source"] for row in objects]
    assert len(records) == 11
    for record, told, row in zip(records, objects, table, strict=True):
        assert {key: value or "" for key, value in row.items() if "probability" not in key} == {
            key: value for key, value in record.items() if "probability" not in key
        }
        if record["error"]:
            assert told["error"] == {"code": record["error"], "message": record["message"]}
            assert told["classes"] == []
            assert row["probability_1"] is None
        else:
            assert told["classes"][0]["label"] == record["label_1"] == record["true_label"]
            assert told["classes"][0]["probability"] == float(record["probability_1"])
            assert row["probability_1"] == pytest.approx(float(record["probability_1"]), rel=1e-7)
    assert [row["error"] for row in records if row["error"]] == ["CORRUPT", "UNREADABLE_FILE"]
    assert {(row["model"], row["version"]) for row in records} == {("colours", "1")}


def test_the_summary_says_how_many_how_fast_and_how_often_right(run: Callable[..., Result]) -> None:
    done = run("album", "--out", "rows.csv", "--labels", "folder")

    lines = done.stdout.splitlines()
    assert lines[0].startswith("10 images in ")
    assert lines[0].endswith(" images/s")
    assert lines[1:4] == [
        "1 with an error: 1 CORRUPT",
        "rows: rows.csv",
        "top-1 100.00%, top-3 100.00% of 9 labelled images",
    ]
    assert lines[5:] == [
        "true, answered  red  green  blue",
        "red               3      .     .",
        "green             .      3     .",
        "blue              .      .     3",
    ]


def test_the_summary_for_programs_is_one_object(run: Callable[..., Result]) -> None:
    done = run("album", "--out", "rows.jsonl", "--labels", "folder", "--json")

    told = json.loads(done.stdout)
    assert told["images"] == 10
    assert told["classified"] == 9
    assert told["errors"] == {"CORRUPT": 1}
    assert told["resumed"] == 0
    assert (told["out"], told["model"], told["version"]) == ("rows.jsonl", "colours", "1")
    assert told["evaluation"]["confusion"] == [[3, 0, 0], [0, 3, 0], [0, 0, 3]]
    assert (told["evaluation"]["top1"], told["evaluation"]["with_error"]) == (1, 1)


def test_rows_on_standard_output_are_a_table_csv_or_json_lines(
    run: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    table = run("album/red/0.png", "album/blue/torn.jpg", "--format", "table", "--top", "1")
    as_csv = run("-", "--format", "csv", "--top", "1", stdin="album/red/0.png\n")
    as_lines = run("album/red", "--format", "jsonl")

    assert table.exit_code == 1
    assert [line.split()[:2] for line in table.stdout.splitlines()] == [
        ["source", "1."], ["album/red/0.png", "red"], ["album/blue/torn.jpg", "CORRUPT:"],
    ]  # fmt: skip
    assert table.stderr.startswith("album/blue/torn.jpg: ")
    assert as_csv.exit_code == 0
    assert as_csv.stdout.startswith(
        "source,label_1,probability_1,model,version,error,message\nalbum/red/0.png,red,0.9"
    )
    assert [json.loads(line)["classes"][0]["label"] for line in as_lines.stdout.splitlines()] == ["red"] * 3


def test_an_evaluation_on_standard_output_comes_last(run: Callable[..., Result]) -> None:
    as_lines = run("album/red", "--labels", "folder")
    as_json = run("album/red", "--labels", "folder", "--json")

    assert "top-1 100.00%" in as_lines.stdout
    assert as_lines.stdout.splitlines()[0] == "album/red/0.png"
    last = json.loads(as_json.stdout.splitlines()[-1])
    assert last["summary"]["evaluation"]["images"] == 3


def test_labels_of_a_column_that_are_numbers_are_classes(run: Callable[..., Result], album: Path) -> None:
    lines = [json.dumps({"path": f"album/{colour}/0.png", "kind": n}) for n, colour in enumerate(COLOURS)]
    (album.parent / "list.jsonl").write_text("\n".join([*lines, '{"path": "album/red/1.png", "kind": 7}']))

    told = json.loads(run("list.jsonl", "--out", "rows.csv", "--labels", "kind", "--json").stdout)

    assert told["evaluation"]["top1"] == 1
    assert (told["evaluation"]["images"], told["evaluation"]["unknown_label"]) == (3, 1)


def test_nothing_appears_under_the_outputs_name_before_it_is_complete(
    run: Callable[..., Result], album: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = album.parent / "rows.csv"
    out.write_text("of yesterday")
    seen = []

    def replay(_: Journal[Row]) -> Any:
        seen.append(out.read_text())
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("service.batch.output.csv.writer", lambda *_, **__: replay)  # no row can be written
        patch.setattr("service.batch.journal.Journal.replay", replay)
        failed = run("album", "--out", "rows.csv", "--overwrite")

    assert isinstance(failed.exception, OSError | OutputError)
    assert set(seen) == {"of yesterday"}
    assert (album.parent / "rows.csv.partial").exists()
    assert out.read_text() == "of yesterday"
    assert run("album", "--out", "rows.csv", "--resume").exit_code == 1
    assert len(out.read_text().splitlines()) == 11
    assert not (album.parent / "rows.csv.partial").exists()


def test_what_is_there_is_kept_unless_somebody_says_otherwise(
    run: Callable[..., Result], album: Path
) -> None:
    assert run("album/red", "--out", "rows.csv").exit_code == 0
    rows = (album.parent / "rows.csv").read_bytes()

    again = run("album/blue", "--out", "rows.csv")
    resumed = run("album/blue", "--out", "rows.csv", "--resume")

    assert isinstance(again.exception, OutputError)
    assert "rows.csv exists already: --overwrite replaces it" in str(again.exception)
    assert (resumed.exit_code, resumed.stderr) == (
        0,
        "rows.csv exists and has no journal: the job is complete\n",
    )
    assert (album.parent / "rows.csv").read_bytes() == rows
    assert run("album/green", "--out", "rows.csv", "--overwrite").exit_code == 0
    assert b"album/green/2.png" in (album.parent / "rows.csv").read_bytes()


@pytest.fixture
def unfinished(run: Callable[..., Result], album: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Leave a job unfinished after the rows of its first source."""
    (album.parent / "list.txt").write_text("album/green/0.png\n")
    with monkeypatch.context() as patch:
        patch.setattr("service.batch.sources.lists._LONGEST_LINE", 5)
        done = run("album/red", "list.txt", "--out", "rows.jsonl")
    assert isinstance(done.exception, JobError)
    assert str(done.exception) == (
        "list.txt has a line of more than 5 bytes; 3 rows are kept in rows.jsonl.partial, "
        "--resume continues from there"
    )
    return album.parent / "rows.jsonl.partial"


def test_an_unfinished_job_is_resumed_only_if_asked(run: Callable[..., Result], unfinished: Path) -> None:
    refused = run("album/red", "list.txt", "--out", "rows.jsonl")
    assert "continue with --resume, or start again with --overwrite" in str(refused.exception)
    for number in range(3):  # what has a row is not read again
        (unfinished.parent / f"album/red/{number}.png").write_bytes(b"")

    done = run("album/red", "list.txt", "--out", "rows.jsonl", "--resume")

    assert done.exit_code == 0
    assert done.stdout.startswith("4 images (3 of them earlier) in ")
    rows = [json.loads(line) for line in (unfinished.parent / "rows.jsonl").read_text().splitlines()]
    assert [row["classes"][0]["label"] for row in rows] == ["red"] * 3 + ["green"]


def test_rows_with_an_error_are_sources_of_another_try(
    run: Callable[..., Result], album: Path, picture: Callable[..., bytes]
) -> None:
    run("album/red", "late.png", "album/blue/torn.jpg", "--out", "rows.jsonl")
    rows = (album.parent / "rows.jsonl").read_text().splitlines(keepends=True)
    (album.parent / "late.png").write_bytes(picture("green"))

    again = run("-", "--out", "again.jsonl", stdin="".join(row for row in rows if '"error": null' not in row))

    late, torn = (from_line(line) for line in (album.parent / "again.jsonl").read_text().splitlines())
    assert again.exit_code == 1
    assert (late.source, late.classes[0].label, late.error) == ("late.png", "green", "")
    assert (torn.source, torn.error) == ("album/blue/torn.jpg", "CORRUPT")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (("--top", "1"), "whose top was 3 and is now 1"),
        (("--labels", "folder"), 'whose labels was null and is now "folder"'),
        (("none.png",), r"whose sources was \[.*\] and is now \[.*none.png"),
        (("--model-version", "1", "--model", "{shades}"), 'whose model was "colours, sha256'),
    ],
)
def test_another_jobs_journal_is_refused(
    run: Callable[..., Result], unfinished: Path, repository: Path, change: tuple[str, ...], sentence: str
) -> None:
    before = unfinished.read_bytes()
    change = tuple(each.format(shades=repository / "shades") for each in change)
    local = "--model" not in change

    refused = run("album/red", "list.txt", *change, "--out", "rows.jsonl", "--resume", local=local)

    assert isinstance(refused.exception, OutputError)
    assert refused.exception.args[0].startswith("rows.jsonl.partial is another job's, ")
    assert re.search(sentence, str(refused.exception))
    assert unfinished.read_bytes() == before


def test_inputs_that_have_changed_are_an_error(run: Callable[..., Result], unfinished: Path) -> None:
    (unfinished.parent / "album/red/1.png").unlink()

    refused = run("album/red", "list.txt", "--out", "rows.jsonl", "--resume")

    assert isinstance(refused.exception, JobError)
    assert (
        "row 2 of rows.jsonl.partial is of album/red/1.png, and the input there is now album/red/2.png"
        in str(refused.exception)
    )
    assert unfinished.exists()


def test_two_processes_never_write_the_same_output(run: Callable[..., Result], unfinished: Path) -> None:
    head = json.loads(unfinished.read_text().splitlines()[0])
    head.pop("cifar10net_journal")
    with Journal(
        unfinished.with_suffix(""), head, to_line=to_line, from_line=from_line, resume=True, overwrite=False
    ):
        refused = run("album/red", "list.txt", "--out", "rows.jsonl", "--overwrite")

    assert str(refused.exception) == "rows.jsonl.partial is being written by another process"
    assert len(unfinished.read_text().splitlines()) == 4


def test_a_journal_of_something_else_is_left_alone(run: Callable[..., Result], album: Path) -> None:
    (album.parent / "rows.csv.partial").write_text("dear diary\n")

    refused = run("album", "--out", "rows.csv", "--resume")

    assert "is not a journal of this version; move it away" in str(refused.exception)
    assert (album.parent / "rows.csv.partial").read_text() == "dear diary\n"


def test_a_job_that_could_not_begin_leaves_nothing(run: Callable[..., Result], album: Path) -> None:
    done = run("album/*.tiff", "--out", "rows.csv")

    assert isinstance(done.exception, SourceError | JobError)
    assert str(done.exception) == "no file matches album/*.tiff"
    assert [path.name for path in album.parent.iterdir()] == ["album"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("a.png", "--server", "127.0.0.1:1"), "--model names a file or folder and --server a server"),
        (("a.png", "--timing"), "--timing needs a server"),
        (("a.png", "--out", "a.csv", "--resume", "--overwrite"), "give one of the two"),
        (("a.png", "--resume"), "need --out"),
        (("a.png", "--out", "a.csv", "--format", "table"), "is for standard output"),
        (("a.png", "--format", "parquet"), "needs --out"),
        (("a.png", "--json", "--format", "csv"), "both set how rows are printed"),
    ],
)
def test_options_that_contradict_each_other_are_refused(
    run: Callable[..., Result], arguments: tuple[str, ...], sentence: str
) -> None:
    done = run(*arguments)

    assert done.exit_code == 2
    assert sentence in done.stderr


def test_an_output_of_no_known_form_is_refused(run: Callable[..., Result]) -> None:
    assert "name it .csv, .jsonl or .parquet" in str(run("album", "--out", "rows.xyz").exception)
    assert run("album/red", "--out", "rows.xyz", "--format", "csv").exit_code == 0


def test_lines_of_rows_are_json_and_lead_back_to_the_row() -> None:
    rows = [
        Row('a"\n\\.png', (TopClass(2, "blü", 0.123456789), TopClass(0, "a", 1e-12)), "m", "1", label="x"),
        Row("b", (), "m", "1", "CORRUPT", 'torn "here"'),
    ]

    for row in rows:
        line = to_line(row)
        assert "\n" not in line
        assert from_line(line) == row
        assert set(json.loads(line)) - {"label"} == {"source", "classes", "model", "version", "error"}
    for junk in ("", "1", "{}", '{"source": 1}', "\0\0", '{"source": "a", "classes": [1], "error": null}'):
        with pytest.raises(ValueError, match=r"."):
            from_line(junk)


def test_an_evaluation_counts_apart_what_it_cannot_judge(monkeypatch: pytest.MonkeyPatch) -> None:
    counted = Evaluation(COLOURS, top_k=3)
    order = (TopClass(0, "red", 0.5), TopClass(1, "green", 0.3), TopClass(2, "blue", 0.2))
    for label in ("red", "green", "blue", "pink", None):
        counted.add(Row("a", order, label=label))
    counted.add(Row("a", error="CORRUPT", label="red"))

    told = counted.as_dict()

    assert (told["images"], told["top1"], told["top3"]) == (3, pytest.approx(1 / 3), 1)
    assert (told["without_label"], told["unknown_label"], told["with_error"]) == (1, 1, 1)
    assert told["confusion"] == [[1, 0, 0], [1, 0, 0], [1, 0, 0]]
    assert "1 with a label that the model does not have are not counted: 'pink'" in list(counted.lines())
    monkeypatch.setattr(evaluation, "_WIDEST_TABLE", 2)
    assert "green taken for red: 1" in list(counted.lines())
    assert Evaluation(COLOURS, top_k=2).as_dict()["top3"] is None
    assert "no classified image" in next(Evaluation(COLOURS, top_k=3).lines())


def test_progress_is_a_line_now_and_then_where_there_is_no_terminal(
    capsys: pytest.CaptureFixture[str],
) -> None:
    now = [0.0]
    summary = JobSummary(clock=lambda: now[0])
    with JobProgress(Console(stderr=True), summary, lambda: None, clock=lambda: now[0]) as progress:
        for _ in range(1_500):
            summary.add(Row("a", error="CORRUPT"))
        progress.update()
        now[0] += LINE_EVERY_S
        progress.update()
        progress.update()

    assert capsys.readouterr().err == "1,500 images, 50 images/s, 1,500 errors\n"


def test_progress_on_a_terminal_is_a_bar_with_what_is_left(capsys: pytest.CaptureFixture[str]) -> None:
    summary = JobSummary()
    console = Console(stderr=True, force_terminal=True, width=120)
    counted = False

    def count() -> int:
        nonlocal counted
        counted = True
        return 10

    with JobProgress(console, summary, count, clock=iter([0.0, 1.0, 2.0]).__next__) as progress:
        summary.add(Row("a"))
        progress.update()
        deadline_s = time.monotonic() + 60
        while not counted and time.monotonic() < deadline_s:
            pass

    assert counted
    shown = capsys.readouterr().err
    assert "images/s" in shown
    assert "left" in shown


def test_a_table_shows_the_end_of_a_long_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    write = terminal.writer(OutputFormat.TABLE, 1, has_labels=True)

    _, line = write(Row("a/very/long/path/of/a/picture.png", (TopClass(0, "red", 1.0),), label="blue"))

    assert line.split() == ["…th/of/a/picture.png", "blue", "red", "100.0%"]
