"""An output folder that appears complete or not at all, and never replaces files that something else wrote.

Its files are listed in ``numbers.json``, by which a later run recognizes an earlier output.
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


@contextlib.contextmanager
def atomic_folder(folder: Path) -> Iterator[Path]:
    """Yield a temporary folder to write into, renamed to ``folder`` if the block ends without an error.

    Raises:
        FolderError: ``folder`` is a file, or holds files other than an earlier output.
        WriteError: the folder cannot be read or written.
    """
    _check_replaceable(folder)
    folder = folder.resolve()
    partial = folder.with_name(f".{folder.name}.{os.getpid()}.partial")
    old = folder.with_name(f".{folder.name}.{os.getpid()}.old")
    try:
        with _reporting_errors(folder):
            partial.mkdir(parents=True)
        yield partial
        _check_replaceable(folder)  # again, minutes later
        with _reporting_errors(folder):
            if folder.exists():
                folder.rename(old)
            partial.rename(folder)
    finally:
        if old.exists() and not folder.exists():
            old.rename(folder)
        for each in (partial, old):
            shutil.rmtree(each, ignore_errors=True)


def _check_replaceable(folder: Path) -> None:
    with _reporting_errors(folder):
        if not folder.exists():
            return
        if not folder.is_dir():
            raise FolderError(folder, "is a file")
        names = sorted(each.name for each in folder.iterdir())
    own = _earlier_files(folder)
    if foreign := [name for name in names if name not in own]:
        raise FolderError(folder, f"holds {foreign[0]}, which an earlier visualize did not write")


def _earlier_files(folder: Path) -> set[str]:
    try:
        files = json.loads((folder / NUMBERS_NAME).read_text())[FILES_KEY]
    except (OSError, ValueError, KeyError, TypeError):
        return set()
    return {NUMBERS_NAME, *files} if isinstance(files, list) else set()


@contextlib.contextmanager
def _reporting_errors(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise WriteError(folder, error) from error
