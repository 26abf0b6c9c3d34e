"""Regions of POSIX shared memory that clients have registered, so that requests can refer to them by name.

Regions are read and written as files, never mapped: a client can shrink its memory object at any time, and a
process that touches a mapped page beyond the end is killed, whereas a read beyond the end is just short. All
data is therefore copied.

A client can make the server open any object that the server's user may open, so clients must be trusted as
much as the server. Linux only, where memory objects are files.
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
from service.servicers.inference.parameters import int_parameter, str_parameter

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from cifar10net.pb import inference_pb2 as pb

MOST_REGIONS = 128
"""Each keeps a file open."""
_LONGEST_NAME = 200
_LARGEST = 1 << 62
"""Bytes, for an offset and for a size: their sum still fits a signed 64-bit integer."""


@dataclass(frozen=True)
class Region:
    """A range of a memory object."""

    name: str
    """Used by requests."""
    key: str
    """The object's name, with or without a leading slash."""
    offset: int
    """In bytes, from the start of the object."""
    size: int
    """In bytes."""
    registration_id: str = field(default_factory=lambda: uuid4().hex)
    """Unique to this registration, and the same in all worker processes."""


class RegionRegistry:
    """The registered regions of one process, each with its memory object open."""

    def __init__(self, folder: Path) -> None:
        """Start without regions; ``folder`` is where the system has memory objects as files.

        Raises:
            ConfigError: there is no such folder.
        """
        if not folder.is_dir():
            raise ConfigError(f"shared memory needs {folder}, which this system does not have")
        self._folder = folder
        self._open_files: dict[str, tuple[Region, int]] = {}

    def list(self) -> list[Region]:
        """Return all regions in the order of their registration."""
        return [region for region, _ in self._open_files.values()]

    def get(self, name: str) -> Region:
        """Return a region. Raises UnknownRegionError."""
        entry = self._open_files.get(name)
        if entry is None:
            raise _unknown(name)
        return entry[0]

    def add(self, region: Region) -> None:
        """Register a region.

        Raises:
            RegionExistsError: the name is taken.
            InvalidRequestError: its object does not exist, cannot be opened, or is too small.
            OverloadedError: there are ``MOST_REGIONS`` already.
        """
        if region.name in self._open_files:
            raise RegionExistsError(f"there is a region {region.name!r} already; unregister it first")
        if len(self._open_files) >= MOST_REGIONS:
            raise OverloadedError(
                f"there are {MOST_REGIONS} regions of shared memory, expected at most that many; "
                "unregister some"
            )
        _check(region)
        self._open_files[region.name] = region, self._open(region)

    def remove(self, name: str, registration_id: str | None = None) -> None:
        """Unregister a region if it exists, with that ``registration_id``; all of them for an empty name."""
        for region, file in [*self._open_files.values()]:
            if name in {"", region.name} and registration_id in {None, region.registration_id}:
                del self._open_files[region.name]
                os.close(file)

    def file_of(self, region: Region) -> int:
        """Return the file descriptor of a region's object.

        Raises:
            UnknownRegionError: it has been unregistered, even if its name is registered again.
        """
        entry = self._open_files.get(region.name)
        if entry is None or entry[0] is not region:
            raise _unknown(region.name)
        return entry[1]

    def _open(self, region: Region) -> int:
        path = self._folder / region.key.removeprefix("/")
        try:
            file = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)  # a link could lead anywhere
        except OSError as error:
            raise InvalidRequestError(
                f"the shared memory object {region.key!r} cannot be opened: {error.strerror}"
            ) from error
        size = os.fstat(file).st_size  # 0 unless it is a regular file
        if size >= region.offset + region.size:
            return file
        os.close(file)
        raise InvalidRequestError(
            f"the shared memory object {region.key!r} has {size:,} bytes, expected {region.size:,} "
            f"from {region.offset:,} on"
        )


@dataclass(frozen=True)
class RegionSlice:
    """The bytes of a region that a tensor refers to."""

    regions: RegionRegistry
    region: Region
    """Not just its name, which may be registered again meanwhile, for a smaller region."""
    offset: int
    size: int

    def read(self) -> bytes:
        """Copy the bytes out.

        Raises:
            UnknownRegionError: the region has been unregistered.
            InvalidRequestError: its object has become too small.
        """
        data = os.pread(self.regions.file_of(self.region), self.size, self.region.offset + self.offset)
        if len(data) != self.size:
            raise _has_shrunk(self.region)
        return data

    def write(self, data: bytes) -> None:
        """Copy at most ``size`` bytes to its start. Raises as ``read``."""
        region, file = self.region, self.regions.file_of(self.region)
        # Writing beyond the end would enlarge the object that its owner has shrunk.
        if os.fstat(file).st_size < region.offset + region.size:
            raise _has_shrunk(region)
        try:
            written = os.pwrite(file, data, region.offset + self.offset)
        except OSError as error:
            raise InvalidRequestError(
                f"the region {region.name!r} cannot be written to: {error.strerror}"
            ) from error
        if written != len(data):
            raise InvalidRequestError(
                f"the region {region.name!r} took only a part of the output: memory is full"
            )


def find_region_slice(
    parameters: Mapping[str, pb.InferParameter], where: str, regions: RegionRegistry | None
) -> RegionSlice | None:
    """Return the shared memory that a tensor's parameters refer to; None if they refer to none.

    Args:
        parameters: of the tensor.
        where: the tensor, for messages.
        regions: None if shared memory is off.

    Raises:
        DisabledError: shared memory is off.
        UnknownRegionError: the region is not registered.
        InvalidRequestError: the size is missing, or the range is not within the region.
    """
    name = str_parameter(parameters, "shared_memory_region", where)
    if name is None:
        return None
    if regions is None:
        raise DisabledError("shared memory is off; start the server with --shared-memory")
    region = regions.get(name)
    size = int_parameter(parameters, "shared_memory_byte_size", where)
    offset = int_parameter(parameters, "shared_memory_offset", where) or 0
    if size is None:
        raise InvalidRequestError(
            f"{where} has shared_memory_region and no shared_memory_byte_size; set both"
        )
    if offset + size > region.size:
        raise InvalidRequestError(
            f"{where} has {size:,} bytes from {offset:,} on in the region {region.name!r}, which has "
            f"{region.size:,} bytes"
        )
    return RegionSlice(regions, region, offset, size)


def check_name(name: str) -> None:
    """Check the length of a region's name. Raises InvalidRequestError."""
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
            "slash except a leading one"
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
        "unregister the region and register a smaller one"
    )
