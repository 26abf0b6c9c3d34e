"""Both engines give the same rows, one an input, in order."""

from __future__ import annotations

import zipfile
from itertools import islice
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner
from PIL import Image

from cifar10net import Client
from cifar10net.errors import ClientError, ImageErrorCode
from cifar10net.pb import classifier_pb2 as pb
from service.batch.engines.engine import ModelIdentity
from service.batch.engines.local_engine import LocalEngine
from service.batch.engines.server_engine import ServerEngine
from service.batch.item import Item
from service.batch.job import Job
from service.batch.sources import Sources
from service.cli import cli
from service.errors import JobError, SourceError
from service.server.spawn import ServerProcess
from tests.cifar10net.scripted import ScriptedServer
from tests.service.colours import fragile_model

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from service.batch.row import Row


def _read(content: bytes) -> Callable[[], bytes]:
    return lambda: content


def _rows(engine: LocalEngine | ServerEngine, *places: str) -> list[Row]:
    return list(Job(Sources(places, labels="folder"), engine, 3).rows())


def _agree(ours: list[Row], theirs: list[Row]) -> None:
    assert [row._replace(classes=()) for row in ours] == [row._replace(classes=()) for row in theirs]
    for our, their in zip(ours, theirs, strict=True):
        assert [score[:2] for score in our.classes] == [score[:2] for score in their.classes]
        assert [score.probability for score in our.classes] == pytest.approx(
            [score.probability for score in their.classes], abs=1e-5
        )


def test_the_engines_agree_on_pictures_and_on_their_errors(
    album: Path, engine: LocalEngine, server: str
) -> None:
    (album / "list.txt").write_text("none.png\n" * 3)
    with Client(server) as client:
        theirs = _rows(ServerEngine(client, "colours", "1"), str(album), str(album / "list.txt"))

    ours = _rows(engine, str(album), str(album / "list.txt"))

    _agree(ours, theirs)
    assert [row.error for row in ours] == [""] * 3 + ["CORRUPT"] + [""] * 6 + ["UNREADABLE_FILE"] * 3
    assert all(row.classes[0].label == row.label for row in ours if row.classes)


@pytest.fixture(scope="module")
def real(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[LocalEngine, ServerEngine]]:
    """Both engines on the committed model."""
    log = tmp_path_factory.mktemp("log") / "log"
    models = root / "exported_models"
    with (
        ServerProcess("--models", str(models), "--threads", "1", log=log) as process,
        Client(process.address) as client,
    ):
        yield LocalEngine(str(models / "cifar10net"), "", 2), ServerEngine(client, "cifar10net", "")


def test_the_engines_agree_on_the_sample_photographs(
    root: Path, real: tuple[LocalEngine, ServerEngine]
) -> None:
    local, remote = real
    _agree(_rows(local, str(root / "examples/images")), _rows(remote, str(root / "examples/images")))


def test_the_engines_agree_on_the_data_set(cifar10: Path, real: tuple[LocalEngine, ServerEngine]) -> None:
    if not zipfile.is_zipfile(cifar10):
        pytest.skip("this test takes its images from a zip of images")
    local, remote = real
    _agree(_rows(local, f"{cifar10}/test/*/00[0-4]?.jpg"), _rows(remote, f"{cifar10}/test/*/00[0-4]?.jpg"))


def test_threads_keep_the_order_and_the_rows(model: Path, engine: LocalEngine, album: Path) -> None:
    names = [str(path) for path in sorted(album.rglob("*.png")) for _ in range(60)]
    (album / "list.txt").write_text("\n".join(names))

    rows = _rows(LocalEngine(str(model), "", threads=3), str(album / "list.txt"))

    assert [row.source for row in rows] == names
    _agree(rows, _rows(engine, str(album / "list.txt")))


@pytest.mark.parametrize("threads", [1, 2])
def test_an_endless_stream_is_answered_as_it_comes(
    model: Path, threads: int, picture: Callable[..., bytes]
) -> None:
    taken = 0

    def endless() -> Iterator[Item]:
        nonlocal taken
        while True:
            taken += 1
            yield Item(str(taken), _read(picture("red")))

    rows = list(islice(LocalEngine(str(model), "", threads).classify(endless(), 1), 100))

    assert [row.source for row in rows] == [str(number) for number in range(1, 101)]
    assert taken <= 64 * (2 + 2 * threads)


def test_what_is_large_in_memory_is_answered_in_small_batches(engine: LocalEngine) -> None:
    taken = 0

    def large() -> Iterator[Item]:
        nonlocal taken
        while True:
            taken += 1
            yield Item("a", _read(b"torn"), held_bytes=9 << 20)

    assert next(iter(engine.classify(large(), 1))).error == ImageErrorCode.UNSUPPORTED_FORMAT.name
    assert taken == 2


def test_a_model_is_found_by_its_file_its_folder_or_its_versions(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = (repository / "colours/1/model.onnx").read_bytes()
    (tmp_path / "mine.onnx").write_bytes(content)
    monkeypatch.chdir(repository)

    for path, version, name, number in (
        ("./shades", "", "shades", "3"),
        ("./shades", "1", "shades", "1"),
        ("./shades/1", "", "shades", "1"),
        ("shades/1/model.onnx", "", "shades", "1"),
        (str(tmp_path / "mine.onnx"), "", "mine", "1"),
    ):
        identity = LocalEngine(path, version, 1).model()
        assert (identity.name, identity.version) == (name, number)
        assert identity.labels == ("red", "green", "blue")
        assert identity.fingerprint.startswith("sha256 ")


@pytest.mark.parametrize(
    ("path", "version", "sentence"),
    [
        ("{repository}/none", "", "neither such a file nor such a folder"),
        ("{repository}/shades", "2", "has no version 2; it has: 1, 3"),
        ("{repository}", "", "has no model: wanted"),
        ("{repository}/none.onnx", "", "neither such a file nor such a folder"),
        ("{junk}", "", "cannot be loaded"),
    ],
)
def test_a_model_that_is_not_there_or_none_is_refused(
    repository: Path, tmp_path: Path, path: str, version: str, sentence: str
) -> None:
    junk = tmp_path / "junk.onnx"
    junk.write_bytes(b"junk")

    with pytest.raises(JobError, match=sentence):
        LocalEngine(path.format(repository=repository, junk=junk), version, 1)


def test_a_model_that_fails_ends_the_job(tmp_path: Path) -> None:
    (tmp_path / "fragile.onnx").write_bytes(fragile_model())
    engine = LocalEngine(str(tmp_path / "fragile.onnx"), "", 1)
    Image.new("RGB", (32, 32), "white").save(tmp_path / "white.png")

    with pytest.raises(
        JobError, match=r"fragile version 1 failed: .*; the batch was .*white.png to .*white.png"
    ):
        _rows(engine, str(tmp_path / "white.png"))


def test_a_server_says_which_of_its_models_answers(server: str) -> None:
    with Client(server) as client:
        engine = ServerEngine(client, "", "")
        assert engine.model() == ModelIdentity(
            "colours", "1", ("red", "green", "blue"), "version 1 of a server"
        )
        assert ServerEngine(client, "shades", "").model().version == "3"
        with pytest.raises(ClientError, match="no model shades 2; it has: colours 1, shades 3"):
            ServerEngine(client, "shades", "2").model()


@pytest.mark.parametrize("threads", [1, 2])
def test_what_a_damaged_source_gave_before_is_answered(
    model: Path, threads: int, picture: Callable[..., bytes]
) -> None:
    def items() -> Iterator[Item]:
        for number in range(70):
            yield Item(str(number), _read(picture("red")))
        raise SourceError("damaged")

    answered: list[str] = []
    rows = LocalEngine(str(model), "", threads).classify(items(), 1)
    with pytest.raises(SourceError, match="damaged"):
        answered.extend(row.source for row in rows)

    assert answered == [str(number) for number in range(70)]


@pytest.mark.parametrize(
    ("more", "priority"), [((), pb.PRIORITY_INTERACTIVE), (("--out", "rows.csv"), pb.PRIORITY_BULK)]
)
def test_jobs_let_those_go_first_who_wait_for_an_answer(
    more: tuple[str, ...], priority: int, album: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    server = ScriptedServer()
    server.script.models = [pb.Model(name="script", version="1", labels=["any"], is_default=True)]

    result = CliRunner().invoke(cli, ["classify", str(album), "--server", server.address, *more])
    server.stop()

    assert result.exit_code == 0, result.output
    assert server.script.streams == 1
    assert {request.priority for request in server.script.requests} == {priority}
