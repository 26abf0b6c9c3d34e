"""Publishes a version in a model repository, so that a server that watches it never loads a mixture of files.

A new version is written under a dotted name, which servers ignore, and renamed. In an existing one the model
is replaced first and the manifest last; in between, the digest does not match and no server loads it.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from typing import TYPE_CHECKING

from training.atomic_files import write_bytes, write_text
from training.errors import ExportError, WriteError
from training.export.layer_outputs import LAYER_OUTPUTS_NAME
from training.export.manifest import MANIFEST_NAME, MODEL_NAME, manifest_matches

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


def publish(
    folder: Path, model: bytes, manifest: str, *, may_replace: bool, inside: bytes | None = None
) -> None:
    """Write a model, its manifest and its layer outputs into ``folder``.

    If the folder holds the same model already, its manifest is kept, unless it is missing or does not match.

    Args:
        folder: ``<root>/<model>/<version>``.
        model: bytes of ``model.onnx``.
        manifest: text of ``manifest.json``.
        may_replace: whether to replace another model.
        inside: bytes of ``inside.onnx``, which model servers ignore; None removes one that is there.

    Raises:
        ExportError: the folder holds another model, which may not be replaced.
        WriteError: the folder cannot be written.
    """
    try:
        is_new = not folder.exists()
        if is_new:
            _stage(folder, model, manifest, inside)
    except OSError as error:
        raise WriteError(folder, error) from error
    if not is_new:
        _replace(folder, model, manifest, inside, may_replace=may_replace)


def is_newest(folder: Path) -> bool:
    """Whether no other version of the model has a higher number."""
    others = (other.name for other in folder.parent.iterdir() if (other / MODEL_NAME).exists())
    return all(int(name) <= int(folder.name) for name in others if name.isdecimal())


def publish_card(folder: Path, texts: Mapping[str, str]) -> None:
    """Write files beside the versions, if ``folder`` is the newest of them. Raises WriteError."""
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
            _write_to_disk(partial / LAYER_OUTPUTS_NAME, inside)
        partial.rename(folder)
    finally:
        with contextlib.suppress(OSError):
            shutil.rmtree(partial)


def _write_to_disk(path: Path, content: bytes) -> None:
    with path.open("xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _replace(folder: Path, model: bytes, manifest: str, inside: bytes | None, *, may_replace: bool) -> None:
    there = _read(folder / MODEL_NAME)
    if there is not None and there != model and not may_replace:
        raise ExportError(
            f"{folder} holds another model already; choose another --model-version, or give --replace"
        )
    if there != model:
        write_bytes(folder / MODEL_NAME, model)
    if not manifest_matches((_read(folder / MANIFEST_NAME) or b"").decode(errors="replace"), model):
        write_text(folder / MANIFEST_NAME, manifest)
    if inside is None:
        (folder / LAYER_OUTPUTS_NAME).unlink(missing_ok=True)
    elif _read(folder / LAYER_OUTPUTS_NAME) != inside:
        write_bytes(folder / LAYER_OUTPUTS_NAME, inside)


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise WriteError(path, error) from error
