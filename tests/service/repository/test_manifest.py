"""A manifest is not trusted, and a model that differs from its manifest is refused."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.errors import ModelError
from service.repository.manifest import parse
from service.runtime.model import ModelFile, ModelInfo
from tests.service.colours import colour_model
from tests.service.manifests import manifest

PATH = Path("colours/1/manifest.json")
CONTENT = colour_model()


def _changed(**changes: Any) -> bytes:
    return manifest(CONTENT, **changes)


def _golden(**changes: Any) -> bytes:
    told = json.loads(manifest(CONTENT))
    told["golden"][1] |= changes
    return json.dumps(told).encode()


def test_a_manifest_of_ours_is_read() -> None:
    told = parse(manifest(CONTENT), PATH)

    assert (told.input_name, told.output_name) == ("images", "probabilities")
    assert told.labels == ("red", "green", "blue")
    assert told.size_bytes == len(CONTENT)
    assert told.golden.images.shape == (3, 32, 32, 3)
    assert told.golden.probabilities.argmax(axis=1).tolist() == [0, 1, 2]


def test_the_exports_manifest_is_read(root: Path) -> None:
    """Written by the one program, read by the other, which share no code."""
    path = root / "exported_models/cifar10net/1/manifest.json"

    told = parse(path.read_bytes(), path)

    file = ModelFile(path, "cifar10net", 1, (path.parent / "model.onnx").read_bytes())
    told.check_file(file)
    assert len(told.labels) == 10
    assert len(told.golden.images) == 4


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "has invalid JSON"),
        (b"\xff\xfe", "has invalid JSON"),
        (b"[" * 100_000, "has invalid JSON"),
        (b"[]", "no int at format"),
        (b"{}", "no int at format"),
        (_changed(format=True), "no int at format"),
        (_changed(format=2), r"has format 2, and this server reads 1; upgrade"),
        (_changed(files={}), r"files other than model\.onnx"),
        (_changed(files={"model.onnx": {}, "../../etc/passwd": {}}), r"files other than model\.onnx"),
        (_changed(files={"model.onnx": "abc"}), r"no str at files\.model\.onnx\.sha256"),
        (
            _changed(files={"model.onnx": {"sha256": "a" * 64, "bytes": 1.5}}),
            r"no int at files\.model\.onnx\.bytes",
        ),
        *(
            (
                _changed(files={"model.onnx": {"sha256": digest, "bytes": 1}}),
                r"no SHA-256 at files\.model\.onnx",
            )
            for digest in ("", "\ud800", "a" * 100_000, "A" * 64, f"{'a' * 64}\n")
        ),
        (_changed(labels="red"), "no list at labels"),
        (_changed(labels=["red", 2]), "labels that are not text"),
        (_changed(labels=["red"]), r"output .*wanted .*\[-1, 1\]"),
        (
            _changed(input={"name": "images", "datatype": "float32", "shape": [-1, 32, 32, 3]}),
            "wanted .*uint8",
        ),
        (_changed(input={"datatype": "uint8", "shape": [-1, 32, 32, 3]}), r"no str at input\.name"),
        (_changed(golden=[]), "0 golden answers, wanted 1 to 64"),
        (_changed(golden=[{}] * 65), "65 golden answers"),
        (_golden(image="?"), "not base64"),
        (_golden(image="AAAA"), "a golden image of 3 bytes, wanted 3,072"),
        (_golden(probabilities=[1, 0]), "not 3 probabilities each"),
        (_golden(probabilities=[1, 0, "0"]), "not 3 probabilities each"),
        (_golden(probabilities=[1, 0, float("nan")]), "not 3 probabilities each"),
        (_golden(probabilities=[1, 0, 10**400]), "not 3 probabilities each"),
    ],
)
def test_a_bad_manifest_is_one_sentence(content: bytes, message: str) -> None:
    with pytest.raises(ModelError, match=message) as caught:
        parse(content, PATH)

    assert str(caught.value).startswith(str(PATH))
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500


@given(st.binary(max_size=200), st.integers(0, 10_000))
def test_no_bytes_do_more_than_be_refused(inserted: bytes, position: int) -> None:
    whole = manifest(CONTENT)
    position %= len(whole)
    for content in (inserted, whole[:position] + inserted + whole[position + len(inserted) :]):
        try:
            parse(content, PATH)
        except ModelError as error:
            assert len(str(error)) < 500  # noqa: PT017 - any other error fails the test


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (CONTENT[:-1], r"has 3\d\d bytes, and manifest\.json says 3\d\d: it is incomplete"),
        (
            CONTENT[:-1] + b"?",
            r"has the SHA-256 [0-9a-f]{64}, and manifest\.json says [0-9a-f]{64}: it is damaged",
        ),
    ],
)
def test_a_file_that_is_not_the_one_that_is_named_is_refused(content: bytes, message: str) -> None:
    told = parse(manifest(CONTENT), PATH)

    with pytest.raises(ModelError, match=message):
        told.check_file(ModelFile(PATH, "colours", 1, content))


@pytest.mark.parametrize(
    "change", [{"input_name": "x"}, {"output_name": "y"}, {"labels": ("green", "red", "blue")}]
)
def test_a_model_of_another_signature_or_order_of_labels_is_refused(change: dict[str, Any]) -> None:
    told = parse(manifest(CONTENT), PATH)
    info = ModelInfo("colours", 1, ("red", "green", "blue"), "CPUExecutionProvider", {})
    told.check_model(info)

    with pytest.raises(ModelError, match=r"colours version 1 has input, output and labels .*, and .* says"):
        told.check_model(dataclasses.replace(info, **change))
