"""Every kind of source yields the same pictures, in order, and reports what it cannot read."""

from __future__ import annotations

import base64
import csv
import io
import json
import os
import tarfile
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cifar10net.errors import ImageError, ImageErrorCode
from service.batch.item import ReadMode
from service.batch.prefetch import prefetch
from service.batch.sources import Sources
from service.batch.sources.selection import Selection
from service.errors import SourceError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ALBUM = [
    "blue/0.png", "blue/1.png", "blue/2.png", "blue/torn.jpg",
    "green/0.png", "green/1.png", "green/2.png", "red/0.png", "red/1.png", "red/2.png",
]  # fmt: skip


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _names(*places: str, **options: Any) -> list[str]:
    return [item.source for item in Sources(places, **options).items()]


def _contents(*places: str, **options: Any) -> list[bytes]:
    return [item.read() for item in prefetch(Sources(places, **options).items())]


def _files(album: Path) -> list[bytes]:
    return [(album / name).read_bytes() for name in ALBUM]


def _zip(album: Path, path: Path, method: int = zipfile.ZIP_STORED) -> str:
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr("notes.md", "no picture")
        for name in ALBUM:
            archive.write(album / name, name)
    return str(path)


def _tar(album: Path, path: Path, mode: Any) -> str:
    with tarfile.open(path, mode) as archive:
        archive.add(album, "", filter=lambda info: info if "." in info.name or info.isdir() else None)
    return str(path)


def test_a_folder_is_walked_by_name_and_only_its_pictures_are_taken(album: Path, here: Path) -> None:
    assert _names("album") == [f"album/{name}" for name in ALBUM]
    assert _names("album/") == _names("album")
    assert _contents("album") == _files(album)
    assert Sources(["album"]).count() == len(ALBUM)
    assert here


def test_a_link_to_itself_is_an_input_that_cannot_be_read(album: Path) -> None:
    (album / "red" / "loop.jpg").symlink_to("loop.jpg")

    items = {item.source: item for item in Sources([str(album)]).items()}

    assert len(items) == len(ALBUM) + 1
    with pytest.raises(ImageError, match="cannot be read: Too many levels of symbolic links"):
        items[f"{album}/red/loop.jpg"].read()


def test_patterns_fit_names_within_folders_and_doublestars_folders(album: Path, here: Path) -> None:
    assert _names("album/*/0.png") == [f"album/{colour}/0.png" for colour in ("blue", "green", "red")]
    assert _names("album/**/[12].png") == [f"album/{name}" for name in ALBUM if name[-5] in "12"]
    assert _names("album/*.md") == ["album/notes.md"]
    assert _names("album/re?/[!0-1].png") == ["album/red/2.png"]
    assert _names("album/red/.h*") == ["album/red/.hidden.png"]
    assert _names(f"{here}/album/**")[-1] == f"{here}/album/red/2.png"
    assert album
    with pytest.raises(SourceError, match=r"no file matches album/\*\.tiff"):
        _names("album/*.tiff")


def test_a_name_with_the_signs_of_a_pattern_is_that_file(here: Path) -> None:
    (here / "a[1].png").write_bytes(b"x")

    assert _contents("a[1].png") == [b"x"]


@pytest.mark.parametrize("depth", [0, 1, 3])
def test_a_pattern_looks_no_deeper_than_it_is_long(depth: int) -> None:
    assert Selection("/".join(["*"] * (depth + 1))).depth == depth
    assert Selection("a/**").depth is None


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_zip_is_read_in_place(album: Path, here: Path, method: int) -> None:
    archive = _zip(album, here / "album.zip", method)

    assert _names(archive) == [f"{archive}/{name}" for name in ALBUM]
    assert _contents(archive) == _files(album)
    assert Sources([archive]).count() == len(ALBUM)
    assert _names(f"{archive}/green") == [f"{archive}/green/{number}.png" for number in range(3)]
    assert _names(f"{archive}/*/1.*") == [f"{archive}/{colour}/1.png" for colour in ("blue", "green", "red")]
    assert _contents(f"{archive}/notes.md") == [b"no picture"]


def test_a_zip_with_long_numbers_and_something_before_it_is_read(
    album: Path, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for limit in ("ZIP_FILECOUNT_LIMIT", "ZIP64_LIMIT"):
        monkeypatch.setattr(zipfile, limit, 2)
    content = Path(_zip(album, here / "plain.zip")).read_bytes()
    (here / "album.zip").write_bytes(content)

    assert b"PK\6\6" in content
    assert _contents("album.zip") == _files(album)

    monkeypatch.undo()
    monkeypatch.chdir(here)
    content = Path(_zip(album, here / "plain.zip")).read_bytes()
    (here / "album.zip").write_bytes(b"#!/bin/sh\n" + content)

    assert _contents("album.zip") == _files(album)


def test_a_zip_whose_directory_is_longer_than_a_piece_is_read_whole(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.batch.sources.zips._PIECE_BYTES", 100)
    with zipfile.ZipFile(here / "many.zip", "w") as archive:
        for number in range(50):
            archive.writestr(f"{number:030}.png", str(number))

    assert _contents("many.zip") == [str(number).encode() for number in range(50)]


def test_damage_within_a_zip_is_one_members(album: Path, here: Path) -> None:
    archive = Path(_zip(album, here / "album.zip"))
    content = bytearray(archive.read_bytes())
    place = content.index(_files(album)[4])
    content[place + 50] ^= 1
    archive.write_bytes(content)

    items = list(Sources([str(archive)]).items())

    with pytest.raises(ImageError, match="checksum"):
        items[4].read()
    assert [items[index].read() for index in (3, 5)] == [_files(album)[index] for index in (3, 5)]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "it has no directory"),
        (b"PK\3\4 but no more", "no directory"),
        (b"cut", "cut off|within an entry"),
    ],
)
def test_what_is_no_zip_is_refused(album: Path, here: Path, content: bytes, reason: str) -> None:
    if content == b"cut":
        content = Path(_zip(album, here / "whole.zip")).read_bytes()[700:]
    (here / "album.zip").write_bytes(content)

    with pytest.raises(SourceError, match=reason):
        _names("album.zip")


@pytest.mark.parametrize(("suffix", "mode"), [(".tar", "w"), (".tar.gz", "w:gz"), (".tar.xz", "w:xz")])
def test_a_tar_is_read_in_place(album: Path, here: Path, suffix: str, mode: str) -> None:
    archive = _tar(album, here / f"album{suffix}", mode)

    assert sorted(_names(archive)) == [f"{archive}/{name}" for name in ALBUM]
    assert sorted(_contents(archive)) == sorted(_files(album))
    assert sorted(_contents(f"{archive}/red")) == sorted(_contents("album/red"))
    assert {item.read_mode for item in Sources([archive]).items()} == {
        ReadMode.DIRECT if suffix == ".tar" else ReadMode.STREAMED
    }


@pytest.mark.parametrize(("suffix", "mode"), [(".tar", "w"), (".tar.gz", "w:gz")])
def test_a_truncated_or_damaged_tar_is_an_error_and_not_taken_for_the_end(
    album: Path, here: Path, suffix: str, mode: str
) -> None:
    archive = Path(_tar(album, here / f"album{suffix}", mode))
    content = archive.read_bytes()
    archive.write_bytes(content[: len(content) // 2])

    with pytest.raises(SourceError, match="is damaged"):
        _contents(str(archive)) if suffix == ".tar.gz" else _names(str(archive))

    if suffix == ".tar":
        place = content.index(b"green/1.png")
        archive.write_bytes(content[:place] + b"GREEN" + content[place + 5 :])  # its checksum says otherwise

        with pytest.raises(
            SourceError, match=r"is damaged after .* (bad checksum|the next header is invalid)"
        ):
            _names(str(archive))


def _parquet(path: Path, metadata: dict[str, str] | None = None, **values: Any) -> str:
    table = pa.table(values)
    if metadata is not None:
        table = table.replace_schema_metadata(metadata)
    pq.write_table(table, path, row_group_size=4)
    return str(path)


def test_parquet_has_images_as_hugging_face_writes_them(album: Path, here: Path) -> None:
    held: list[dict[str, Any]] = [{"bytes": data, "path": None} for data in _files(album)]
    held[1] = {"bytes": None, "path": str(album / ALBUM[1])}
    features = {"info": {"features": {"label": {"names": ["blue", "green", "red"]}}}}
    labels = [("blue", "green", "red").index(name.split("/", maxsplit=1)[0]) for name in ALBUM]
    file = _parquet(here / "album.parquet", {"huggingface": json.dumps(features)}, image=held, label=labels)

    items = list(Sources([file], labels="label").items())

    assert [item.source for item in items] == [f"{file}#{row}" for row in range(len(ALBUM))]
    assert [item.read() for item in items] == _files(album)
    assert [item.label for item in items] == [name.split("/", maxsplit=1)[0] for name in ALBUM]
    assert Sources([file]).count() == len(ALBUM)


def test_parquet_has_images_or_paths_in_the_column_that_is_named(album: Path, here: Path) -> None:
    paths = [str(album / name) for name in ALBUM]
    file = _parquet(here / "album.parquet", pixels=_files(album), where=[*paths[:-1], None])

    assert _contents(file, column="pixels") == _files(album)
    items = list(Sources([file], column="where").items())
    assert [item.source for item in items] == [*paths[:-1], f"{file}#9"]
    assert items[0].read() == _files(album)[0]
    with pytest.raises(ImageError, match="has no path"):
        items[-1].read()
    with pytest.raises(SourceError, match=r"no column with a usual name .*; it has: pixels, where"):
        Sources([file])
    with pytest.raises(SourceError, match=r"no column 'kind' for --labels"):
        Sources([file], column="where", labels="kind")


def test_parquet_skips_rows_without_reading_their_images(album: Path, here: Path) -> None:
    file = _parquet(here / "album.parquet", image=_files(album))

    items = list(Sources([file]).items(names_only=9))

    assert [item.source for item in items] == [f"{file}#{row}" for row in range(len(ALBUM))]
    with pytest.raises(ImageError):
        items[7].read()
    assert [item.read() for item in items[8:]] == _files(album)[8:]


def test_a_list_has_a_path_a_line(album: Path, here: Path) -> None:
    (here / "list.txt").write_bytes("\ufeffalbum/red/0.png\r\n\nalbum/none.png\n".encode() + b"b\xff.png")
    (here / os.fsdecode(b"b\xff.png")).write_bytes(b"odd")

    items = list(Sources(["list.txt"]).items())

    assert [item.source for item in items] == ["album/red/0.png", "album/none.png", "b\\udcff.png"]
    assert items[0].read() == (album / "red/0.png").read_bytes()
    assert items[2].read() == b"odd"
    with pytest.raises(ImageError, match="cannot be read: No such file or directory"):
        items[1].read()


def test_json_lines_have_paths_images_and_labels(
    album: Path, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = base64.b64encode(b"image").decode()
    lines = ['"album/red/0.png"', json.dumps({"path": "album/red/1.png", "kind": "red"})]
    lines += [json.dumps({"image": image, "kind": 2}), '{"image": "?"}', "[1]", '{"path":', '{"kind": "red"}']
    (here / "list.jsonl").write_text("\n".join(lines))

    items = list(Sources(["list.jsonl"], labels="kind").items())

    assert [item.source for item in items[:3]] == ["album/red/0.png", "album/red/1.png", "list.jsonl#3"]
    assert [item.label for item in items[:3]] == [None, "red", 2]
    assert [item.read() for item in items[:3]] == [
        *((album / f"red/{number}.png").read_bytes() for number in range(2)),
        b"image",
    ]
    for item in items[3:]:
        with pytest.raises(ImageError) as caught:
            item.read()
        assert caught.value.code is ImageErrorCode.UNREADABLE_FILE
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO("\n".join([*lines[:2], "album"]).encode())))
    assert _names("-") == ["album/red/0.png", "album/red/1.png", "album"]


def test_csv_has_a_path_a_line(album: Path, here: Path) -> None:
    with (here / "list.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["id", "path", "kind"], [1, "album/red/0.png", "red"], [2, "", "red"]])

    items = list(Sources(["list.csv"], labels="kind").items())

    assert [(item.source, item.label) for item in items] == [("album/red/0.png", "red"), ("list.csv#3", None)]
    assert items[0].read() == (album / "red/0.png").read_bytes()


@pytest.fixture
def store(album: Path) -> Iterator[str]:
    """Put the album into an object store in memory."""
    memory = fsspec.filesystem("memory")
    for name in ALBUM:
        memory.pipe(f"/album/{name}", (album / name).read_bytes())
    yield "memory://album"
    memory.rm("/", recursive=True)


def test_object_stores_have_files_folders_patterns_and_archives(store: str, album: Path, here: Path) -> None:
    memory = fsspec.filesystem("memory")
    memory.pipe("/a.zip", Path(_zip(album, here / "a.zip")).read_bytes())
    memory.pipe("/a.tar", Path(_tar(album, here / "a.tar", "w")).read_bytes())
    memory.pipe("/a.parquet", Path(_parquet(here / "a.parquet", image=_files(album))).read_bytes())
    memory.pipe("/list.txt", f"{store}/red/0.png\n{store}/none.png\nfile://{album}/red/1.png\n".encode())

    assert _names(f"{store}/") == [f"{store}/{name}" for name in ALBUM]
    assert _contents(f"{store}/") == _files(album)
    assert _names(f"{store}/*/2.png") == [f"{store}/{colour}/2.png" for colour in ("blue", "green", "red")]
    assert _contents("memory://a.zip") == _files(album)
    assert _contents("memory://a.zip/red") == _files(album)[-3:]
    assert sorted(_contents("memory://a.tar")) == sorted(_files(album))
    assert _contents("memory://a.parquet") == _files(album)
    items = list(prefetch(Sources(["memory://list.txt"]).items()))
    assert [items[index].read() for index in (0, 2)] == [_files(album)[-3], _files(album)[-2]]
    with pytest.raises(ImageError, match="No such file"):
        items[1].read()


def test_unknown_schemes_and_those_that_need_a_package_are_an_error(here: Path) -> None:
    assert here
    with pytest.raises(ImageError, match="Protocol not known: nowhere"):
        _contents("nowhere://a/b.png")
    with pytest.raises(SourceError, match="s3:// needs another package"):
        _contents("s3://bucket/b.png")


@pytest.mark.parametrize("place", ["none.zip", "none.tar.gz", "none.parquet", "none.txt", "none.csv"])
def test_a_source_of_many_that_is_missing_is_refused_at_once(here: Path, place: str) -> None:
    assert here
    with pytest.raises(SourceError, match="cannot be read: No such file or directory"):
        Sources([place])


def test_a_missing_extra_is_named(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (here / "a.parquet").write_bytes(b"")
    monkeypatch.setitem(os.sys.modules, "service.batch.sources.tables", None)  # type: ignore[attr-defined]

    with pytest.raises(SourceError, match=r"pip install 'cifar10net\[batch\]'"):
        Sources(["a.parquet"])


def test_pipes_and_folders_are_no_pictures(here: Path) -> None:
    os.mkfifo(here / "pipe")
    (here / "folder.png").mkdir()
    (here / "list.txt").write_text("pipe\nfolder.png\n")

    for item in Sources(["list.txt"]).items():
        with pytest.raises(ImageError, match="cannot be read"):
            item.read()


def test_sources_follow_each_other_and_labels_are_folders(album: Path, here: Path) -> None:
    archive = _zip(album, here / "a.zip")
    sources = Sources(["album/red", f"{archive}/blue", "lonely.png"], labels="folder")

    items = list(sources.items())

    assert [item.label for item in items] == ["red"] * 3 + ["blue"] * 4 + [None]
    assert sources.count() == 8


def test_slow_reads_overlap_and_keep_their_order(picture: Callable[..., bytes], store: str) -> None:
    places = [f"{store}/{name}" for name in ALBUM] * 20
    items = [item for place in places for item in Sources([place]).items()]
    assert all(item.read_mode is ReadMode.REMOTE for item in items)

    ready = list(prefetch(items, readers=4))

    assert [item.source for item in ready] == places
    assert ready[4].held_bytes == len(picture("green", 0))
    assert [item.read() for item in ready[: len(ALBUM)]] == [item.read() for item in items[: len(ALBUM)]]
