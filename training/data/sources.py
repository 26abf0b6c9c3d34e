"""The forms in which CIFAR-10 lies on disk, each read into pixels and labels.

In: a path to the official archive or its unpacked folder, or to a folder or zip of images. Out: for
each split, images uint8 (n, 32, 32, 3) and labels int64 (n,). Knows nothing of caches, validation or
training.
"""

from __future__ import annotations

import io
import pickle
import tarfile
import zipfile
import zlib
from pathlib import Path, PurePath, PurePosixPath
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np
from PIL import Image

from training.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    import numpy.typing as npt

    Arrays = tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]

SplitName = Literal["train", "test"]

CLASS_NAMES = (
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
)
IMAGE_SHAPE = (32, 32, 3)
_IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg")
_BATCH_NAMES: dict[SplitName, tuple[str, ...]] = {
    "train": tuple(f"data_batch_{i}" for i in range(1, 6)),
    "test": ("test_batch",),
}
# RuntimeError: encrypted, or a compression that Python lacks.
_DAMAGED_ZIP = (
    zipfile.BadZipFile,
    EOFError,
    zlib.error,
    OSError,
    RuntimeError,
    ValueError,
)


class Source(Protocol):
    """One form of the data set."""

    def description(self) -> str:
        """What it is, for reports: form, file name, and whether its pixels are the originals."""
        ...

    def identity(self) -> Iterable[str]:
        """Text that changes when the data may have changed: names, sizes, times."""
        ...

    def read(self, split: SplitName) -> Arrays:
        """Read one split. Raises DataError naming the file at fault."""
        ...


def open_source(path: Path) -> Source:
    """Recognise the form of the data set at ``path``.

    Raises:
        DataError: nothing is there, or it is none of the known forms.
    """
    try:
        return _recognise(path)
    except OSError as error:
        raise DataError(f"cannot read the data set at {path}: {error.strerror}") from error


def _recognise(path: Path) -> Source:
    if not path.exists():
        raise DataError(f"no data set at {path}: the file or folder does not exist")
    if path.is_dir():
        for folder in (path, path / "cifar-10-batches-py"):
            if (folder / "data_batch_1").exists() or (folder / "test_batch").exists():
                return OfficialBatches(folder)
        if any((path / split).is_dir() for split in _BATCH_NAMES):
            return ImageFolder(path)
    elif zipfile.is_zipfile(path):
        return ImageZip(path)
    elif path.name.endswith((".tar.gz", ".tgz", ".tar")):
        return OfficialArchive(path)
    elif path.suffix == ".zip":
        raise DataError(f"{path} is not a complete zip archive: it is truncated or damaged")
    raise DataError(
        f"{path} is no form of CIFAR-10: wanted cifar-10-python.tar.gz, its folder "
        "cifar-10-batches-py, or a folder or zip with train/<class>/* and test/<class>/* images"
    )


class OfficialBatches:
    """The folder ``cifar-10-batches-py`` of https://www.cs.toronto.edu/~kriz/cifar.html."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def description(self) -> str:
        return f"original CIFAR-10 pixels ({self._folder.name})"

    def identity(self) -> Iterable[str]:
        for names in _BATCH_NAMES.values():
            for name in names:
                path = self._folder / name
                yield _file_identity(path) if path.exists() else f"{path} missing"

    def read(self, split: SplitName) -> Arrays:
        batches = []
        for name in _BATCH_NAMES[split]:
            path = self._folder / name
            try:
                data = path.read_bytes()
            except OSError as error:
                raise DataError(f"cannot read {path}: {error.strerror}") from error
            batches.append(_parse_batch(data, str(path)))
        return _join(batches)


class OfficialArchive:
    """The file ``cifar-10-python.tar.gz``, read in place."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def description(self) -> str:
        return f"original CIFAR-10 pixels ({self._path.name})"

    def identity(self) -> Iterable[str]:
        yield _file_identity(self._path)

    def read(self, split: SplitName) -> Arrays:
        wanted = _BATCH_NAMES[split]
        found: dict[str, Arrays] = {}
        try:
            with tarfile.open(self._path) as archive:
                for member in archive:
                    name = PurePosixPath(member.name).name
                    file = archive.extractfile(member) if name in wanted else None
                    if file is not None:
                        found[name] = _parse_batch(file.read(), f"{self._path}: {member.name}")
        except (tarfile.TarError, EOFError, OSError, KeyError, zlib.error) as error:
            raise DataError(
                f"{self._path} is not a complete tar archive ({error}); download it again"
            ) from error
        for name in wanted:
            if name not in found:
                raise DataError(f"{self._path} has no member {name}: wanted {', '.join(wanted)}")
        return _join([found[name] for name in wanted])


class ImageFolder:
    """A folder with ``<split>/<class>/*`` PNG or JPEG images of 32x32 pixels."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def description(self) -> str:
        return f"image folder {self._folder.name}{_encoding(self._folder.glob('t*/*/*'))}"

    def identity(self) -> Iterable[str]:
        for split in _BATCH_NAMES:
            for path in sorted((self._folder / split).glob("*/*")):
                yield _file_identity(path)

    def read(self, split: SplitName) -> Arrays:
        names = sorted(
            path.relative_to(self._folder).as_posix()
            for path in (self._folder / split).glob("*/*")
            if path.is_file()
        )
        return _read_images(str(self._folder), split, names, lambda name: (self._folder / name).read_bytes())


class ImageZip:
    """A zip of such a folder, read in place; a common leading folder is allowed."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def description(self) -> str:
        with zipfile.ZipFile(self._path) as archive:
            names = map(PurePosixPath, archive.namelist())
            return f"image zip {self._path.name}{_encoding(names)}"

    def identity(self) -> Iterable[str]:
        yield _file_identity(self._path)

    def read(self, split: SplitName) -> Arrays:
        try:
            with zipfile.ZipFile(self._path) as archive:
                names = [
                    name
                    for name in archive.namelist()
                    if PurePosixPath(name).parts[-3:-2] == (split,) and not name.endswith("/")
                ]
                leading = {PurePosixPath(name).parts[:-3] for name in names}
                members = {"/".join(PurePosixPath(name).parts[-3:]): name for name in names}
                if len(leading) > 1:
                    folders = ", ".join(sorted("/".join((*parts, split)) for parts in leading))
                    raise DataError(f"{self._path} has several data sets: {folders}; wanted one")
                return _read_images(
                    str(self._path),
                    split,
                    sorted(members),
                    lambda name: archive.read(members[name]),
                )
        except _DAMAGED_ZIP as error:
            raise DataError(f"{self._path} is not a complete, plain zip archive ({error})") from error


def _encoding(names: Iterable[PurePath]) -> str:
    """CIFAR-10 was published as plain pixels, so JPEG files have lost something."""
    is_jpeg = any(name.suffix.lower() in {".jpg", ".jpeg"} for name in names)
    return ", a JPEG re-encoding of the originals" if is_jpeg else ""


def _read_images(source: str, split: SplitName, names: list[str], read: Callable[[str], bytes]) -> Arrays:
    """Decode ``<split>/<class>/<file>`` names, in the order given."""
    names = [
        name
        for name in names
        if name.lower().endswith(_IMAGE_SUFFIXES) and not PurePosixPath(name).name.startswith(".")
    ]
    classes = [PurePosixPath(name).parent.name for name in names]
    if not names:
        raise DataError(f"{source} has no images in {split}/: wanted {split}/<class>/*.png or *.jpg")
    for unknown in sorted(set(classes) - set(CLASS_NAMES)):
        raise DataError(
            f"{source} has a folder {split}/{unknown}/, which is none of the ten classes "
            f"({', '.join(CLASS_NAMES)})"
        )
    for label in CLASS_NAMES:
        if label not in classes:
            raise DataError(
                f"{source} has no images in {split}/{label}/: wanted *.png or *.jpg for each of "
                "the ten classes"
            )
    images = np.empty((len(names), *IMAGE_SHAPE), np.uint8)
    for image, name in zip(images, names, strict=True):
        try:
            data = read(name)
        except OSError as error:
            raise DataError(f"cannot read {source}: {name}: {error.strerror or error}") from error
        image[...] = _decode(data, f"{source}: {name}")
    return images, np.array([CLASS_NAMES.index(label) for label in classes], np.int64)


def _decode(data: bytes, name: str) -> npt.NDArray[np.uint8]:
    height, width, _ = IMAGE_SHAPE
    try:
        with Image.open(io.BytesIO(data), formats=("PNG", "JPEG")) as image:
            if image.size != (width, height):
                raise DataError(f"{name} is {image.width}x{image.height} pixels, wanted {width}x{height}")
            return np.asarray(image.convert("RGB"))
    except DataError:
        raise
    except Exception as error:  # Pillow raises a dozen types for damaged files
        raise DataError(f"{name} is not a readable PNG or JPEG image ({error})") from error


def _parse_batch(data: bytes, name: str) -> Arrays:
    """Read one pickled batch: {b"data": uint8 (n, 3072) channel by channel, b"labels": [int]}."""
    try:
        batch = _BatchUnpickler(io.BytesIO(data), encoding="bytes").load()
        pixels, labels = np.asarray(batch[b"data"]), np.asarray(batch[b"labels"], np.int64)
        if pixels.dtype != np.uint8 or pixels.shape != (len(labels), 3072):
            raise ValueError(f"data is {pixels.dtype} {pixels.shape}, wanted uint8 (n, 3072)")
        if len(labels) == 0 or not 0 <= labels.min() <= labels.max() < len(CLASS_NAMES):
            raise ValueError("labels are not numbers from 0 to 9")
    except Exception as error:  # an unpickler of damaged bytes raises anything
        raise DataError(f"{name} is not a CIFAR-10 batch ({error})") from error
    images = pixels.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    return np.ascontiguousarray(images), labels


class _BatchUnpickler(pickle.Unpickler):
    """Unpickles NumPy arrays and plain containers alone, so that an archive cannot run code."""

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


def _join(batches: list[Arrays]) -> Arrays:
    return (
        np.concatenate([images for images, _ in batches]),
        np.concatenate([labels for _, labels in batches]),
    )


def _file_identity(path: Path) -> str:
    try:
        status = path.stat()
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from error
    return f"{path.resolve()} {status.st_size} {status.st_mtime_ns}"
