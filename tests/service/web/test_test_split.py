"""Test sets of all forms are loaded, classified and counted correctly."""

from __future__ import annotations

import asyncio
import io
import math
import pickle
import tarfile
import zipfile
from typing import TYPE_CHECKING, Any

import grpc
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from cifar10net import Client
from cifar10net.errors import ClientError
from cifar10net.messages import ClassScore, ImageResult, ModelDescription
from service.errors import SourceError
from service.web.backend import Answer
from service.web.test_evaluation import BackgroundEvaluation
from service.web.test_split import LabelledImages, load_test_split
from tests.conftest import CLASSES

if TYPE_CHECKING:
    from pathlib import Path

    from tests.service.web.pages import Page


def _known(folder: Path) -> tuple[np.ndarray, list[str]]:
    """Read the pictures of ``test/<class>`` in the order of their names."""
    paths = sorted((folder / "test").glob("*/*.png"))
    return np.stack([np.asarray(Image.open(path)) for path in paths]), [path.parent.name for path in paths]


def _summary(page: Page, query: str = "") -> Any:
    """Wait until the whole test set is classified."""
    while True:
        response = page.json(f"v1/test/summary{query}")
        assert response["problem"] == ""
        if response["done"] == response["of"]:
            return response


def test_the_summary_is_that_of_the_servers_answers(page: Page, answering: str, synthetic: Path) -> None:
    images, labels = _known(synthetic)
    with Client(answering) as client:
        answers = [result.best.label for result in client.classify(images, model="lenet")]
    confusion = np.zeros((10, 10), int)
    for label, answer in zip(labels, answers, strict=True):
        confusion[CLASSES.index(label), CLASSES.index(answer)] += 1
    accuracy = np.trace(confusion) / 1_000

    response = _summary(page, "?model=lenet")

    assert (response["done"], response["of"], response["labels"]) == (1_000, 1_000, list(CLASSES))
    assert response["confusion"] == confusion.tolist()
    assert response["right"] == np.trace(confusion)
    assert response["accuracy"] == pytest.approx(accuracy)
    assert response["standard_error"] == pytest.approx(math.sqrt(accuracy * (1 - accuracy) / 1_000))


def test_random_images_come_with_the_models_answers(page: Page, dog: bytes) -> None:
    response = page.json("v1/test?count=7&seed=3&model=lenet")

    assert (len(response["images"]), response["of"]) == (7, 1_000)
    for image in response["images"]:
        picture = page.get(image["url"])
        page.check("GET", image["url"], picture)
        [answer] = page.json("v1/classify?model=lenet", picture.body)["results"]
        assert [one["label"] for one in image["top"]] == [one["label"] for one in answer["top"]]
        assert image["is_right"] == (image["top"][0]["label"] == image["label"])
    assert page.json("v1/test?count=7&seed=3&model=lenet") == response
    assert page.json("v1/test?count=7&seed=4&model=lenet") != response
    page.json("v1/classify", dog)


def test_images_can_be_filtered_by_class_or_mistakes(page: Page) -> None:
    cats = page.json("v1/test?class=cat&count=100")
    summary = _summary(page)
    mistakes = page.json("v1/test?mistakes=true&count=200")

    assert cats["of"] == 100
    assert {image["label"] for image in cats["images"]} == {"cat"}
    assert mistakes["of"] == summary["done"] - summary["right"]
    assert not any(image["is_right"] for image in mistakes["images"])
    assert len({image["index"] for image in mistakes["images"]}) == 200


def test_invalid_parameters_are_refused(page: Page) -> None:
    for path in ("v1/test?class=whale", "v1/test?mistakes=maybe", "v1/test?count=0", "v1/test?seed=-1"):
        page.problem(400, path)
    page.problem(404, "v1/test?model=none")
    page.problem(404, "v1/test/images/1000.png")


def _batch(images: np.ndarray, labels: list[str]) -> bytes:
    """Encode images as the test batch of the CIFAR-10 archive."""
    numbers = [CLASSES.index(label) for label in labels]
    rows = images.transpose(0, 3, 1, 2).reshape(len(images), -1)
    return pickle.dumps({b"data": np.ascontiguousarray(rows), b"labels": numbers}, protocol=2)


def test_every_form_of_a_test_set_holds_the_same_images(synthetic: Path, tmp_path: Path) -> None:
    images, labels = _known(synthetic)
    paths = sorted((synthetic / "test").glob("*/*.png"))
    with (
        zipfile.ZipFile(tmp_path / "plain.zip", "w") as plain,
        zipfile.ZipFile(tmp_path / "deep.zip", "w") as deep,
    ):
        for path in paths:
            name = path.relative_to(synthetic).as_posix()
            plain.write(path, name)
            plain.writestr(name.replace("test/", "train/"), b"never read")
            deep.write(path, f"cifar/{name}")
    (tmp_path / "cifar-10-batches-py").mkdir()
    (tmp_path / "cifar-10-batches-py" / "test_batch").write_bytes(_batch(images, labels))
    with tarfile.open(tmp_path / "cifar-10-python.tar.gz", "w:gz") as archive:
        archive.add(tmp_path / "cifar-10-batches-py", "cifar-10-batches-py")
    table = pa.table(
        {
            "image": [path.read_bytes() for path in paths],
            "label": [CLASSES.index(label) for label in labels],
        }
    )
    pq.write_table(table, tmp_path / "test.parquet")

    for place in (
        synthetic,
        tmp_path / "plain.zip",
        tmp_path / "deep.zip",
        tmp_path / "cifar-10-batches-py",
        tmp_path,
        tmp_path / "cifar-10-python.tar.gz",
        tmp_path / "test.parquet",
    ):
        found = load_test_split(place)
        assert np.array_equal(found.pixels, images), place
        assert found.indices(CLASSES).tolist() == [CLASSES.index(label) for label in labels], place


class _Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return print, ("run",)


def test_damaged_and_foreign_files_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    evil = pickle.dumps({b"data": _Evil(), b"labels": [0]})
    nothing = io.BytesIO()
    with zipfile.ZipFile(nothing, "w") as archive:
        archive.writestr("train/cat/1.png", b"")
    cases: list[tuple[str, bytes, str, str]] = [
        ("other.txt", b"", "none", "is not a test set: wanted a zip or folder"),
        ("test/cat/1.png", b"no picture", "", "which is no JPEG"),
        ("test_batch", b"no pickle", "", "is not a CIFAR-10 batch"),
        ("test_batch", evil, "", "asks for builtins.print"),
        ("a.tar.gz", b"none", "a.tar.gz", "is not a complete archive"),
        ("a.zip", nothing.getvalue(), "a.zip", "no test images"),
        ("test/notes.txt", b"", "", "no test images"),
    ]
    for number, (name, content, place, sentence) in enumerate(cases):
        file = tmp_path / str(number) / name
        file.parent.mkdir(parents=True)
        file.write_bytes(content)
        with pytest.raises(SourceError, match=sentence):
            load_test_split(tmp_path / str(number) / place)
    assert capsys.readouterr().out == ""


class _Backend:
    """Answers cat for every image, and fails after 300 images until it is reset."""

    kind = address = "made up"

    def __init__(self) -> None:
        self.classified = 0
        self.is_away = False

    async def models(self) -> list[ModelDescription]:
        return []

    async def classify(self, images: np.ndarray, **_options: Any) -> Answer:
        if self.is_away:
            raise ClientError(grpc.StatusCode.UNAVAILABLE, "gone")
        self.classified += len(images)
        if self.classified > 300:
            self.is_away = True
        cat = ClassScore(0, "cat", 1.0)
        return Answer([ImageResult((cat,), None, "net", "1")] * len(images), {})

    async def close(self) -> None:
        pass


def test_answers_are_kept_while_the_server_is_away() -> None:
    async def scenario() -> tuple[dict[str, Any], dict[str, Any], int]:
        backend = _Backend()
        model = ModelDescription("net", "1", ("cat", "dog"), "CPU", is_default=True, metadata={})
        images = LabelledImages(
            np.zeros((1_000, 32, 32, 3), np.uint8), ("cat",) * 499 + ("dog",) * 499 + ("whale",) * 2
        )
        evaluation = BackgroundEvaluation(backend, model, images)
        evaluation.start()
        while not evaluation.problem:
            await asyncio.sleep(0)
        away = evaluation.summary()
        backend.is_away, backend.classified = False, -1_000
        evaluation.start()
        while evaluation.summary()["done"] < 998:
            await asyncio.sleep(0)
        back = evaluation.summary()
        await evaluation.stop()
        return away, back, backend.classified

    away, back, classified = asyncio.run(scenario())

    assert away["problem"] == "gone"
    assert 380 < away["done"] <= 384
    assert 0.4 < away["accuracy"] < 0.6  # in random order
    assert (back["of"], back["right"], back["problem"]) == (998, 499, "")
    assert back["confusion"] == [[499, 0], [499, 0]]
    assert classified == -1_000 + 1_000 - 384
