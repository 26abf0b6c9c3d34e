"""An output folder that appears whole or not at all, and never replaces what somebody else put there.

In: where it should be. Out: a folder beside it to write into, which is renamed. What it held is listed in
``numbers.json``, so that a later call knows its own work again. Knows nothing of pictures.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from typing import TYPE_CHECKING

from training.errors import FolderError, WriteError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NUMBERS_NAME = "numbers.json"
FILES_KEY = "files"


def check_free(folder: Path) -> None:
    """See that ``folder`` is absent, empty, or nothing but an earlier output.

    Raises:
        FolderError: it holds something else, or is a file.
        WriteError: it cannot be read.
    """
    try:
        if not folder.exists():
            return
        if not folder.is_dir():
            raise FolderError(folder, "is a file")
        names = sorted(each.name for each in folder.iterdir())
    except OSError as error:
        raise WriteError(folder, error) from error
    foreign = [name for name in names if name not in _own(folder)]
    if foreign:
        raise FolderError(folder, f"holds {foreign[0]}, which an earlier visualize did not write")


@contextlib.contextmanager
def appearing(folder: Path) -> Iterator[Path]:
    """Give a folder to write into; it becomes ``folder`` when the block ends without an error.

    Raises:
        FolderError: as ``check_free``, before anything is done.
        WriteError: the place cannot be written.
    """
    check_free(folder)
    folder = folder.resolve()
    partial = folder.with_name(f".{folder.name}.{os.getpid()}.partial")
    old = folder.with_name(f".{folder.name}.{os.getpid()}.old")
    try:
        try:
            partial.mkdir(parents=True)
        except OSError as error:
            raise WriteError(folder, error) from error
        yield partial
        check_free(folder)  # minutes have passed
        try:
            if folder.exists():
                folder.rename(old)
            partial.rename(folder)
        except OSError as error:
            raise WriteError(folder, error) from error
    finally:
        if old.exists() and not folder.exists():
            old.rename(folder)
        for each in (partial, old):
            shutil.rmtree(each, ignore_errors=True)


def _own(folder: Path) -> set[str]:
    try:
        files = json.loads((folder / NUMBERS_NAME).read_text())[FILES_KEY]
    except (OSError, ValueError, KeyError, TypeError):
        return set()
    return {NUMBERS_NAME, *files} if isinstance(files, list) else set()
