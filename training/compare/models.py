"""Which exported models are compared: those of a repository, or those that are named.

In: a model repository (``<root>/<model>/<version>/model.onnx``) or paths. Out: a name and a file each. A
model that is none of ours (it takes or gives something else, or has other labels) is left out of a
repository with a sentence, and refused where it was asked for.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from training.data.cifar10 import CLASS_NAMES
from training.errors import CheckpointError
from training.evaluation.metrics import open_onnx
from training.export.manifest import MODEL_NAME

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path


@dataclass(frozen=True)
class Subject:
    """A model that can be compared."""

    name: str
    path: Path


def in_repository(root: Path) -> tuple[list[Subject], list[str]]:
    """Find the newest version of each model.

    Returns:
        The models by name, and a sentence for each that is left out.

    Raises:
        CheckpointError: there is no model to compare.
        MissingPackageError: onnxruntime is not installed.
    """
    subjects, left_out = [], []
    folders = sorted(root.iterdir()) if root.is_dir() else []
    for folder in folders:
        path = None if folder.name.startswith(".") else newest(folder)
        if path is None:
            continue
        try:
            check(path)
        except CheckpointError as error:
            left_out.append(f"left out {folder.name}: {error}")
        else:
            subjects.append(Subject(folder.name, path))
    if not subjects:
        why = f" ({left_out[0]})" if left_out else ""
        raise CheckpointError(
            f"no model to compare in {root}{why}, wanted <model>/<version>/{MODEL_NAME}; export one with "
            "cifar10net-train export, or name files with --model"
        )
    return subjects, left_out


def named(paths: Iterable[Path]) -> list[Subject]:
    """Take models by path: an ``.onnx`` file, or a model's folder for its newest version.

    Raises:
        CheckpointError: one is missing or cannot be compared.
        MissingPackageError: onnxruntime is not installed.
    """
    files = []
    for path in dict.fromkeys(paths):
        file = newest(path) if path.is_dir() else path
        if file is None:
            raise CheckpointError(
                f"no model in {path}: wanted an .onnx file or a folder <model> with <version>/{MODEL_NAME}"
            )
        check(file)
        files.append(file)
    short = [_short_name(file) for file in files]
    count = Counter(short)
    # Versions of one model, and files that happen to be called the same, go by their paths.
    names = [name if count[name] == 1 else str(file) for name, file in zip(short, files, strict=True)]
    return [Subject(name, file) for name, file in zip(names, files, strict=True)]


def newest(folder: Path) -> Path | None:
    """Return the model file of the version with the highest number in a model's folder."""
    if not folder.is_dir():
        return None
    versions = [each for each in folder.iterdir() if each.name.isdecimal() and (each / MODEL_NAME).is_file()]
    return max(versions, key=lambda version: int(version.name)) / MODEL_NAME if versions else None


def check(path: Path) -> None:
    """Refuse a model that cannot be measured on CIFAR-10.

    Raises:
        CheckpointError: it is missing, damaged, takes or gives something else, or has other labels.
    """
    labels = open_onnx(path).get_modelmeta().custom_metadata_map.get("labels", "")
    if labels != ",".join(CLASS_NAMES):
        told = f"the labels {labels!r}" if labels else "no labels"
        raise CheckpointError(f"{path} has {told} in its metadata, wanted {','.join(CLASS_NAMES)!r}")


def _short_name(path: Path) -> str:
    """Return ``<model>`` of ``<model>/<version>/model.onnx``, or the file's name."""
    is_in_repository = path.name == MODEL_NAME and path.parent.name.isdecimal()
    return path.absolute().parent.parent.name if is_in_repository else path.stem
