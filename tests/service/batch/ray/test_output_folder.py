"""A folder of parts has the rows of the local engine, each once, however often the job was interrupted."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import pickle
import tarfile
import zipfile
from typing import TYPE_CHECKING, Any

import pytest

from service.batch.columns import column_names, values_of
from service.batch.job import Job
from service.batch.ray import shards
from service.batch.ray.output_folder import FolderTarget, OutputFolder
from service.batch.ray.shards import EndOfUnit, Shard, Sharder
from service.batch.sources import Sources
from service.errors import JobError, OutputError
from tests.service.batch.ray.conftest import Alone

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from service.batch.engines.local_engine import LocalEngine
    from service.batch.summary import JobSummary

    Do = Callable[..., JobSummary]
    Rows = Callable[..., list[dict[str, Any]]]

pa = pytest.importorskip("pyarrow", reason="pyarrow, of the extra batch, is not installed")


@pytest.fixture
def sources(album: Path, tmp_path: Path, picture: Callable[..., bytes]) -> list[str]:
    """Make sources of every kind, those sent to workers as places and those sent as bytes."""
    import pyarrow.parquet as pq  # noqa: PLC0415

    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for number in range(3):
            archive.writestr(f"green/{number}.png", picture("green", number))
    with tarfile.open(tmp_path / "b.tar", "w") as tar:
        for number in range(3):
            data = picture("blue", number)
            member = tarfile.TarInfo(f"blue/{number}.png")
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    (tmp_path / "c.tar.gz").write_bytes(gzip.compress((tmp_path / "b.tar").read_bytes()))
    images = [{"bytes": picture("red", number), "path": None} for number in range(3)]
    pq.write_table(pa.table({"image": [*images, None]}), tmp_path / "d.parquet")
    (tmp_path / "e.txt").write_text(f"{album}/red/0.png\nnone.png\nfile://{album}/red/1.png\n")
    names = ("a.zip", "b.tar", "c.tar.gz", "d.parquet", "e.txt")
    return [str(album), *(str(tmp_path / name) for name in names)]


def of_the_local_engine(engine: LocalEngine, sources: list[str]) -> list[dict[str, Any]]:
    """Return the rows of the engine in this process."""
    names = column_names(3, has_labels=True)
    rows = Job(Sources(sources, labels="folder"), engine, 3).rows()
    return [dict(zip(names, values_of(row, 3, has_labels=True), strict=True)) for row in rows]


def agree(ours: list[dict[str, Any]], theirs: list[dict[str, Any]]) -> None:
    """Compare rows, each once and in order of their index; probabilities to 1e-5."""
    assert [row["index"] for row in ours] == sorted({row["index"] for row in ours})
    assert len(ours) == len(theirs)
    for our, their in zip(ours, theirs, strict=True):
        probabilities = [name for name in their if name.startswith("probability")]
        assert {name: our[name] for name in their if name not in probabilities} == {
            name: their[name] for name in their if name not in probabilities
        }
        for name in probabilities:
            assert our[name] == pytest.approx(their[name], abs=1e-5)


@pytest.mark.parametrize("ships_bytes", [False, True])
def test_parts_have_the_rows_of_the_local_engine(
    do: Do, rows: Rows, engine: LocalEngine, sources: list[str], *, ships_bytes: bool
) -> None:
    summary = do(Alone(), *sources, ships_bytes=ships_bytes)

    theirs = of_the_local_engine(engine, sources)
    agree(rows(), theirs)
    assert (summary.images, summary.failed) == (len(theirs), sum(1 for row in theirs if row["error"]))


def test_the_manifest_says_what_there_is(do: Do, sources: list[str], tmp_path: Path) -> None:
    summary = do(Alone(), *sources)

    manifest = json.loads((tmp_path / "rows/_manifest.json").read_text())
    assert manifest["images"] == summary.images == sum(part["rows"] for part in manifest["parts"])
    assert manifest["errors"] == dict(summary.errors) == {"CORRUPT": 1, "UNREADABLE_FILE": 2}
    assert (manifest["model"], manifest["version"]) == ("colours", "1")
    assert manifest["job"]["model"].startswith("colours, sha256 ")
    assert {part["file"] for part in manifest["parts"]} | {"_manifest.json"} == {
        path.name for path in (tmp_path / "rows").iterdir()
    }
    for part in manifest["parts"]:
        data = (tmp_path / "rows" / part["file"]).read_bytes()
        assert (len(data), hashlib.sha256(data).hexdigest()) == (part["bytes"], part["sha256"])
    assert manifest["evaluation"]["top1"] == 1.0
    assert not (tmp_path / "rows.partial").exists()


def test_the_same_job_gives_the_same_parts(do: Do, sources: list[str], tmp_path: Path) -> None:
    do(Alone(), *sources)
    do(Alone(), *sources, out=tmp_path / "again")

    for part in (tmp_path / "rows").glob("*.parquet"):
        assert part.read_bytes() == (tmp_path / "again" / part.name).read_bytes()


@pytest.mark.parametrize("error", [JobError("the worker is gone"), KeyboardInterrupt()])
@pytest.mark.parametrize("most", [1, 4, 9])
def test_a_job_that_ended_too_early_goes_on_where_it_was(
    do: Do,
    rows: Rows,
    engine: LocalEngine,
    sources: list[str],
    tmp_path: Path,
    most: int,
    error: BaseException,
) -> None:
    with pytest.raises(
        type(error), match=r"kept in \.rows\.new \([\d,]+ rows\), --resume continues from there"
    ):
        do(Alone(most, error), *sources)
    assert not (tmp_path / "rows").exists()
    kept = {path.name: path.stat().st_mtime_ns for path in (tmp_path / ".rows.new").iterdir()}

    rest = Alone()
    summary = do(rest, *sources, resume=True)

    theirs = of_the_local_engine(engine, sources)
    agree(rows(), theirs)
    assert summary.images == len(theirs)
    assert summary.resumed > 0
    assert len(kept) == most
    for name, when in kept.items():
        assert (tmp_path / "rows" / name).stat().st_mtime_ns == when
    if most == 9:  # whole units are not looked at again
        assert len(rest.places) < len(sources)


def test_a_part_that_is_lost_or_torn_is_made_again(
    do: Do, rows: Rows, engine: LocalEngine, sources: list[str], tmp_path: Path
) -> None:
    with pytest.raises(JobError):
        do(Alone(6, JobError("gone")), *sources)
    first, second, *_ = sorted((tmp_path / ".rows.new").iterdir())
    first.unlink()
    second.write_bytes(second.read_bytes()[:-1])
    (tmp_path / ".rows.new/.part-000000-000000.parquet.0").write_bytes(b"of a worker that was killed")

    do(Alone(), *sources, resume=True)

    agree(rows(), of_the_local_engine(engine, sources))
    assert not [path for path in (tmp_path / "rows").iterdir() if path.name.startswith(".")]


def test_inputs_that_have_changed_are_refused(do: Do, album: Path) -> None:
    with pytest.raises(JobError):
        do(Alone(2, JobError("gone")), str(album))
    (album / "blue/0.png").rename(album / "blue/3.png")

    with pytest.raises(JobError, match="have changed since its shard 0 was written: start again"):
        do(Alone(), str(album), resume=True)
    with pytest.raises(OutputError, match="another job's, whose part_rows was 2 and is now 3"):
        do(Alone(), str(album), resume=True, part_rows=3)


def test_nothing_is_left_of_a_job_without_a_part(do: Do, album: Path, tmp_path: Path) -> None:
    with pytest.raises(JobError, match=r"^no luck$"):
        do(Alone(0, JobError("no luck")), str(album))

    assert [path.name for path in tmp_path.iterdir()] == ["album"]


def test_no_inputs_make_a_part_without_rows(do: Do, rows: Rows, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()

    assert do(Alone(), str(tmp_path / "empty")).images == 0

    assert rows() == []


def test_a_file_or_folder_in_the_way_is_left_alone(album: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="wanted a folder"):
        FolderTarget(out=tmp_path / "file").check()
    with pytest.raises(OutputError, match="not the output of such a job"):
        FolderTarget(out=album, resume=True).check()


def test_parts_that_other_machines_wrote_to_another_folder_are_an_error(tmp_path: Path) -> None:
    from service.batch.ray.parts import Receipt  # noqa: PLC0415

    with OutputFolder(FolderTarget(out=tmp_path / "rows"), {}) as folder:
        folder.add(Receipt(0, 0, "part-000000-000000.parquet", 1, 0, 10))
        with pytest.raises(OutputError, match="has to be in a folder that all machines share"):
            folder.publish({}, top_k=1, has_labels=False)


def test_archives_that_fit_a_pattern_are_units(tmp_path: Path, sources: list[str]) -> None:
    assert list(Sources([f"{tmp_path}/*.tar*", f"{tmp_path}/?.zip", sources[0]]).units()) == [
        f"{tmp_path}/*.tar*",
        f"{tmp_path}/a.zip",
        sources[0],
    ]


def test_places_are_shipped_and_not_bytes(tmp_path: Path, sources: list[str]) -> None:
    """A shard of an archive that is read in place is small, however large its members are."""
    for place, is_small in zip(sources, (True, True, True, False, False, True), strict=True):
        cut = list(Sharder(unit=0, place=place, rows=100, folder=str(tmp_path)).shards())
        shard = cut[0]
        assert isinstance(shard, Shard)
        assert cut[1:] == [EndOfUnit(0, 1)]
        held = sum(item.held_bytes for item in shard.items)
        assert (held == 0) is is_small
        sent: Shard = pickle.loads(pickle.dumps(shard))  # noqa: S301
        assert [item.source for item in sent.items] == [item.source for item in shard.items]


def test_shards_whose_bytes_are_sent_are_bounded(
    tmp_path: Path, sources: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shards, "MOST_BYTES", 1)

    cut = list(Sharder(unit=1, place=sources[2], rows=100, folder=str(tmp_path), ships_bytes=True).shards())

    assert [len(shard.items) for shard in cut if isinstance(shard, Shard)] == [1, 1, 1]
    assert [shard.first for shard in cut if isinstance(shard, Shard)] == [(1 << 40) + n for n in range(3)]
