"""What lies in a model repository's folder, as far as names and ``stat`` can tell.

In: the folder ``<model>/<version>/model.onnx``. Out: the versions of each model, with a stamp that changes
whenever their files do; and the content of a file. Names that begin with a dot are never looked at: they
are for what is still being written. Knows nothing of what the files mean.
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
ALL_OF_IT = 0
"""In the place of the versions of a model whose folder cannot be read."""
_NO_MODELS = frozenset({"lost+found"})  # every ext4 volume has it, and only root may look into it
_NOWHERE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP})
"""What the system says of a name that leads to nothing, as that of a link to itself does."""
_VERSION = re.compile(r"[1-9][0-9]{0,17}")

Stamp: TypeAlias = tuple[tuple[int, ...], tuple[int, ...] | None]


@dataclass(frozen=True)
class FoundVersion:
    """A version's folder as it was when somebody looked."""

    name: str
    """Of the model."""
    version: int
    folder: Path
    stamp: Stamp
    """Of the model and of its manifest; another one when a file was written, replaced or removed. If they
    cannot be looked at, the negative number of the error."""

    @property
    def key(self) -> tuple[str, int]:
        """Name and number."""
        return self.name, self.version

    @property
    def trouble(self) -> str:
        """Why the folder cannot be looked into; empty if it can."""
        number = self.stamp[0][0]
        return f"cannot read {self.folder}: {os.strerror(-number)}" if number < 0 else ""

    @property
    def has_manifest(self) -> bool:
        """Whether there was a manifest beside the model."""
        return self.stamp[1] is not None


Contents: TypeAlias = "Mapping[str, Mapping[int, FoundVersion]]"
"""The versions of each model, by name and number."""


def look(root: Path) -> Contents:
    """Find every model version.

    Raises:
        ModelError: the folder is missing or has no model, or cannot be read. A part of it that cannot be read
            is a version that has ``trouble``.
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
    """Read a file whole, if it is one, lies in the repository, and is not too large.

    Args:
        path: the file; links are followed.
        root: the repository, out of which no link may lead.
        limit_bytes: most that the file may have.

    Raises:
        ModelError: it cannot be read, or is none of that.
    """
    try:
        with open(path, "rb", opener=_open) as file:
            status = os.fstat(file.fileno())
            _check(path, root, status, limit_bytes)
            content = file.read(status.st_size + 1)
    except OSError as error:
        raise ModelError(f"cannot read {path}: {error.strerror}") from error
    if len(content) != status.st_size:
        raise _changing(path)
    return content


def _folders(path: Path) -> Iterator[str]:
    with os.scandir(path) as entries:
        for entry in entries:
            # What is no text could be told to nobody.
            if not entry.name.startswith(".") and entry.name.isprintable() and _is_folder(entry):
                yield entry.name


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError as error:
        if error.errno not in _NOWHERE:
            raise
        return False


def _versions(root: Path, name: str) -> Iterator[tuple[int, FoundVersion]]:
    if name in _NO_MODELS:
        return
    try:
        # Whatever has another name, nobody needs to be able to look into.
        numbers = [number for number in _folders(root / name) if _VERSION.fullmatch(number)]
    except (FileNotFoundError, NotADirectoryError):  # it was removed meanwhile
        return
    except OSError as error:
        yield ALL_OF_IT, FoundVersion(name, ALL_OF_IT, root / name, _no_stamp(error))
        return
    for number in numbers:
        folder = root / name / number
        try:
            model = _stamp(folder / MODEL_NAME)
            stamp = None if model is None else (model, _stamp(folder / MANIFEST_NAME))
        except OSError as error:
            stamp = _no_stamp(error)
        if stamp is not None:
            yield int(number), FoundVersion(name, int(number), folder, stamp)


def _no_stamp(error: OSError) -> Stamp:
    return (-(error.errno or errno.EIO),), None


def _stamp(path: Path) -> tuple[int, ...] | None:
    try:
        status = path.stat()
    except OSError as error:
        if error.errno not in _NOWHERE:
            raise
        return None
    return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def _open(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)  # not to wait for the other end of a pipe


def _check(path: Path, root: Path, status: os.stat_result, limit_bytes: int) -> None:
    """Check an open file: that it is one, and the one that lies in the repository."""
    place = path.resolve(strict=True)
    if not place.is_relative_to(root.resolve()):
        raise ModelError(f"{path} leads out of the repository, to {place}; copy the file into it instead")
    if not os.path.samestat(place.stat(), status):
        raise _changing(path)
    if not stat.S_ISREG(status.st_mode):
        raise ModelError(f"{path} is no file")
    if status.st_size > limit_bytes:
        raise ModelError(f"{path} has {status.st_size:,} bytes, wanted at most {limit_bytes:,}")


def _changing(path: Path) -> ModelError:
    return ModelError(f"{path} changed while it was read; write it under another name and rename it")
