"""The newest version of each model is compared; skipped models are named."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.training.compare.conftest import Node, convolutional, fully_connected, write_model
from training.compare.models import in_repository, named
from training.errors import CheckpointError

if TYPE_CHECKING:
    from pathlib import Path


def test_a_repository_gives_the_newest_version_of_each_model(repository: Path) -> None:
    (repository / "notes.txt").touch()
    (repository / "empty").mkdir()
    convolutional(repository / ".half-written" / "1" / "model.onnx")

    subjects, left_out = in_repository(repository)

    assert [(each.name, each.path.parent.name) for each in subjects] == [("colours", "1"), ("pixels", "10")]
    assert left_out == []


def test_models_that_are_none_of_ours_are_left_out_by_name(repository: Path) -> None:
    flat: list[Node] = [("Flatten", ["pixels"], ["logits"], {})]
    write_model(repository / "wide" / "1" / "model.onnx", flat, {}, classes=3_072)
    (repository / "colours" / "1" / "model.onnx").write_bytes(b"damaged")
    other = convolutional(repository / "others" / "1" / "model.onnx")
    other.write_bytes(other.read_bytes().replace(b"airplane", b"aircraft"))

    subjects, left_out = in_repository(repository)

    assert [each.name for each in subjects] == ["pixels"]
    assert [sentence.split(":")[0] for sentence in left_out] == [
        "left out colours",
        "left out others",
        "left out wide",
    ]
    assert "has the labels 'aircraft," in left_out[1]
    assert "3072" in left_out[2]


def test_a_repository_without_models_is_refused(tmp_path: Path) -> None:
    for root in (tmp_path, tmp_path / "absent"):
        with pytest.raises(CheckpointError, match=r"no model to compare in .*, wanted <model>/<version>/"):
            in_repository(root)


def test_models_are_named_by_file_or_by_folder(repository: Path, tmp_path: Path) -> None:
    alone = fully_connected(tmp_path / "alone.onnx")

    subjects = named([repository / "pixels", alone, repository / "colours" / "1" / "model.onnx", alone])

    assert [each.name for each in subjects] == ["pixels", "alone", "colours"]
    assert subjects[0].path.parent.name == "10"


def test_two_versions_of_a_model_are_told_apart(repository: Path) -> None:
    paths = [repository / "pixels" / version / "model.onnx" for version in ("2", "10")]

    assert [each.name for each in named(paths)] == [str(path) for path in paths]


def test_what_is_named_and_cannot_be_compared_is_refused(repository: Path, tmp_path: Path) -> None:
    unlabelled = write_model(
        tmp_path / "unlabelled.onnx", [("Flatten", ["pixels"], ["logits"], {})], {}, labels=None
    )

    with pytest.raises(CheckpointError, match=r"no model in .*repository: wanted an \.onnx file or a folder"):
        named([repository])
    with pytest.raises(CheckpointError, match=r"no model at .*absent\.onnx"):
        named([tmp_path / "absent.onnx"])
    with pytest.raises(CheckpointError, match=r"unlabelled\.onnx has inputs and outputs"):
        named([unlabelled])
