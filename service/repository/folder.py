"""Scans a model repository's folder, ``<model>/<version>/model.onnx``, and reads its files.

A scan uses names and ``stat`` only; each version gets a stamp that changes whenever its files do. Names that
begin with a dot are ignored: they are for files that are still being written.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from service.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

MODEL_NAME = "model.onnx"
MANIFEST_NAME = "manifest.json"
UNREADABLE = 0
"""Version number that stands for all versions of a model whose folder cannot be read."""
_NO_MODELS = frozenset({"lost+found"})  # on every ext4 volume, and readable by root alone
_NOT_FOUND = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP})
"""Errors of a name that leads to no file; ELOOP is a link to itself."""
_VERSION = re.compile(r"[1-9][0-9]{0,17}")

Stamp: TypeAlias = tuple[tuple[int, ...], tuple[int, ...] | None]


@dataclass(frozen=True)
class FoundVersion:
    """A version's folder as a scan found it."""

    name: str
    """Name of the model."""
    version: int
    folder: Path
    stamp: Stamp
    """Of model and manifest; changes when a file is written, replaced or removed. If they cannot be read, the
    negative errno."""

    @property
    def key(self) -> tuple[str, int]:
        """Name and version."""
        return self.name, self.version

    @property
    def read_error(self) -> str:
        """Why the folder cannot be read; empty if it can."""
        number = self.stamp[0][0]
        return f"cannot read {self.folder}: {os.strerror(-number)}" if number < 0 else ""

    @property
    def has_manifest(self) -> bool:
        """Whether the folder has a manifest."""
        return self.stamp[1] is not None


Contents: TypeAlias = "Mapping[str, Mapping[int, FoundVersion]]"
"""The versions of each model, by name and version."""


def scan(root: Path) -> Contents:
    """Find every model version.

    Raises:
        ModelError: the folder is missing, unreadable or without a model. A subfolder that is unreadable
            becomes a version with a ``read_error``.
    """
    try:
        found = {name: dict(_versions(root, name)) for name in sorted(_folders(root))}
    except FileNotFoundError as error:
        raise ModelError(f"no model repository at {root}: the folder does not exist") from error
    except OSError as error:
        raise ModelError(
            f"cannot read the model repository {root}: {error.strerror}: {error.filename}"
        ) from error
    contents = {name: versions for name, versions in found.items() if versions}
    if not contents:
        raise ModelError(f"{root} has no model: wanted <model>/<version>/{MODEL_NAME} in it")
    return contents


def read(path: Path, root: Path, limit_bytes: int) -> bytes:
    """Read a regular file of the repository.

    Args:
        path: the file; links are followed.
        root: the repository; links must not lead out of it.
        limit_bytes: largest size allowed.

    Raises:
        ModelError: the file cannot be read, is not a regular file, is outside the repository, is too large,
            or changed meanwhile.
    """
    try:
        with open(path, "rb", opener=_open) as file:
            status = os.fstat(file.fileno())
            _check(path, root, status, limit_bytes)
            content = file.read(status.st_size + 1)
    except OSError as error:
        raise ModelError(f"cannot read {path}: {error.strerror}") from error
    if len(content) != status.st_size:
        raise _changed(path)
    return content


def _folders(path: Path) -> Iterator[str]:
    with os.scandir(path) as entries:
        for entry in entries:
            # A name that is not text could not be reported.
            if not entry.name.startswith(".") and entry.name.isprintable() and _is_folder(entry):
                yield entry.name


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError as error:
        if error.errno not in _NOT_FOUND:
            raise
        return False


def _versions(root: Path, name: str) -> Iterator[tuple[int, FoundVersion]]:
    if name in _NO_MODELS:
        return
    try:
        # Folders with other names need not be readable.
        numbers = [number for number in _folders(root / name) if _VERSION.fullmatch(number)]
    except (FileNotFoundError, NotADirectoryError):  # removed meanwhile
        return
    except OSError as error:
        yield UNREADABLE, FoundVersion(name, UNREADABLE, root / name, _error_stamp(error))
        return
    for number in numbers:
        folder = root / name / number
        try:
            model = _stamp(folder / MODEL_NAME)
            stamp = None if model is None else (model, _stamp(folder / MANIFEST_NAME))
        except OSError as error:
            stamp = _error_stamp(error)
        if stamp is not None:
            yield int(number), FoundVersion(name, int(number), folder, stamp)


def _error_stamp(error: OSError) -> Stamp:
    return (-(error.errno or errno.EIO),), None


def _stamp(path: Path) -> tuple[int, ...] | None:
    try:
        status = path.stat()
    except OSError as error:
        if error.errno not in _NOT_FOUND:
            raise
        return None
    return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def _open(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)  # a pipe would block until it has a writer


def _check(path: Path, root: Path, status: os.stat_result, limit_bytes: int) -> None:
    """Check that an open file is regular, of legal size, and the one in the repository."""
    place = path.resolve(strict=True)
    if not place.is_relative_to(root.resolve()):
        raise ModelError(f"{path} leads out of the repository, to {place}; copy the file into it instead")
    if not os.path.samestat(place.stat(), status):
        raise _changed(path)
    if not stat.S_ISREG(status.st_mode):
        raise ModelError(f"{path} is not a regular file")
    if status.st_size > limit_bytes:
        raise ModelError(f"{path} has {status.st_size:,} bytes, wanted at most {limit_bytes:,}")


def _changed(path: Path) -> ModelError:
    return ModelError(f"{path} changed while it was read; write it under another name and rename it")
