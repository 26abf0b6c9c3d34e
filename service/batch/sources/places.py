"""Files on this machine or behind a URL: read whole, opened as a stream, or read at any offset by threads."""

from __future__ import annotations

import os
import re
import stat
import threading
import weakref
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Protocol

from service.batch.item import Item, ReadMode, check_size, printable, unreadable
from service.errors import SourceError

if TYPE_CHECKING:
    from types import ModuleType

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")


def is_url(text: str) -> bool:
    """Whether a text is a URL rather than a path."""
    return _URL.match(text) is not None


def remote() -> ModuleType:
    """Import the module that reads URLs. Raises SourceError if the extra is not installed."""
    try:
        from service.batch.sources import remote as module  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise SourceError(f"URLs need the extra batch ({error}): pip install 'cifar10net[batch]'") from error
    return module


def item_at(place: str, label: str | int | None = None) -> Item:
    """Make the item of a file."""
    if is_url(place):
        return Item(printable(place), partial(remote().read, place), label, ReadMode.REMOTE)
    return Item(printable(place), partial(read, place), label)


def read(path: str) -> bytes:
    """Read a whole local file. Raises ImageError."""
    try:
        with open(path, "rb", buffering=0, opener=_open) as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode) and not stat.S_ISDIR(status.st_mode):
                raise unreadable("it is not a regular file")
            check_size(status.st_size)
            return file.read()
    except OSError as error:
        raise unreadable(error.strerror or error) from error
    except ValueError as error:  # a NUL within a name
        raise unreadable(error) from error


def _open(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)  # does not wait for the other end of a pipe


def open_file(place: str) -> BinaryIO:
    """Open a file to be read from its start. Raises SourceError."""
    if is_url(place):
        file: BinaryIO = remote().open_file(place)
        return file
    try:
        return Path(place).open("rb")
    except OSError as error:
        raise SourceError(f"{printable(place)} cannot be read: {error.strerror}") from error


class RandomAccessFile(Protocol):
    """A file that threads read at any offset; pickled, it is opened again by the process that receives it."""

    size: int
    read_mode: ReadMode

    def read_at(self, offset: int, size: int) -> bytes:
        """Read ``size`` bytes, fewer at the end of the file. Raises OSError."""


def open_random_access(place: str) -> RandomAccessFile:
    """Open a file to be read at any offset. Raises SourceError."""
    return _RemoteFile(place) if is_url(place) else _LocalFile(place)


class _LocalFile:
    """A local file; closed when it is garbage-collected."""

    read_mode = ReadMode.DIRECT

    def __init__(self, path: str) -> None:
        self._path = path
        try:
            self._file = os.open(path, os.O_RDONLY)
            self.size = os.fstat(self._file).st_size
        except OSError as error:
            raise SourceError(f"{printable(path)} cannot be read: {error.strerror}") from error
        weakref.finalize(self, os.close, self._file)

    def __reduce__(self) -> tuple[type[_LocalFile], tuple[str]]:
        return _LocalFile, (self._path,)

    def read_at(self, offset: int, size: int) -> bytes:
        return os.pread(self._file, size, offset)


class _RemoteFile:
    """A file behind a URL; one thread reads it at a time."""

    read_mode = ReadMode.REMOTE

    def __init__(self, url: str) -> None:
        self._url = url
        self._file = remote().open_file(url)
        self._lock = threading.Lock()
        self.size = self._file.seek(0, os.SEEK_END)

    def __reduce__(self) -> tuple[type[_RemoteFile], tuple[str]]:
        return _RemoteFile, (self._url,)

    def read_at(self, offset: int, size: int) -> bytes:
        with self._lock:
            self._file.seek(offset)
            data: bytes = self._file.read(size)
        return data
