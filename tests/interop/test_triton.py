"""The public Triton client gets the same answers as our own client, in every way it can ask."""

from __future__ import annotations

import json
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from cifar10net import Client
from cifar10net.pb import inference_pb2
from tests.interop.conftest import HERE, Script, answers_of
from tests.interop.describe import describe

if TYPE_CHECKING:
    from pathlib import Path

QUESTIONS = (
    "about",
    "plain",
    "classes",
    "compressed",
    "with_parameters",
    "as_cpp",
    "asynchronous",
    "stream",
    "aio",
    "many",
    "memory",
    "repository",
    "statistics",
    "errors",
)
SAME = 1e-6
"""Largest difference of a probability: batches of other sizes are summed in another order."""


@pytest.fixture(scope="module")
def answers(triton: Script, server: str, images_file: Path) -> dict[str, Any]:
    return answers_of(triton(HERE / "ask_triton.py", server, str(images_file), *QUESTIONS))


def _is_same(rows: Any, own_rows: np.ndarray) -> bool:
    return np.shape(rows) == own_rows.shape and np.allclose(rows, own_rows, rtol=0, atol=SAME)


def test_what_it_learns_about_server_and_model_is_true(answers: dict[str, Any]) -> None:
    about = answers["about"]

    ready = [about[key] for key in ("live", "ready", "model ready", "version ready", "other ready")]
    assert ready == [True, True, True, True, False]
    assert (about["server"]["name"], about["server"]["version"]) == ("cifar10net", version("cifar10net"))
    assert {"statistics", "model_repository", "system_shared_memory", "classification"} < set(
        about["server"]["extensions"]
    )
    assert about["model"]["inputs"] == [
        {"name": "images", "datatype": "UINT8", "shape": ["-1", "32", "32", "3"]}
    ]
    assert about["model"]["outputs"] == [{"name": "probabilities", "datatype": "FP32", "shape": ["-1", "10"]}]
    config = about["config"]["config"]
    assert config["input"][0]["format"] == "FORMAT_NHWC"
    assert config["output"][0]["label_filename"] == "labels.txt"
    assert (config["max_batch_size"], config["platform"]) == (4096, "onnxruntime_onnx")
    assert config["instance_group"][0]["count"] == 2


def test_probabilities_are_those_of_our_own_client(answers: dict[str, Any], own_rows: np.ndarray) -> None:
    plain = answers["plain"]

    assert _is_same(plain["rows"], own_rows)
    assert (plain["id"], plain["model"], plain["entries"]) == ("an id", ["cifar10net", "1"], [1, 1])


@pytest.mark.parametrize("question", ["with_parameters", "as_cpp", "asynchronous"])
def test_they_are_the_same_however_it_asks(
    answers: dict[str, Any], own_rows: np.ndarray, question: str
) -> None:
    assert _is_same(answers[question], own_rows)


@pytest.mark.parametrize("way", ["gzip", "deflate"])
def test_they_are_the_same_compressed(answers: dict[str, Any], own_rows: np.ndarray, way: str) -> None:
    assert _is_same(answers["compressed"][way], own_rows)


def test_classes_are_those_of_our_own_client(
    answers: dict[str, Any], server: str, images: np.ndarray
) -> None:
    with Client(server) as client:
        labels = client.models()[0].labels
        results = client.classify(images, top_k=3)

    for words, result in zip(answers["classes"], results, strict=True):
        for word, own in zip(words, result.classes, strict=True):
            value, index, label = word.split(":")
            assert (label, int(index)) == (own.label, labels.index(own.label))
            assert len(value.split(".")[1]) == 6
            assert float(value) == pytest.approx(own.probability, abs=2e-6)


def test_a_stream_answers_in_order_and_goes_on_after_an_error(
    answers: dict[str, Any], own_rows: np.ndarray
) -> None:
    stream = answers["stream"]

    assert stream["ids"] == [str(number) for number in range(20)]
    assert _is_same(stream["rows"], own_rows)
    assert stream["final"]
    assert stream["error at"] == [2]
    assert "no model is called 'other'" in stream["error"][0]


def test_its_asyncio_client_is_answered_alike(answers: dict[str, Any], own_rows: np.ndarray) -> None:
    assert _is_same(answers["aio"]["plain"], own_rows)
    assert _is_same(answers["aio"]["stream"], own_rows)


def test_a_request_over_4_mib_is_answered(answers: dict[str, Any], own_rows: np.ndarray) -> None:
    shape, rows = answers["many"]

    assert shape == [4096, 10]
    assert _is_same(rows, own_rows)


def test_shared_memory_carries_images_and_answers(answers: dict[str, Any], own_rows: np.ndarray) -> None:
    memory = answers["memory"]

    assert _is_same(memory["rows"], own_rows)
    assert memory["sizes"] == {"given": 20 * 3072, "taken": 64 + 800}
    assert (memory["left"], memory["none"]) == (["taken"], {})


def test_a_model_is_unloaded_and_loaded(answers: dict[str, Any]) -> None:
    repository = answers["repository"]

    assert repository["before"] == {"cifar10net": "READY", "colours": "READY"}
    assert repository["meanwhile"] == {"cifar10net": "READY", "colours": "UNAVAILABLE"}
    assert (repository["ready"], repository["gone"]) == ([False, True], "NOT_FOUND")
    assert repository["shape"] == [20, 3]


def test_statistics_rise_by_what_was_asked(answers: dict[str, Any]) -> None:
    (before,), (after,) = (told["model_stats"] for told in answers["statistics"])

    assert (int(after["version"]), after["name"]) == (1, "cifar10net")
    assert int(after["inference_count"]) - int(before["inference_count"]) == 5 * 20
    assert int(after["execution_count"]) - int(before["execution_count"]) == 5
    for name in ("success", "queue", "compute_input", "compute_infer", "compute_output"):
        old, new = (stats["inference_stats"][name] for stats in (before, after))
        assert int(new["count"]) - int(old["count"]) == 5, name
        assert int(new["ns"]) > int(old["ns"]), name
    assert int(after["last_inference"]) > int(before["last_inference"])
    old, new = (
        {batch["batch_size"]: int(batch["compute_infer"]["count"]) for batch in stats["batch_stats"]}
        for stats in (before, after)
    )
    assert new["20"] - old["20"] == 5


@pytest.mark.parametrize(
    ("question", "code", "message"),
    [
        ("model", "NOT_FOUND", "no model is called 'other'"),
        ("version", "NOT_FOUND", "no version '99'"),
        ("metadata", "NOT_FOUND", "no model is called 'other'"),
        ("config", "NOT_FOUND", "no model is called 'other'"),
        ("input", "INVALID_ARGUMENT", "expected 'images' alone"),
        ("no input", "INVALID_ARGUMENT", "has no input"),
        ("two inputs", "INVALID_ARGUMENT", "has 2 inputs"),
        ("datatype", "INVALID_ARGUMENT", "expected 'UINT8'"),
        ("shape", "INVALID_ARGUMENT", "[1,16,32,3], expected [n,32,32,3]"),
        ("output", "INVALID_ARGUMENT", "expected 'probabilities'"),
        ("classification", "INVALID_ARGUMENT", "classification -1"),
        ("timeout", "DEADLINE_EXCEEDED", ""),
        ("region", "NOT_FOUND", "no region of shared memory is called 'other'"),
        ("trace", "UNIMPLEMENTED", "there is no method"),
    ],
)
def test_an_error_has_its_status_and_says_why(
    answers: dict[str, Any], question: str, code: str, message: str
) -> None:
    got_code, got_message = answers["errors"][question]

    assert got_code == code
    assert message in got_message


def test_every_part_of_our_messages_is_what_the_client_takes_it_for(triton: Script) -> None:
    theirs = answers_of(triton(HERE / "describe.py"))

    ours = json.loads(json.dumps(describe(inference_pb2)))
    assert len(ours) > 60
    for name, parts in ours.items():
        assert parts.items() <= theirs[name].items(), name


# -- pictures, as the public example asks about them


@pytest.mark.parametrize("batch", [1, 4])
@pytest.mark.parametrize("way", ["sync", "async", "streaming"])
def test_pictures_are_classified_as_by_our_own_client(
    triton: Script, server: str, pictures: Path, way: str, batch: int
) -> None:
    flags = (
        "--address",
        server,
        "--model",
        "cifar10net",
        "--classes",
        "3",
        "--way",
        way,
        "--batch",
        str(batch),
    )

    printed = triton(HERE / "classify_pictures.py", *flags, str(pictures))

    told = [json.loads(line) for line in printed.splitlines()]
    names = sorted(path.name for path in pictures.iterdir())
    count = -(-len(names) // batch) * batch
    assert [name for name, _ in told] == (names * batch)[:count]
    with Client(server) as client:
        labels = client.models()[0].labels
        results = client.classify([pictures / name for name, _ in told], top_k=3)
    for (_, words), result in zip(told, results, strict=True):
        assert [label for _, _, label in words] == [each.label for each in result.classes]
        assert [int(index) for _, index, _ in words] == [labels.index(each.label) for each in result.classes]
        for (value, _, _), own in zip(words, result.classes, strict=True):
            assert float(value) == pytest.approx(own.probability, abs=2e-6)
