"""Finds the exported models to compare, in a model repository or by path.

Models with other inputs, outputs or labels are skipped in a repository, which is laid out as
``<root>/<model>/<version>/model.onnx``, and refused if they were named.
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
class ExportedModel:
    """A model that can be compared."""

    name: str
    path: Path


def in_repository(root: Path) -> tuple[list[ExportedModel], list[str]]:
    """Find the newest version of each model.

    Returns:
        The models, sorted by name, and one sentence for each that was skipped.

    Raises:
        CheckpointError: there is no model to compare.
        MissingPackageError: onnxruntime is not installed.
    """
    models, skipped = [], []
    for folder in sorted(root.iterdir()) if root.is_dir() else []:
        path = None if folder.name.startswith(".") else newest(folder)
        if path is None:
            continue
        try:
            _check(path)
        except CheckpointError as error:
            skipped.append(f"left out {folder.name}: {error}")
        else:
            models.append(ExportedModel(folder.name, path))
    if not models:
        why = f" ({skipped[0]})" if skipped else ""
        raise CheckpointError(
            f"no model to compare in {root}{why}, wanted <model>/<version>/{MODEL_NAME}; export one with "
            "cifar10net-train export, or name files with --model"
        )
    return models, skipped


def named(paths: Iterable[Path]) -> list[ExportedModel]:
    """Return the models at these paths: ``.onnx`` files, or model folders for their newest versions.

    Raises:
        CheckpointError: a model is missing or cannot be compared.
        MissingPackageError: onnxruntime is not installed.
    """
    files = []
    for path in dict.fromkeys(paths):
        file = newest(path) if path.is_dir() else path
        if file is None:
            raise CheckpointError(
                f"no model in {path}: wanted an .onnx file or a folder <model> with <version>/{MODEL_NAME}"
            )
        _check(file)
        files.append(file)
    short = [_short_name(file) for file in files]
    count = Counter(short)
    # Two versions of a model, or files that share a name, are named by their paths.
    names = [name if count[name] == 1 else str(file) for name, file in zip(short, files, strict=True)]
    return [ExportedModel(name, file) for name, file in zip(names, files, strict=True)]


def newest(folder: Path) -> Path | None:
    """Return the file of the highest version in a model's folder; None if there is none."""
    if not folder.is_dir():
        return None
    versions = [each for each in folder.iterdir() if each.name.isdecimal() and (each / MODEL_NAME).is_file()]
    return max(versions, key=lambda version: int(version.name)) / MODEL_NAME if versions else None


def _check(path: Path) -> None:
    """Raise CheckpointError unless the model can be opened and has CIFAR-10's labels."""
    labels = open_onnx(path).get_modelmeta().custom_metadata_map.get("labels", "")
    if labels != ",".join(CLASS_NAMES):
        got = f"the labels {labels!r}" if labels else "no labels"
        raise CheckpointError(f"{path} has {got} in its metadata, wanted {','.join(CLASS_NAMES)!r}")


def _short_name(path: Path) -> str:
    """Return ``<model>`` of ``<model>/<version>/model.onnx``, otherwise the file's name."""
    is_in_repository = path.name == MODEL_NAME and path.parent.name.isdecimal()
    return path.absolute().parent.parent.name if is_in_repository else path.stem
