"""Puts a version into a model repository so that a server which watches it never takes a mixture for whole.

In: the model, and what describes it. Out: a version's folder. A new one is written under a dotted name, which
servers do not look at, and renamed; in one that exists the model is replaced first and the manifest last, so
that in between the digest does not fit and nobody loads what is there.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from typing import TYPE_CHECKING

from training.atomic_files import replacing, write_text
from training.errors import ExportError, WriteError
from training.export.layer_outputs import INSIDE_NAME
from training.export.manifest import MANIFEST_NAME, MODEL_NAME, describes

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


def publish(
    folder: Path, model: bytes, manifest: str, *, may_replace: bool, inside: bytes | None = None
) -> None:
    """Make ``folder`` hold this model and its manifest, and what looks inside it.

    A folder that holds the very model is left as it is, but for a manifest that is missing or another's.

    Args:
        folder: ``<root>/<model>/<version>``.
        model: content of ``model.onnx``.
        manifest: content of ``manifest.json``.
        may_replace: whether another model that is there makes room.
        inside: content of ``inside.onnx``, which servers do not look at; None is no such file, as one of
            another model would be of no use.

    Raises:
        ExportError: another model is there and may not be replaced.
        WriteError: the folder cannot be written.
    """
    try:
        is_new = not folder.exists()
        if is_new:
            _stage(folder, model, manifest, inside)
    except OSError as error:
        raise WriteError(folder, error) from error
    if not is_new:
        _replace(folder, model, manifest, may_replace=may_replace)
        _put_inside(folder / INSIDE_NAME, inside)


def is_newest(folder: Path) -> bool:
    """Whether no version beside this one has a higher number."""
    others = (other.name for other in folder.parent.iterdir() if (other / MODEL_NAME).exists())
    return all(int(name) <= int(folder.name) for name in others if name.isdecimal())


def describe_newest(folder: Path, texts: Mapping[str, str]) -> None:
    """Write the texts beside the versions, unless a version with a higher number is there.

    Args:
        folder: ``<root>/<model>/<version>``.
        texts: contents by file name.

    Raises:
        WriteError: a file cannot be written.
    """
    if is_newest(folder):
        for name, text in texts.items():
            write_text(folder.parent / name, text)


def _stage(folder: Path, model: bytes, manifest: str, inside: bytes | None) -> None:
    partial = folder.with_name(f".{folder.name}.{os.getpid()}.partial")
    try:
        partial.mkdir(parents=True)
        _write_to_disk(partial / MODEL_NAME, model)
        _write_to_disk(partial / MANIFEST_NAME, manifest.encode())
        if inside is not None:
            _write_to_disk(partial / INSIDE_NAME, inside)
        partial.rename(folder)
    finally:
        with contextlib.suppress(OSError):
            shutil.rmtree(partial)


def _write_to_disk(path: Path, content: bytes) -> None:
    with path.open("xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _replace(folder: Path, model: bytes, manifest: str, *, may_replace: bool) -> None:
    there = _read(folder / MODEL_NAME)
    if there is not None and there != model and not may_replace:
        raise ExportError(
            f"{folder} holds another model already; export this one as another version (--model-version), "
            "or give --replace"
        )
    if there != model:
        with replacing(folder / MODEL_NAME) as file:
            file.write(model)
    if not describes((_read(folder / MANIFEST_NAME) or b"").decode(errors="replace"), model):
        with replacing(folder / MANIFEST_NAME) as file:
            file.write(manifest.encode())


def _put_inside(path: Path, inside: bytes | None) -> None:
    """Have the file there be this one, or none."""
    if inside is None:
        path.unlink(missing_ok=True)
    elif _read(path) != inside:
        with replacing(path) as file:
            file.write(inside)


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise WriteError(path, error) from error
