"""Regions of shared memory: nothing outside is accessed, and a client that shrinks its own is harmless."""

from __future__ import annotations

import contextlib
import os
import socket
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cifar10net.errors import ConfigError
from cifar10net.pb import inference_pb2 as pb
from service.errors import (
    InvalidRequestError,
    OverloadedError,
    RegionExistsError,
    ServiceError,
    UnknownRegionError,
)
from service.servicers.inference.regions import (
    MOST_REGIONS,
    Region,
    RegionRegistry,
    RegionSlice,
    find_region_slice,
)

if TYPE_CHECKING:
    from collections.abc import Iterator


def _open_files(folder: Path) -> list[str]:
    """List the files that this process has open in a folder."""
    files = []
    for link in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile, by another thread
            files.append(str(link.readlink()))
    return [file for file in files if file.startswith(f"{folder}/")]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Make a folder of memory objects with one of 100 bytes."""
    folder = tmp_path / "shm"
    folder.mkdir()
    (folder / "object").write_bytes(bytes(range(100)))
    return folder


@pytest.fixture
def regions(folder: Path) -> Iterator[RegionRegistry]:
    regions = RegionRegistry(folder)
    yield regions
    assert len(_open_files(folder)) == len(regions.list())
    regions.remove("")
    assert not _open_files(folder)


def test_bytes_are_read_and_written_within_a_region(regions: RegionRegistry, folder: Path) -> None:
    region = Region("region", "/object", 10, 20)
    regions.add(region)

    assert RegionSlice(regions, region, 5, 3).read() == bytes((15, 16, 17))
    RegionSlice(regions, region, 17, 3).write(b"end")
    assert (folder / "object").read_bytes() == bytes(range(27)) + b"end" + bytes(range(30, 100))


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("", "expected a shared memory object's name"),
        ("/", "expected a shared memory object's name"),
        (".", "expected a shared memory object's name"),
        ("..", "expected a shared memory object's name"),
        ("../secret", "expected a shared memory object's name"),
        ("//object", "expected a shared memory object's name"),
        ("folder/object", "expected a shared memory object's name"),
        ("nul\0", "expected a shared memory object's name"),
        ("none", "cannot be opened: No such file"),
        ("x" * 1000, "cannot be opened: File name too long"),
        ("link", "cannot be opened: Too many levels of symbolic links"),
        ("folder", "cannot be opened: Is a directory"),
        ("pipe", "has 0 bytes, expected 1"),
        ("socket", "cannot be opened"),
    ],
)
def test_what_is_no_memory_object_is_refused(
    regions: RegionRegistry, folder: Path, key: str, message: str
) -> None:
    (folder / "folder").mkdir()
    (folder.parent / "secret").write_bytes(bytes(100))
    (folder / "link").symlink_to("../secret")
    os.mkfifo(folder / "pipe")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(folder / "socket"))

        with pytest.raises(InvalidRequestError, match=message):
            regions.add(Region("region", key, 0, 1))
    assert not regions.list()


@pytest.mark.parametrize(
    ("offset", "size"),
    [(0, 0), (0, 101), (100, 1), (1, 100), (2**63, 1), (0, 2**64 - 1), (2**64 - 1, 2**64 - 1)],
)
def test_a_region_must_lie_in_its_object(regions: RegionRegistry, offset: int, size: int) -> None:
    with pytest.raises(InvalidRequestError, match=r"bytes.* expected"):
        regions.add(Region("region", "object", offset, size))


@pytest.mark.parametrize("name", ["", "x" * 201])
def test_a_region_needs_a_name_of_some_size(regions: RegionRegistry, name: str) -> None:
    with pytest.raises(InvalidRequestError, match="expected 1 to 200"):
        regions.add(Region(name, "object", 0, 1))


def test_a_name_is_taken_until_it_is_removed(regions: RegionRegistry) -> None:
    first = Region("region", "object", 0, 10)
    regions.add(first)

    with pytest.raises(RegionExistsError):
        regions.add(Region("region", "object", 0, 20))
    assert regions.list() == [first]

    regions.remove("region")
    with pytest.raises(UnknownRegionError):
        RegionSlice(regions, first, 0, 1).read()
    regions.add(Region("region", "object", 0, 20))


def test_removing_by_id_leaves_another_registration_of_the_name_alone(regions: RegionRegistry) -> None:
    kept, other = Region("region", "object", 0, 10), Region("region", "object", 0, 10)
    regions.add(kept)

    regions.remove("region", other.registration_id)
    assert regions.list() == [kept]
    regions.remove("region", kept.registration_id)
    assert not regions.list()


def test_a_slice_of_one_registration_is_unknown_to_the_next_of_that_name(
    regions: RegionRegistry, folder: Path
) -> None:
    (folder / "small").write_bytes(b"0123456789")
    regions.add(Region("region", "object", 0, 100))
    parameters = {
        "shared_memory_region": pb.InferParameter(string_param="region"),
        "shared_memory_byte_size": pb.InferParameter(int64_param=100),
    }
    memory = find_region_slice(parameters, "input images", regions)
    assert memory is not None
    regions.remove("region")
    regions.add(Region("region", "small", 0, 10))

    with pytest.raises(UnknownRegionError):
        memory.read()
    with pytest.raises(UnknownRegionError):
        memory.write(bytes(100))

    assert (folder / "small").read_bytes() == b"0123456789"


def test_removing_an_unknown_region_is_no_error_and_no_name_means_all(regions: RegionRegistry) -> None:
    for name in ("a", "b"):
        regions.add(Region(name, "object", 0, 10))

    regions.remove("c")
    assert len(regions.list()) == 2
    regions.remove("")
    assert not regions.list()


def test_the_number_of_regions_is_limited(regions: RegionRegistry) -> None:
    for number in range(MOST_REGIONS):
        regions.add(Region(str(number), "object", 0, 1))

    with pytest.raises(OverloadedError, match="expected at most that many"):
        regions.add(Region("one more", "object", 0, 1))


def test_an_object_that_became_smaller_is_an_error_and_stays_small(
    regions: RegionRegistry, folder: Path
) -> None:
    region = Region("region", "object", 0, 100)
    regions.add(region)
    os.truncate(folder / "object", 50)

    assert RegionSlice(regions, region, 0, 50).read() == bytes(range(50))
    with pytest.raises(InvalidRequestError, match="has become smaller"):
        RegionSlice(regions, region, 0, 51).read()
    with pytest.raises(InvalidRequestError, match="has become smaller"):
        RegionSlice(regions, region, 0, 1).write(b"x")
    assert (folder / "object").stat().st_size == 50


def test_an_object_that_was_unlinked_is_still_there(regions: RegionRegistry, folder: Path) -> None:
    region = Region("region", "object", 0, 100)
    regions.add(region)
    (folder / "object").unlink()

    RegionSlice(regions, region, 0, 5).write(b"still")
    assert RegionSlice(regions, region, 0, 5).read() == b"still"


def test_a_system_without_the_folder_is_a_config_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="shared memory needs"):
        RegionRegistry(tmp_path / "none")


@given(
    name=st.text(max_size=5),
    key=st.text(max_size=9),
    offset=st.integers(0, 2**64),
    size=st.integers(0, 2**64),
)
def test_anything_registered_is_a_region_or_refused(
    tmp_path_factory: pytest.TempPathFactory, name: str, key: str, offset: int, size: int
) -> None:
    regions = RegionRegistry(tmp_path_factory.getbasetemp())
    try:
        regions.add(Region(name, key, offset, size))
    except ServiceError:
        assert not regions.list()
    finally:
        regions.remove("")
