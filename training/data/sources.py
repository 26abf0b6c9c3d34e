"""Recognises and reads the forms of CIFAR-10 on disk: the official archive, an image folder, or a zip."""

from __future__ import annotations

import io
import zipfile
import zlib
from pathlib import Path, PurePath, PurePosixPath
from typing import TYPE_CHECKING, Protocol

import numpy as np
from PIL import Image

from training.data.cifar10 import CLASS_NAMES, IMAGE_SHAPE, SPLIT_NAMES
from training.data.cifar_archive import BATCH_NAMES, FOLDER_NAME, read_official
from training.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    import numpy.typing as npt

    from training.data.cifar10 import Arrays, SplitName

_IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg")
# RuntimeError: encrypted, or a compression that Python lacks.
_DAMAGED_ZIP = (zipfile.BadZipFile, EOFError, zlib.error, OSError, RuntimeError, ValueError)


class DataSource(Protocol):
    """One stored form of the data set."""

    def description(self) -> str:
        """Describe it for reports: form, file name, and whether its pixels are the originals."""
        ...

    def identity(self) -> Iterable[str]:
        """Return text that changes when the data may have changed: names, sizes, times."""
        ...

    def read(self, split: SplitName) -> Arrays:
        """Read one split. Raises DataError, which names the damaged file."""
        ...


def open_source(path: Path) -> DataSource:
    """Recognise the form of the data set at ``path``.

    Raises:
        DataError: there is nothing at ``path``, or it has none of the known forms.
    """
    try:
        return _recognise(path)
    except OSError as error:
        raise DataError(f"cannot read the data set at {path}: {error.strerror}") from error


def _recognise(path: Path) -> DataSource:
    if not path.exists():
        raise DataError(f"no data set at {path}: the file or folder does not exist")
    if path.is_dir():
        for folder in (path, path / FOLDER_NAME):
            if (folder / "data_batch_1").exists() or (folder / "test_batch").exists():
                return OfficialBatches(folder)
        if any((path / split).is_dir() for split in SPLIT_NAMES):
            return ImageFolder(path)
    elif zipfile.is_zipfile(path):
        return ImageZip(path)
    elif path.name.endswith((".tar.gz", ".tgz", ".tar")):
        return OfficialBatches(path)
    elif path.suffix == ".zip":
        raise DataError(f"{path} is not a complete zip archive: it is truncated or damaged")
    raise DataError(
        f"{path} is no form of CIFAR-10: wanted cifar-10-python.tar.gz, its folder {FOLDER_NAME}, or a "
        "folder or zip with train/<class>/* and test/<class>/* images"
    )


class OfficialBatches:
    """The official archive, read in place, or its unpacked folder."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def description(self) -> str:
        return f"original CIFAR-10 pixels ({self._path.name})"

    def identity(self) -> Iterable[str]:
        if not self._path.is_dir():
            yield _file_identity(self._path)
            return
        for path in (self._path / name for names in BATCH_NAMES.values() for name in names):
            yield _file_identity(path) if path.exists() else f"{path} missing"

    def read(self, split: SplitName) -> Arrays:
        return read_official(self._path, split)


class ImageFolder:
    """A folder with ``<split>/<class>/*`` PNG or JPEG images of 32x32 pixels."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def description(self) -> str:
        return f"image folder {self._folder.name}{_encoding(self._folder.glob('t*/*/*'))}"

    def identity(self) -> Iterable[str]:
        for split in SPLIT_NAMES:
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
    """Note JPEG files: CIFAR-10 was published as plain pixels, so they have lost something."""
    is_jpeg = any(name.suffix.lower() in {".jpg", ".jpeg"} for name in names)
    return ", a JPEG re-encoding of the originals" if is_jpeg else ""


def _read_images(source: str, split: SplitName, names: list[str], read: Callable[[str], bytes]) -> Arrays:
    """Decode images named ``<split>/<class>/<file>``, in the order given."""
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


def _file_identity(path: Path) -> str:
    try:
        status = path.stat()
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from error
    return f"{path.resolve()} {status.st_size} {status.st_mtime_ns}"
