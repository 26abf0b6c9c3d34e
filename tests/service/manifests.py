"""Manifests of the colour model, as the export would write them."""

from __future__ import annotations

import base64
import json
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import numpy as np

from tests.service.colours import COLOURS, expected_probabilities

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


def golden_images() -> np.ndarray:
    """Draw a mostly red, a mostly green and a mostly blue image: uint8 (3, 32, 32, 3)."""
    images = np.random.default_rng(1).integers(0, 100, (3, 32, 32, 3), dtype=np.uint8)
    for channel in range(3):
        images[channel, ..., channel] += 60
    return images


def manifest(content: bytes, *, scale: float = 32.0, **changes: Any) -> bytes:
    """Describe a model.

    Args:
        content: of its file.
        scale: of the colour model that gives the golden answers.
        changes: other values of some top-level fields.
    """
    images = golden_images()
    return described(content, COLOURS, (images, expected_probabilities(images, scale)), **changes)


def described(
    content: bytes, names: Sequence[str], examples: tuple[np.ndarray, np.ndarray], **changes: Any
) -> bytes:
    """Describe a model of any labels.

    Args:
        content: of its file.
        names: of its classes.
        examples: images uint8 (n, 32, 32, 3) and the golden answers to them (n, classes).
        changes: other values of some top-level fields.
    """
    told = {
        "format": 1,
        "files": {"model.onnx": {"bytes": len(content), "sha256": sha256(content).hexdigest()}},
        "input": {"name": "images", "datatype": "uint8", "shape": [-1, 32, 32, 3]},
        "output": {"name": "probabilities", "datatype": "float32", "shape": [-1, len(names)]},
        "labels": list(names),
        "golden": [
            {"image": base64.b64encode(image.tobytes()).decode(), "probabilities": row.tolist()}
            for image, row in zip(*examples, strict=True)
        ],
    }
    return json.dumps(told | changes).encode()


def publish(root: Path, content: bytes, told: bytes | None, name: str = "colours", version: int = 1) -> Path:
    """Put a new version into a repository as the export does: under another name, then renamed.

    Args:
        root: the repository.
        content: of the model.
        told: of its manifest; None leaves it out.
        name: of the model.
        version: of it.

    Returns:
        The version's folder.
    """
    folder = root / name / str(version)
    partial = folder.with_name(f".{version}.partial")
    partial.mkdir(parents=True)
    (partial / "model.onnx").write_bytes(content)
    if told is not None:
        (partial / "manifest.json").write_bytes(told)
    return partial.rename(folder)


def replace(path: Path, content: bytes) -> None:
    """Replace a file whole."""
    partial = path.with_name(f".{path.name}.partial")
    partial.write_bytes(content)
    partial.replace(path)
