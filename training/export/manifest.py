"""``manifest.json``: what a version's folder holds, by digest, and what its model has to answer.

In: a model file. Out: the text beside it, from which a server sees that it has the whole file, the right one,
and that it answers on the server's machine as it did here. The server reads format 1 in
``service/repository/manifest.py``.
"""

from __future__ import annotations

import base64
import json
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from training.data.sources import CLASS_NAMES, IMAGE_SHAPE
from training.errors import CheckpointError
from training.evaluation.metrics import open_onnx
from training.export.float64_reference import softmax_predictor
from training.export.golden import golden_answers

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np

FORMAT = 1
MANIFEST_NAME = "manifest.json"
MODEL_NAME = "model.onnx"
_DIGITS = 9  # tell any float32 from its neighbours


def describe(model: Path) -> str:
    """Write the manifest of a model file.

    Args:
        model: an ``.onnx`` of ours. The file name in the manifest is ``model.onnx``, whatever this one's is.

    Returns:
        JSON, the same for the same file on the same machine; of an int8 model, on every machine.

    Raises:
        CheckpointError: the file is missing, damaged, takes or gives something else, or names no labels.
        MissingPackageError: onnxruntime is not installed.
    """
    session = open_onnx(model)
    content = model.read_bytes()
    labels = session.get_modelmeta().custom_metadata_map.get("labels", "").split(",")
    if len(labels) != len(CLASS_NAMES):
        raise CheckpointError(
            f"{model} names {len(labels)} labels in its metadata, wanted {len(CLASS_NAMES)}; export it again "
            "with cifar10net-train export"
        )
    golden = golden_answers(softmax_predictor(model))
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
                "probabilities": [_as_decimal(value) for value in row],
            }
            for image, row in zip(golden.images, golden.probabilities, strict=True)
        ],
    }
    return json.dumps(manifest, indent=1, ensure_ascii=False) + "\n"


def describes(manifest: str, content: bytes) -> bool:
    """Whether a manifest is of our format and names these bytes."""
    try:
        found = json.loads(manifest)
        return bool(
            found["format"] == FORMAT and found["files"][MODEL_NAME]["sha256"] == sha256(content).hexdigest()
        )
    except (ValueError, LookupError, TypeError):
        return False


def _as_decimal(value: np.float32) -> float:
    """Return the float whose few digits are this float32's."""
    return float(f"{value:.{_DIGITS}g}")
