"""Atomic writes: content goes to a temporary file beside the destination, is synced, and is renamed."""

from __future__ import annotations

import contextlib
import errno
import os
from typing import TYPE_CHECKING, BinaryIO

from training.errors import WriteError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_DISK_ERRORS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS})


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Open a file that replaces ``path`` when the block ends without an error.

    Raises:
        WriteError: the folder or the file cannot be written, or the disk is full.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with _write_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            file = partial.open("wb")
        with file:
            yield file
            with _write_errors(path):
                file.flush()
                os.fsync(file.fileno())
        with _write_errors(path):
            partial.replace(path)
    except OSError as error:
        if error.errno in _DISK_ERRORS:  # raised by the block while it was writing
            raise WriteError(path, error) from error
        raise
    finally:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)


@contextlib.contextmanager
def _write_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise WriteError(path, error) from error


def write_bytes(path: Path, content: bytes | memoryview) -> None:
    """Write a file atomically. Raises WriteError."""
    with replacing(path) as file:
        file.write(content)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text atomically. Raises WriteError."""
    write_bytes(path, text.encode())
