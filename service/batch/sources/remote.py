"""Files and folders behind URLs such as ``s3://bucket/a.jpg``, by fsspec.

Which schemes work depends on the packages that are installed.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, BinaryIO

import fsspec

from cifar10net.errors import ImageError
from service.batch.item import MOST_BYTES, check_size, printable, unreadable
from service.errors import SourceError

if TYPE_CHECKING:
    from collections.abc import Iterator

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")


def read(url: str) -> bytes:
    """Read a whole file.

    Raises:
        ImageError: it is missing, too large, or the store refuses it.
        SourceError: the package for such URLs is missing.
    """
    try:
        system, path = _system(url)
        with system.open(path, "rb") as file:
            data: bytes = file.read(MOST_BYTES + 1)
    except (ImageError, SourceError):
        raise
    except FileNotFoundError as error:
        raise unreadable("No such file or directory") from error
    except Exception as error:
        raise unreadable(_reason(error)) from error
    check_size(len(data))
    return data


def open_file(url: str) -> BinaryIO:
    """Open a seekable file. Raises SourceError."""
    try:
        system, path = _system(url)
        file: BinaryIO = system.open(path, "rb")
    except SourceError:
        raise
    except Exception as error:
        raise SourceError(f"{printable(url)} cannot be read: {_reason(error)}") from error
    return file


def entries(url: str) -> Iterator[tuple[str, bool]]:
    """Yield each name in a folder, sorted, and whether it is a folder. Raises SourceError."""
    try:
        # The cache would keep the listing of every folder in memory.
        system, path = _system(url, use_listings_cache=False)
        found = system.ls(path, detail=True)
    except SourceError:
        raise
    except Exception as error:
        raise SourceError(f"the folder {printable(url)} cannot be read: {_reason(error)}") from error
    named = ((each["name"].rstrip("/").rsplit("/", 1)[-1], each["type"] == "directory") for each in found)
    yield from sorted(named)


def _system(url: str, **options: Any) -> tuple[Any, str]:  # noqa: ANN401 - fsspec has no types
    try:
        system, path = fsspec.core.url_to_fs(url, **options)
    except ImportError as error:
        scheme = (_SCHEME.match(url) or [url])[0]
        raise SourceError(f"{scheme} needs another package: {_reason(error)}") from error
    except ValueError as error:
        raise unreadable(_reason(error)) from error
    return system, path


def _reason(error: Exception) -> str:
    return printable(" ".join(str(error).split())[:200]) or type(error).__name__
