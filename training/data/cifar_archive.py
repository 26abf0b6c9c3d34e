"""Reads the official archive: ``cifar-10-python.tar.gz`` itself, or its folder ``cifar-10-batches-py``.

The format is described at https://www.cs.toronto.edu/~kriz/cifar.html.
"""

from __future__ import annotations

import io
import pickle
import tarfile
import zlib
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

import numpy as np

from training.data.cifar10 import CLASS_NAMES
from training.errors import DataError

if TYPE_CHECKING:
    from pathlib import Path

    from training.data.cifar10 import Arrays, SplitName

BATCH_NAMES: dict[SplitName, tuple[str, ...]] = {
    "train": tuple(f"data_batch_{i}" for i in range(1, 6)),
    "test": ("test_batch",),
}
FOLDER_NAME = "cifar-10-batches-py"


def read_official(path: Path, split: SplitName) -> Arrays:
    """Read a split of the archive or of its unpacked folder.

    Raises:
        DataError: a batch is missing or damaged; the message names the file.
    """
    read = _read_folder if path.is_dir() else _read_archive
    batches = read(path, BATCH_NAMES[split])
    images, labels = zip(*batches, strict=True)
    return np.concatenate(images), np.concatenate(labels)


def _read_folder(folder: Path, names: tuple[str, ...]) -> list[Arrays]:
    batches = []
    for path in (folder / name for name in names):
        try:
            data = path.read_bytes()
        except OSError as error:
            raise DataError(f"cannot read {path}: {error.strerror}") from error
        batches.append(_parse_batch(data, str(path)))
    return batches


def _read_archive(path: Path, names: tuple[str, ...]) -> list[Arrays]:
    found: dict[str, Arrays] = {}
    try:
        with tarfile.open(path) as archive:
            for member in archive:
                name = PurePosixPath(member.name).name
                file = archive.extractfile(member) if name in names else None
                if file is not None:
                    found[name] = _parse_batch(file.read(), f"{path}: {member.name}")
    except (tarfile.TarError, EOFError, OSError, KeyError, zlib.error) as error:
        raise DataError(f"{path} is not a complete tar archive ({error}); download it again") from error
    for name in names:
        if name not in found:
            raise DataError(f"{path} has no member {name}: wanted {', '.join(names)}")
    return [found[name] for name in names]


def _parse_batch(data: bytes, name: str) -> Arrays:
    """Read one pickled batch: {b"data": uint8 (n, 3072), channel by channel, b"labels": [int]}."""
    try:
        batch = _BatchUnpickler(io.BytesIO(data), encoding="bytes").load()
        pixels, labels = np.asarray(batch[b"data"]), np.asarray(batch[b"labels"], np.int64)
        if pixels.dtype != np.uint8 or pixels.shape != (len(labels), 3072):
            raise ValueError(f"data is {pixels.dtype} {pixels.shape}, wanted uint8 (n, 3072)")
        if len(labels) == 0 or not 0 <= labels.min() <= labels.max() < len(CLASS_NAMES):
            raise ValueError("labels are not numbers from 0 to 9")
    except Exception as error:  # unpickling damaged bytes can raise anything
        raise DataError(f"{name} is not a CIFAR-10 batch ({error})") from error
    images = pixels.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    return np.ascontiguousarray(images), labels


class _BatchUnpickler(pickle.Unpickler):
    """Unpickles only NumPy arrays and plain containers, so that an archive cannot run code."""

    _allowed = frozenset(
        {
            ("numpy.core.multiarray", "_reconstruct"),
            ("numpy._core.multiarray", "_reconstruct"),
            ("numpy", "ndarray"),
            ("numpy", "dtype"),
            ("_codecs", "encode"),
        }
    )

    def find_class(self, module: str, name: str) -> object:
        if (module, name) not in self._allowed:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which no batch needs")
        return super().find_class(module.replace("numpy.core", "numpy._core"), name)
