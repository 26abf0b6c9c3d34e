"""Tar archives, plain or compressed, read in place and in the archive's order.

Members of a plain archive can be read at any time; those of a compressed one only while it is decompressed.
"""

from __future__ import annotations

import lzma
import tarfile
import zlib
from functools import partial
from typing import TYPE_CHECKING

from service.batch.item import Item, ReadMode, check_size, printable, unreadable
from service.batch.sources.places import open_file, open_random_access
from service.errors import SourceError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO

    from service.batch.sources.places import RandomAccessFile
    from service.batch.sources.selection import Selection

_DAMAGES = (tarfile.TarError, EOFError, OSError, zlib.error, lzma.LZMAError)


class Tar:
    """The selected members of a tar archive."""

    def __init__(self, place: str, selection: Selection) -> None:
        """Open the archive. Raises SourceError."""
        self._place = place
        self._name = printable(place)
        self._selection = selection
        with open_file(place) as file, self._open(file) as tar:
            self._is_plain = tar.fileobj is file

    def items(self, names_only: int = 0) -> Iterator[Item]:  # noqa: ARG002 - reads headers only
        plain_file = open_random_access(self._place) if self._is_plain else None
        with open_file(self._place) as file, self._open(file) as tar:
            for member in self._members(tar):
                if not self._selection.matches(member.name):
                    continue
                name = printable(f"{self._name}/{member.name}")
                if plain_file is None or member.sparse is not None:
                    yield Item(name, partial(self._extract, tar, member), read_mode=ReadMode.STREAMED)
                else:
                    read = partial(_read, plain_file, member.offset_data, member.size)
                    yield Item(name, read, read_mode=plain_file.read_mode)

    def count(self) -> None:
        return None

    def _open(self, file: BinaryIO) -> tarfile.TarFile:
        try:
            return tarfile.open(fileobj=file)
        except _DAMAGES as error:
            raise SourceError(f"{self._name} is not a tar archive: {error}") from error

    def _members(self, tar: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
        try:
            while (member := tar.next()) is not None:
                tar.members = []  # type: ignore[attr-defined]  # which would grow to all members
                if member.isreg():
                    yield member
            rest = _block_at_end(tar)
        except _DAMAGES as error:
            raise SourceError(f"{self._name} is damaged after {tar.offset:,} bytes: {error}") from error
        if rest.strip(b"\0"):  # tarfile takes a damaged header for the end
            raise SourceError(
                f"{self._name} is damaged after {tar.offset:,} bytes: the next header is invalid"
            )

    def _extract(self, tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
        check_size(member.size)
        try:
            file = tar.extractfile(member)
            data = b"" if file is None else file.read()
        except _DAMAGES as error:
            raise SourceError(f"{self._name} is damaged at {member.name}: {error}") from error
        if len(data) != member.size:
            raise SourceError(f"{self._name} is damaged at {member.name}: it ends there")
        return data


def _block_at_end(tar: tarfile.TarFile) -> bytes:
    file = tar.fileobj
    if file is None:
        return b""
    file.seek(tar.offset)
    return bytes(file.read(tarfile.BLOCKSIZE))


def _read(file: RandomAccessFile, offset: int, size: int) -> bytes:
    check_size(size)
    try:
        data = file.read_at(offset, size)
    except OSError as error:
        raise unreadable(error.strerror or error) from error
    if len(data) != size:
        raise unreadable("the archive ends within it")
    return data
