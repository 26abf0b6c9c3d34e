"""The Node client of examples/node, with @grpc/grpc-js and our .proto file, against a real server."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from cifar10net import Client
from service.server.spawn import ServerProcess
from tests.interop.node import run_node
from tests.service.colours import colour_model

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CODES = {"CODE_UNSUPPORTED_FORMAT": "UNSUPPORTED_FORMAT"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("models") / "colours" / "1"
    folder.mkdir(parents=True)
    (folder / "model.onnx").write_bytes(colour_model())
    log = tmp_path_factory.mktemp("log") / "server.log"
    with ServerProcess("--models", str(folder.parent.parent), log=log) as process:
        yield process.address


def test_node_gets_the_answers_that_python_gets(server: str, root: Path, tmp_path: Path) -> None:
    junk = tmp_path / "junk.png"
    junk.write_bytes(b"junk")
    images = root / "examples" / "images"
    files = [images / "ship.png", images / "dog.jpg", junk, images / "bird-kingfisher.webp"]
    proto = root / "proto" / "cifar10net" / "v1" / "classifier.proto"

    done = run_node(root / "examples" / "node" / "classify.js", server, proto, *files)

    assert (done.returncode, done.stderr) == (0, "")
    told = [json.loads(line) for line in done.stdout.splitlines()]
    with Client(server) as client:
        expected = client.classify(files) * 2  # from a call, and from a stream
    assert [each["file"] for each in told] == [str(file) for file in files] * 2
    for each, result in zip(told, expected, strict=True):
        if result.error is None:
            assert [score["label"] for score in each["classes"]] == [score.label for score in result.classes]
            probabilities = [score["probability"] for score in each["classes"]]
            assert probabilities == pytest.approx([score.probability for score in result.classes], abs=1e-6)
        else:
            assert CODES[each["error"]] == result.error.code.name


def test_node_learns_why_a_call_is_refused(server: str, root: Path) -> None:
    image = root / "examples" / "images" / "ship.png"
    proto = root / "proto" / "cifar10net" / "v1" / "classifier.proto"

    done = run_node(root / "examples" / "node" / "classify.js", server, proto, "--model", "lenet", image)

    assert done.returncode == 2
    assert done.stderr.startswith(f"error: {server} answered NOT_FOUND: no model is called 'lenet'")
