"""Prints digests of the int8 models that a processor makes; run by tests/test_processors.py.

Argument: the model's file. Prints a JSON object: the SHA-256 of the file by each way of choosing ranges, in
both forms, and of the golden answers of the last one.
"""

from __future__ import annotations

import json
import sys
import tempfile
from hashlib import sha256
from pathlib import Path

import onnx

from training.export.golden import draw_images
from training.export.manifest import make_manifest
from training.quantization.static_quantization import METHODS, calibrate


def main() -> None:
    """Quantise for each provider, on images that are drawn."""
    source = onnx.load(sys.argv[1])
    told: dict[str, str] = {}
    for form in ("int8", "int8_openvino"):
        calibrated = calibrate(source, draw_images(50), for_openvino=form == "int8_openvino")
        for method in METHODS:
            model = calibrated.to_int8(method)
            content = model.SerializeToString(deterministic=True)
            told[f"{form}, {method.name}"] = sha256(content).hexdigest()
    for entry in source.metadata_props:
        model.metadata_props.add(key=entry.key, value=entry.value)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        onnx.save(model, path)
        told["golden answers"] = sha256(make_manifest(path).encode()).hexdigest()
    print(json.dumps(told))  # noqa: T201 - for the test


if __name__ == "__main__":
    main()
