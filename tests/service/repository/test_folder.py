"""A scan finds complete versions, and files are read only within the repository."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from service.errors import ModelError
from service.repository.folder import read, scan

if TYPE_CHECKING:
    from pathlib import Path


def _put(folder: Path, *names: str) -> None:
    folder.mkdir(parents=True)
    for name in names:
        (folder / name).write_bytes(b"content")


def test_versions_are_folders_with_a_number_and_a_model(tmp_path: Path) -> None:
    for version in ("1", "10", "0", "01", "-1", "draft", "²", ".2", ".3.partial"):
        _put(tmp_path / "net" / version, "model.onnx")
    _put(tmp_path / "net" / "4", "manifest.json")
    _put(tmp_path / "net" / "5", ".model.onnx.partial")
    (tmp_path / "net" / "6").write_bytes(b"")

    assert {name: sorted(versions) for name, versions in scan(tmp_path).items()} == {"net": [1, 10]}


def test_names_that_are_hidden_or_no_text_are_no_models(tmp_path: Path) -> None:
    for name in ("net", ".net", "a\nb", os.fsdecode(b"\xff"), "a b", "lost+found"):
        _put(tmp_path / name / "1", "model.onnx")
    (tmp_path / "README.md").write_bytes(b"")

    assert list(scan(tmp_path)) == ["a b", "net"]


def test_what_leads_nowhere_is_not_there_and_its_neighbours_are(tmp_path: Path) -> None:
    _put(tmp_path / "net" / "1", "model.onnx")
    for place in ("loop", "net/2", "net/loop", "net/3/model.onnx", "net/backup/model.onnx"):
        path = tmp_path / place
        path.parent.mkdir(exist_ok=True)
        path.symlink_to(path.name)
    (tmp_path / "net" / "1" / "manifest.json").symlink_to("manifest.json")

    contents = scan(tmp_path)

    assert {name: list(versions) for name, versions in contents.items()} == {"net": [1]}
    assert not contents["net"][1].has_manifest


def test_a_stamp_changes_with_either_file(tmp_path: Path) -> None:
    folder = tmp_path / "net" / "1"
    _put(folder, "model.onnx")
    looks = [scan(tmp_path)]

    assert not looks[0]["net"][1].has_manifest
    (folder / "manifest.json").write_bytes(b"{}")
    looks.append(scan(tmp_path))
    (folder / "model.onnx").write_bytes(b"longer content")
    looks.append(scan(tmp_path))
    (folder / "new").write_bytes(b"longer content")
    (folder / "new").replace(folder / "model.onnx")
    looks.append(scan(tmp_path))
    (folder / "another").write_bytes(b"is no file of a version")

    assert len({each["net"][1].stamp for each in looks}) == 4
    assert looks[3]["net"][1].has_manifest
    assert scan(tmp_path) == looks[3]


def test_a_folder_without_models_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"has no model: wanted <model>/<version>/model\.onnx"):
        scan(tmp_path)
    with pytest.raises(ModelError, match=r"no model repository at .*none: the folder does not exist"):
        scan(tmp_path / "none")
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ModelError, match=r"cannot read the model repository .*: Not a directory"):
        scan(tmp_path / "file")


def test_links_within_the_repository_are_followed(tmp_path: Path) -> None:
    """As Kubernetes mounts a volume: names lead to a folder that is replaced as a whole."""
    _put(tmp_path / "..data", "model.onnx")
    (tmp_path / "net" / "1").mkdir(parents=True)
    (tmp_path / "net" / "1" / "model.onnx").symlink_to("../../..data/model.onnx")
    (tmp_path / "link").symlink_to(tmp_path)

    assert list(scan(tmp_path / "link")) == ["net"]
    assert read(tmp_path / "link" / "net" / "1" / "model.onnx", tmp_path / "link", 100) == b"content"


@pytest.mark.parametrize("link", ["file", "version", "model", "dots"])
def test_links_that_lead_out_are_refused(tmp_path: Path, link: str) -> None:
    _put(tmp_path / "outside" / "net" / "1", "model.onnx")
    root = tmp_path / "root"
    file = root / "net" / "1" / "model.onnx"
    places: dict[str, tuple[Path, Path | str]] = {
        "file": (file, tmp_path / "outside" / "net" / "1" / "model.onnx"),
        "version": (file.parent, tmp_path / "outside" / "net" / "1"),
        "model": (file.parent.parent, tmp_path / "outside" / "net"),
        "dots": (file, "../../../outside/net/1/model.onnx"),
    }
    at, to = places[link]
    at.parent.mkdir(parents=True)
    at.symlink_to(to)

    with pytest.raises(ModelError, match=r"leads out of the repository, to .*outside"):
        read(file, root, 100)


def test_only_a_file_of_decent_size_is_read(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"12345")
    os.mkfifo(tmp_path / "pipe")

    assert read(tmp_path / "file", tmp_path, 5) == b"12345"
    with pytest.raises(ModelError, match="file has 5 bytes, wanted at most 4"):
        read(tmp_path / "file", tmp_path, 4)
    with pytest.raises(ModelError, match="pipe is not a regular file"):
        read(tmp_path / "pipe", tmp_path, 100)
    with pytest.raises(ModelError, match=r"cannot read .*: Is a directory"):
        read(tmp_path, tmp_path.parent, 100)
    with pytest.raises(ModelError, match=r"cannot read .*none: No such file"):
        read(tmp_path / "none", tmp_path, 100)


def test_a_file_that_is_swapped_or_cut_while_it_is_read_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"12345")
    fstat = os.fstat

    def swap(fd: int) -> os.stat_result:
        status = fstat(fd)
        (tmp_path / "other").write_bytes(b"67890")
        (tmp_path / "other").replace(path)
        return status

    def cut(fd: int) -> os.stat_result:
        status = fstat(fd)
        path.write_bytes(b"1")
        return status

    for meddle in (swap, cut):
        monkeypatch.setattr("service.repository.folder.os.fstat", meddle)
        with pytest.raises(ModelError, match="changed while it was read"):
            read(path, tmp_path, 100)
        monkeypatch.undo()
