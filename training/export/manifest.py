"""``manifest.json``: digest, signature, labels and golden answers of a model version.

With it a server verifies that the file is complete and the right one, and that the model gives the same
probabilities on its machine. ``service/repository/manifest.py`` reads format 1.
"""

from __future__ import annotations

import base64
import json
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from training.data.cifar10 import CLASS_NAMES, IMAGE_SHAPE
from training.errors import CheckpointError
from training.evaluation.metrics import open_onnx
from training.export.float64_reference import softmax_predictor
from training.export.golden import golden_answers

if TYPE_CHECKING:
    from pathlib import Path


FORMAT = 1
MANIFEST_NAME = "manifest.json"
MODEL_NAME = "model.onnx"
_DIGITS = 9  # enough to distinguish neighbouring float32 values


def make_manifest(model: Path | bytes) -> str:
    """Return the manifest of a model file, as JSON.

    It is the same for the same file on the same machine; for an int8 model, on every machine.

    Args:
        model: an exported ``.onnx`` or its content; the manifest calls it ``model.onnx``.

    Raises:
        CheckpointError: the file is missing or damaged, or has other inputs, outputs or labels.
        MissingPackageError: onnxruntime is not installed.
    """
    session = open_onnx(model)
    content = model if isinstance(model, bytes) else model.read_bytes()
    labels = session.get_modelmeta().custom_metadata_map.get("labels", "").split(",")
    if len(labels) != len(CLASS_NAMES):
        raise CheckpointError(
            f"the metadata of the model has {len(labels)} labels, wanted {len(CLASS_NAMES)}; export it again "
            "with cifar10net-train export"
        )
    golden = golden_answers(softmax_predictor(content))
    manifest: dict[str, Any] = {
        "format": FORMAT,
        "files": {MODEL_NAME: {"bytes": len(content), "sha256": sha256(content).hexdigest()}},
        "input": {"name": session.get_inputs()[0].name, "datatype": "uint8", "shape": [-1, *IMAGE_SHAPE]},
        "output": {
            "name": session.get_outputs()[0].name,
            "datatype": "float32",
            "shape": [-1, len(CLASS_NAMES)],
        },
        "labels": labels,
        "golden": [
            {
                "image": base64.b64encode(image.tobytes()).decode(),
                "probabilities": [float(f"{value:.{_DIGITS}g}") for value in row],
            }
            for image, row in zip(golden.images, golden.probabilities, strict=True)
        ],
    }
    return json.dumps(manifest, indent=1, ensure_ascii=False) + "\n"


def manifest_matches(manifest: str, content: bytes) -> bool:
    """Whether a manifest is of our format and has the digest of these bytes."""
    try:
        found = json.loads(manifest)
        return bool(
            found["format"] == FORMAT and found["files"][MODEL_NAME]["sha256"] == sha256(content).hexdigest()
        )
    except (ValueError, LookupError, TypeError):
        return False
