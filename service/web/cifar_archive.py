"""Reads the test batch of ``cifar-10-python.tar.gz``, from https://www.cs.toronto.edu/~kriz/cifar.html.

The batch is a pickle, which is loaded without running code.
"""

from __future__ import annotations

import io
import pickle
import tarfile
import zlib
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

import numpy as np

from cifar10net.protocol import IMAGE_BYTES, IMAGE_SIDE
from service.errors import SourceError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import numpy.typing as npt

_NAME = "test_batch"
_FOLDER = "cifar-10-batches-py"
_ARCHIVES = (".tar.gz", ".tgz", ".tar")
_LARGEST_BYTES = 256 << 20
_CLASSES = 10
_ALLOWED = frozenset({"_reconstruct", "ndarray", "dtype"})


def find_batch(path: Path) -> Callable[[], bytes] | None:
    """Return a function that reads the batch's bytes, or None if this is neither archive nor its folder."""
    if path.is_file() and path.name.lower().endswith(_ARCHIVES):
        return lambda: _unpacked(path)
    for folder in (path, path / _FOLDER):
        if (folder / _NAME).is_file():
            return (folder / _NAME).read_bytes
    return None


def read_batch(read: Callable[[], bytes]) -> tuple[npt.NDArray[np.uint8], list[int]]:
    """Read images, uint8 (n, 32, 32, 3), and labels. Raises SourceError if the batch is damaged."""
    try:
        batch = _ArrayUnpickler(io.BytesIO(read()), encoding="bytes").load()
        pixels, labels = np.asarray(batch[b"data"]), [int(label) for label in batch[b"labels"]]
        if pixels.dtype != np.uint8 or pixels.shape != (len(labels), IMAGE_BYTES):
            raise ValueError(f"data is {pixels.dtype} {pixels.shape}, wanted uint8 (n, {IMAGE_BYTES})")
        if not labels or not 0 <= min(labels) <= max(labels) < _CLASSES:
            raise ValueError("its labels are not numbers from 0 to 9")
    except SourceError:
        raise
    except Exception as error:  # an unpickler of damaged bytes raises anything
        raise SourceError(f"{_NAME} is not a CIFAR-10 batch: {error}") from error
    channels_last = pixels.reshape(-1, 3, IMAGE_SIDE, IMAGE_SIDE).transpose(0, 2, 3, 1)
    return np.ascontiguousarray(channels_last), labels


def _unpacked(path: Path) -> bytes:
    try:
        with tarfile.open(path) as archive:
            for member in archive:
                if PurePosixPath(member.name).name == _NAME and member.size <= _LARGEST_BYTES:
                    file = archive.extractfile(member)
                    if file is not None:
                        return file.read()
    except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
        raise SourceError(f"{path} is not a complete archive: {error}") from error
    raise SourceError(f"{path} has no {_NAME}: wanted cifar-10-python.tar.gz")


class _ArrayUnpickler(pickle.Unpickler):
    """Loads arrays and plain values alone, so that no archive can run code."""

    def find_class(self, module: str, name: str) -> object:
        if (module, name) == ("_codecs", "encode"):
            return super().find_class(module, name)
        if module.partition(".")[0] != "numpy" or name not in _ALLOWED:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, wanted only NumPy arrays")
        return super().find_class(module.replace("numpy.core", "numpy._core"), name)
