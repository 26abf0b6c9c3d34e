"""Regions of POSIX shared memory that clients have given names to, so that requests may refer to them.

In: a memory object's name and a piece of it. Out: bytes read from there and written there. Nothing is mapped:
a client may shrink its object at any time, and a process that touches a page which is gone is killed, whereas
reading a file that has become shorter says so. What is read is a copy, and so is what is written.

The server opens whatever objects its user may, at a client's word: it is for clients that are trusted as the
server is. Linux alone, where the objects are files.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from uuid import uuid4

from cifar10net.errors import ConfigError
from service.errors import (
    DisabledError,
    InvalidRequestError,
    OverloadedError,
    RegionExistsError,
    UnknownRegionError,
)
from service.servicers.inference.parameters import text, whole_number

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from cifar10net.pb import inference_pb2 as pb

MOST_REGIONS = 128
"""Each holds a file open."""
_LONGEST_NAME = 200
_LARGEST = 1 << 62
"""Bytes, of an offset and of a size: so that their sum is still one."""


@dataclass(frozen=True)
class Region:
    """A piece of a memory object."""

    name: str
    """In requests."""
    key: str
    """The object's name, with a slash before it or without."""
    offset: int
    """Where in the object it begins, in bytes."""
    size: int
    """In bytes."""
    ticket: str = field(default_factory=lambda: uuid4().hex)
    """Of this registration alone, in whichever process."""


class Regions:
    """The regions that one process knows, each with its object open."""

    def __init__(self, folder: Path) -> None:
        """Know none.

        Args:
            folder: where the system shows memory objects as files.

        Raises:
            ConfigError: it does not.
        """
        if not folder.is_dir():
            raise ConfigError(f"shared memory needs {folder}, which this system does not have")
        self._folder = folder
        self._known: dict[str, tuple[Region, int]] = {}

    def known(self) -> list[Region]:
        """All regions, in the order in which they came."""
        return [region for region, _ in self._known.values()]

    def find(self, name: str) -> Region:
        """Find a region. Raises UnknownRegionError."""
        entry = self._known.get(name)
        if entry is None:
            raise _unknown(name)
        return entry[0]

    def add(self, region: Region) -> None:
        """Know a region from now on.

        Raises:
            RegionExistsError: there is one of that name.
            InvalidRequestError: its object does not exist, is none that may be opened, or is too small.
            OverloadedError: there are as many as there may be.
        """
        if region.name in self._known:
            raise RegionExistsError(f"there is a region {region.name!r} already; unregister it first")
        if len(self._known) >= MOST_REGIONS:
            raise OverloadedError(
                f"there are {MOST_REGIONS} regions of shared memory, and no more may be; unregister some"
            )
        _check(region)
        self._known[region.name] = region, self._open(region)

    def drop(self, name: str, ticket: str | None = None) -> None:
        """Forget a region if it is known, and has that ticket; all of them for an empty name."""
        for region, file in list(self._known.values()):
            if name in {"", region.name} and ticket in {None, region.ticket}:
                del self._known[region.name]
                os.close(file)

    def read(self, region: Region, offset: int, size: int) -> bytes:
        """Copy bytes out of a region.

        Raises:
            UnknownRegionError: it is not known any more, though another of its name may be.
            InvalidRequestError: its object no longer has them.
        """
        file = self._file(region)
        data = os.pread(file, size, region.offset + offset)
        if len(data) != size:
            raise _has_shrunk(region)
        return data

    def write(self, region: Region, offset: int, data: bytes) -> None:
        """Copy bytes into a region. Raises as ``read``."""
        file = self._file(region)
        # Writing behind the end would make the object larger again, which is for its owner to do.
        if os.fstat(file).st_size < region.offset + region.size:
            raise _has_shrunk(region)
        try:
            written = os.pwrite(file, data, region.offset + offset)
        except OSError as error:
            raise InvalidRequestError(
                f"the region {region.name!r} cannot be written to: {error.strerror}"
            ) from error
        if written != len(data):
            raise InvalidRequestError(
                f"the region {region.name!r} took only some of the answer: memory is full"
            )

    def _file(self, region: Region) -> int:
        entry = self._known.get(region.name)
        if entry is None or entry[0] is not region:
            raise _unknown(region.name)
        return entry[1]

    def _open(self, region: Region) -> int:
        path = self._folder / region.key.removeprefix("/")
        try:
            file = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)  # a link may lead anywhere
        except OSError as error:
            raise InvalidRequestError(
                f"the shared memory object {region.key!r} cannot be opened: {error.strerror}"
            ) from error
        size = os.fstat(file).st_size  # 0 for what is no file, such as a pipe
        if size >= region.offset + region.size:
            return file
        os.close(file)
        raise InvalidRequestError(
            f"the shared memory object {region.key!r} has {size:,} bytes, expected {region.size:,} "
            f"from {region.offset:,} on"
        )


@dataclass(frozen=True)
class Span:
    """A piece of a region that a request refers to."""

    regions: Regions
    region: Region
    """The one that was meant: a later registration of its name may be smaller."""
    offset: int
    size: int

    def read(self) -> bytes:
        """Copy its bytes out. Raises as ``Regions.read``."""
        return self.regions.read(self.region, self.offset, self.size)

    def write(self, data: bytes) -> None:
        """Copy bytes to its beginning; there must not be more than ``size``. Raises as ``Regions.read``."""
        self.regions.write(self.region, self.offset, data)


def find_span(
    parameters: Mapping[str, pb.InferParameter], where: str, regions: Regions | None
) -> Span | None:
    """Find the piece of shared memory that a tensor's parameters name; None if they name none.

    Args:
        parameters: of the tensor.
        where: they are, for messages.
        regions: those that are known; None if there can be none.

    Raises:
        DisabledError: there can be none.
        UnknownRegionError: the region is not known.
        InvalidRequestError: the piece is not within the region, or is not told.
    """
    name = text(parameters, "shared_memory_region", where)
    if name is None:
        return None
    if regions is None:
        raise DisabledError("shared memory is off; start the server with --shared-memory")
    region = regions.find(name)
    size = whole_number(parameters, "shared_memory_byte_size", where)
    offset = whole_number(parameters, "shared_memory_offset", where) or 0
    if size is None:
        raise InvalidRequestError(f"{where} has shared_memory_region and no shared_memory_byte_size")
    if offset + size > region.size:
        raise InvalidRequestError(
            f"{where} has {size:,} bytes from {offset:,} on in the region {region.name!r}, which has "
            f"{region.size:,}"
        )
    return Span(regions, region, offset, size)


def check_name(name: str) -> None:
    """Refuse what can be no region's name, by InvalidRequestError."""
    if not 1 <= len(name) <= _LONGEST_NAME:
        raise InvalidRequestError(
            f"the region's name has {len(name)} characters, expected 1 to {_LONGEST_NAME}"
        )


def _check(region: Region) -> None:
    check_name(region.name)
    object_name = region.key.removeprefix("/")
    if object_name in {"", ".", ".."} or "/" in object_name or "\0" in object_name:
        raise InvalidRequestError(
            f"the key is {region.key[:_LONGEST_NAME]!r}, expected a shared memory object's name, with no "
            "slash but one before it"
        )
    if not region.size or max(region.offset, region.size) > _LARGEST:
        raise InvalidRequestError(
            f"the region has {region.size:,} bytes from {region.offset:,} on, expected 1 to {_LARGEST:,}"
        )


def _unknown(name: str) -> UnknownRegionError:
    return UnknownRegionError(
        f"no region of shared memory is called {name[:_LONGEST_NAME]!r}; register it first"
    )


def _has_shrunk(region: Region) -> InvalidRequestError:
    return InvalidRequestError(
        f"the shared memory object {region.key!r} has become smaller than the region {region.name!r}; "
        "unregister the region, and register what there is"
    )
