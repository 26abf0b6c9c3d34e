"""``manifest.json``: the digest of a version's model file, its signature, labels and golden answers.

Manifests are not trusted. Format 1, written by ``training.export.manifest``.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from cifar10net.protocol import IMAGE_BYTES, IMAGE_SIDE
from service.errors import ModelError
from service.repository.folder import MODEL_NAME
from service.repository.golden import Golden

if TYPE_CHECKING:
    from pathlib import Path

    from service.runtime.model import ModelFile, ModelInfo

FORMAT = 1
LIMIT_BYTES = 1 << 20
"""Largest manifest."""
_MOST_GOLDEN = 64
_LONGEST_REASON = 300
_LONGEST_SHOWN = 100
_SHA256 = re.compile(r"[0-9a-f]{64}")
_PIXELS = {"datatype": "uint8", "shape": [-1, IMAGE_SIDE, IMAGE_SIDE, 3]}
_Kind = TypeVar("_Kind")


@dataclass(frozen=True)
class Manifest:
    """A parsed manifest."""

    path: Path
    """Path of the manifest, for messages."""
    sha256: str
    """Hexadecimal digest of the model file."""
    size_bytes: int
    """Size of the model file."""
    input_name: str
    output_name: str
    labels: tuple[str, ...]
    golden: Golden

    def check_file(self, file: ModelFile) -> None:
        """Raise ModelError if the model file has another size or digest."""
        if len(file.content) != self.size_bytes:
            raise ModelError(
                f"{file.path} has {len(file.content):,} bytes, and {self.path.name} says "
                f"{self.size_bytes:,}: it is incomplete, or another file"
            )
        if file.sha256 != self.sha256:
            raise ModelError(
                f"{file.path} has the SHA-256 {file.sha256}, and {self.path.name} says {self.sha256}: it is "
                "damaged, or another file"
            )

    def check_model(self, info: ModelInfo) -> None:
        """Raise ModelError if a loaded model has another input, output or labels."""
        got = (info.input_name, info.output_name, info.labels)
        wanted = (self.input_name, self.output_name, self.labels)
        if got != wanted:
            raise ModelError(
                f"{info.name} version {info.version} has input, output and labels {got}, and "
                f"{self.path} says {wanted}"
            )


def parse(content: bytes, path: Path) -> Manifest:
    """Parse a manifest. Raises ModelError if it is invalid or has another format."""
    try:
        document = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise _unreadable(path, f"invalid JSON: {error}") from error
    format_ = _get(document, path, int, "format")
    if format_ != FORMAT:
        raise ModelError(f"{path} has format {format_}, and this server reads {FORMAT}; upgrade the server")
    if list(_get(document, path, dict, "files")) != [MODEL_NAME]:
        raise _unreadable(path, f"files other than {MODEL_NAME}, wanted it alone")
    labels = tuple(_get(document, path, list, "labels"))
    if not all(isinstance(label, str) for label in labels):
        raise _unreadable(path, "labels that are not text")
    _check_tensor(document, path, "input", _PIXELS)
    _check_tensor(document, path, "output", {"datatype": "float32", "shape": [-1, len(labels)]})
    return Manifest(
        path,
        _digest(document, path),
        _get(document, path, int, "files", MODEL_NAME, "bytes"),
        _get(document, path, str, "input", "name"),
        _get(document, path, str, "output", "name"),
        labels,
        _golden(_get(document, path, list, "golden"), path, len(labels)),
    )


def _digest(document: Any, path: Path) -> str:  # noqa: ANN401 - JSON
    digest = _get(document, path, str, "files", MODEL_NAME, "sha256")
    if not _SHA256.fullmatch(digest):
        raise _unreadable(path, f"no SHA-256 at files.{MODEL_NAME}.sha256: {digest[:_LONGEST_SHOWN]!r}")
    return digest


def _golden(entries: list[Any], path: Path, classes: int) -> Golden:
    if not 1 <= len(entries) <= _MOST_GOLDEN:
        raise _unreadable(path, f"{len(entries)} golden answers, wanted 1 to {_MOST_GOLDEN}")
    images = b"".join(_pixels(_get(each, path, str, "image"), path) for each in entries)
    rows = [_get(each, path, list, "probabilities") for each in entries]
    if not all(len(row) == classes and all(map(_is_probability, row)) for row in rows):
        raise _unreadable(path, f"golden answers that are not {classes} probabilities each")
    shape = (len(entries), IMAGE_SIDE, IMAGE_SIDE, 3)
    return Golden(
        np.frombuffer(images, np.uint8).reshape(shape), np.array(rows, np.float64).astype(np.float32)
    )


def _is_probability(value: Any) -> bool:  # noqa: ANN401 - JSON
    return type(value) in {int, float} and 0 <= value <= 1


def _pixels(text: str, path: Path) -> bytes:
    try:
        pixels = base64.b64decode(text, validate=True)
    except (ValueError, binascii.Error) as error:
        raise _unreadable(path, f"a golden image that is not base64: {error}") from error
    if len(pixels) != IMAGE_BYTES:
        raise _unreadable(path, f"a golden image of {len(pixels):,} bytes, wanted {IMAGE_BYTES:,}")
    return pixels


def _check_tensor(document: Any, path: Path, name: str, wanted: dict[str, Any]) -> None:  # noqa: ANN401 - JSON
    tensor = _get(document, path, dict, name)
    got = {key: tensor.get(key) for key in wanted}
    if got != wanted:
        raise _unreadable(path, f"{name} {got}, wanted {wanted}")


def _get(document: Any, path: Path, kind: type[_Kind], *keys: str) -> _Kind:  # noqa: ANN401 - JSON
    """Return the value at a path of keys; it must have exactly this type."""
    value = document
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    if type(value) is not kind:  # not isinstance: True is an int
        raise _unreadable(path, f"no {kind.__name__} at {'.'.join(keys)}")
    return value


def _unreadable(path: Path, reason: str) -> ModelError:
    return ModelError(f"{path} has {reason[:_LONGEST_REASON]}; write it again with cifar10net-train manifest")
