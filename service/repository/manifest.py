"""``manifest.json``: what a version's folder holds and what its model is.

In: the manifest's bytes, which are trusted for nothing. Out: whether a file is the one it names, and a loaded
model the one it describes. Of format 1, which ``training.export.manifest`` writes. Knows nothing of folders.
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
"""Most that a manifest may have."""
_MOST_GOLDEN = 64
_LONGEST_REASON = 300
_LONGEST_SHOWN = 100
_SHA256 = re.compile(r"[0-9a-f]{64}")
_PIXELS = {"datatype": "uint8", "shape": [-1, IMAGE_SIDE, IMAGE_SIDE, 3]}
_Kind = TypeVar("_Kind")


@dataclass(frozen=True)
class Manifest:
    """What a manifest says."""

    path: Path
    """Of itself, for messages."""
    sha256: str
    """Of the model's file, in hexadecimal digits."""
    size_bytes: int
    """Of it."""
    input_name: str
    output_name: str
    labels: tuple[str, ...]
    golden: Golden

    def check_file(self, file: ModelFile) -> None:
        """Check that a file is the one that is named here.

        Raises:
            ModelError: it is not.
        """
        if len(file.content) != self.size_bytes:
            raise ModelError(
                f"{file.path} has {len(file.content):,} bytes, and {self.path.name} says "
                f"{self.size_bytes:,}: it is not whole, or another file"
            )
        if file.sha256 != self.sha256:
            raise ModelError(
                f"{file.path} has the SHA-256 {file.sha256}, and {self.path.name} says {self.sha256}: it is "
                "damaged, or another file"
            )

    def check_model(self, info: ModelInfo) -> None:
        """Check that a loaded model takes, gives and names what is said here.

        Raises:
            ModelError: it does not.
        """
        got = (info.input_name, info.output_name, info.labels)
        wanted = (self.input_name, self.output_name, self.labels)
        if got != wanted:
            raise ModelError(
                f"{info.name} version {info.version} has input, output and labels {got}, and "
                f"{self.path} says {wanted}"
            )


def parse(content: bytes, path: Path) -> Manifest:
    """Read a manifest.

    Raises:
        ModelError: it is none, or of another format.
    """
    try:
        told = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise _unreadable(path, f"no JSON: {error}") from error
    format_ = _get(told, path, int, "format")
    if format_ != FORMAT:
        raise ModelError(f"{path} has format {format_}, and this server reads {FORMAT}; upgrade the server")
    if list(_get(told, path, dict, "files")) != [MODEL_NAME]:
        raise _unreadable(path, f"files other than {MODEL_NAME}, wanted it alone")
    labels = tuple(_get(told, path, list, "labels"))
    if not all(isinstance(label, str) for label in labels):
        raise _unreadable(path, "labels that are no text")
    _check_tensor(told, path, "input", _PIXELS)
    _check_tensor(told, path, "output", {"datatype": "float32", "shape": [-1, len(labels)]})
    return Manifest(
        path,
        _digest(told, path),
        _get(told, path, int, "files", MODEL_NAME, "bytes"),
        _get(told, path, str, "input", "name"),
        _get(told, path, str, "output", "name"),
        labels,
        _golden(_get(told, path, list, "golden"), path, len(labels)),
    )


def _digest(told: Any, path: Path) -> str:  # noqa: ANN401 - JSON
    digest = _get(told, path, str, "files", MODEL_NAME, "sha256")
    if not _SHA256.fullmatch(digest):
        raise _unreadable(path, f"no SHA-256 at files.{MODEL_NAME}.sha256: {digest[:_LONGEST_SHOWN]!r}")
    return digest


def _golden(told: list[Any], path: Path, classes: int) -> Golden:
    if not 1 <= len(told) <= _MOST_GOLDEN:
        raise _unreadable(path, f"{len(told)} golden answers, wanted 1 to {_MOST_GOLDEN}")
    images = b"".join(_pixels(_get(each, path, str, "image"), path) for each in told)
    rows = [_get(each, path, list, "probabilities") for each in told]
    if not all(len(row) == classes and all(map(_is_probability, row)) for row in rows):
        raise _unreadable(path, f"golden answers that are not {classes} probabilities each")
    shape = (len(told), IMAGE_SIDE, IMAGE_SIDE, 3)
    return Golden(
        np.frombuffer(images, np.uint8).reshape(shape), np.array(rows, np.float64).astype(np.float32)
    )


def _is_probability(value: Any) -> bool:  # noqa: ANN401 - JSON
    return type(value) in {int, float} and 0 <= value <= 1


def _pixels(text: str, path: Path) -> bytes:
    try:
        pixels = base64.b64decode(text, validate=True)
    except (ValueError, binascii.Error) as error:
        raise _unreadable(path, f"a golden image that is no base64: {error}") from error
    if len(pixels) != IMAGE_BYTES:
        raise _unreadable(path, f"a golden image of {len(pixels):,} bytes, wanted {IMAGE_BYTES:,}")
    return pixels


def _check_tensor(told: Any, path: Path, name: str, wanted: dict[str, Any]) -> None:  # noqa: ANN401 - JSON
    tensor = _get(told, path, dict, name)
    got = {key: tensor.get(key) for key in wanted}
    if got != wanted:
        raise _unreadable(path, f"{name} {got}, wanted {wanted}")


def _get(told: Any, path: Path, kind: type[_Kind], *keys: str) -> _Kind:  # noqa: ANN401 - JSON
    """Find a value within objects within objects, of some type."""
    value = told
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    if type(value) is not kind:  # not isinstance: True is an int
        raise _unreadable(path, f"no {kind.__name__} at {'.'.join(keys)}")
    return value


def _unreadable(path: Path, reason: str) -> ModelError:
    return ModelError(f"{path} has {reason[:_LONGEST_REASON]}; write it again with cifar10net-train manifest")
