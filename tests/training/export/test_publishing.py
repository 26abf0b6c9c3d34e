"""A version appears whole or not at all, and another model is not replaced by accident."""

from __future__ import annotations

import json
from hashlib import sha256
from typing import TYPE_CHECKING

import pytest

from training import atomic_files as files
from training.errors import ExportError, WriteError
from training.export import publishing
from training.export.publishing import is_newest, publish

if TYPE_CHECKING:
    from pathlib import Path


def _manifest(model: bytes) -> str:
    return json.dumps({"format": 1, "files": {"model.onnx": {"sha256": sha256(model).hexdigest()}}})


def _content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def _put(folder: Path, model: bytes, *, may_replace: bool = False) -> None:
    publish(folder, model, _manifest(model), may_replace=may_replace)


def test_a_new_version_appears_under_its_name_with_both_files_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "net" / "3"
    seen: list[set[str]] = []
    write = publishing._write_to_disk

    def look_and_write(path: Path, content: bytes) -> None:
        write(path, content)
        seen.append({each.name for each in folder.parent.iterdir()})

    monkeypatch.setattr(publishing, "_write_to_disk", look_and_write)
    _put(folder, b"model")

    assert _content(folder) == {"model.onnx": b"model", "manifest.json": _manifest(b"model").encode()}
    assert [path.name for path in folder.parent.iterdir()] == ["3"]
    assert len(seen) == 2
    assert all(name.startswith(".") for names in seen for name in names)


def test_what_could_not_be_written_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_path: Path, _content: bytes) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(publishing, "_write_to_disk", full)
    with pytest.raises(WriteError, match="No space left"):
        _put(tmp_path / "net" / "1", b"model")

    assert list((tmp_path / "net").iterdir()) == []


def test_the_same_model_again_changes_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "net" / "1"
    _put(folder, b"model")
    before = {path: path.stat() for path in folder.iterdir()}

    _put(folder, b"model")

    assert {path: path.stat() for path in folder.iterdir()} == before


@pytest.mark.parametrize("old", [None, "", "{}", "[]", '{"format": 1, "files": {}}', _manifest(b"other")])
def test_a_version_without_its_manifest_gets_one(tmp_path: Path, old: str | None) -> None:
    folder = tmp_path / "net" / "1"
    folder.mkdir(parents=True)
    (folder / "model.onnx").write_bytes(b"model")
    if old is not None:
        (folder / "manifest.json").write_text(old)

    _put(folder, b"model")

    assert _content(folder) == {"model.onnx": b"model", "manifest.json": _manifest(b"model").encode()}


def test_another_model_is_replaced_only_when_that_is_asked_for(tmp_path: Path) -> None:
    folder = tmp_path / "net" / "1"
    _put(folder, b"old")

    with pytest.raises(ExportError, match=r"1 holds another model already; .* --model-version, or give"):
        _put(folder, b"new")
    assert _content(folder)["model.onnx"] == b"old"

    _put(folder, b"new", may_replace=True)
    assert _content(folder) == {"model.onnx": b"new", "manifest.json": _manifest(b"new").encode()}


def test_the_manifest_is_replaced_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In between, the digest does not match."""
    folder = tmp_path / "net" / "1"
    _put(folder, b"old")
    between: list[dict[str, bytes]] = []
    replacing = files.replacing

    def look_and_replace(path: Path) -> object:
        between.append(_content(folder))
        return replacing(path)

    monkeypatch.setattr(files, "replacing", look_and_replace)
    _put(folder, b"new", may_replace=True)

    old = _manifest(b"old").encode()
    assert between == [
        {"model.onnx": b"old", "manifest.json": old},
        {"model.onnx": b"new", "manifest.json": old},
    ]


def test_the_newest_version_is_the_one_with_the_highest_number(tmp_path: Path) -> None:
    for version in ("9", "10"):
        _put(tmp_path / version, b"model")
    (tmp_path / "11").mkdir()  # without a model
    _put(tmp_path / "draft", b"model")

    assert is_newest(tmp_path / "10")
    assert not is_newest(tmp_path / "9")


def test_what_looks_inside_a_model_comes_and_goes_with_it(tmp_path: Path) -> None:
    folder = tmp_path / "net" / "1"

    def put(model: bytes, inside: bytes | None) -> set[tuple[str, bytes]]:
        publish(folder, model, _manifest(model), may_replace=True, inside=inside)
        return {(name, content) for name, content in _content(folder).items() if name != "manifest.json"}

    assert put(b"one", b"of one") == {("model.onnx", b"one"), ("inside.onnx", b"of one")}
    assert put(b"two", b"of two") == {("model.onnx", b"two"), ("inside.onnx", b"of two")}
    assert put(b"three", None) == {("model.onnx", b"three")}
    assert put(b"three", b"of three") == {("model.onnx", b"three"), ("inside.onnx", b"of three")}
