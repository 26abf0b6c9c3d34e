"""``inside.onnx``: a model that also returns the output of each of its layers.

``cifar10net-train`` writes the file beside the model. Whether it belongs to the model that is served shows in
its answers alone, which callers have to compare.
"""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cifar10net.protocol import IMAGE_SIDE
from service.errors import ModelError
from service.repository.folder import read
from service.runtime.model import ModelFile, open_session, runtime_version
from service.runtime.providers import ProviderConfig

if TYPE_CHECKING:
    import numpy.typing as npt

INSIDE_NAME = "inside.onnx"
_FORMAT = "1"
_LAYER, _WEIGHTS = "layer/", "weights/"
_LARGEST_BYTES = 256 << 20
_ROW = frozenset(
    {
        "kernel",
        "kind",
        "multiply_adds",
        "name",
        "output_shape",
        "padding",
        "parameters",
        "receptive_field",
        "receptive_start",
        "receptive_stride",
        "stride",
        "weights_shape",
    }
)
_MOST_LOADED = 16


class Layers:
    """A loaded file. Thread-safe; one picture is run at a time."""

    def __init__(self, content: bytes, path: Path) -> None:
        """Load the file. Raises StartupError if it is damaged or lacks the table of its layers."""
        file = ModelFile(path, path.parent.parent.name, 1, content)
        self._session = open_session(file, ProviderConfig(), threads=1)
        metadata = dict(self._session.get_modelmeta().custom_metadata_map)
        inputs, outputs = self._session.get_inputs(), {each.name for each in self._session.get_outputs()}
        self._probabilities = self._session.get_outputs()[0].name
        self._input = inputs[0].name
        self._lock = threading.Lock()
        try:
            self.rows: list[dict[str, Any]] = json.loads(metadata["layers"])
            names = [row["name"] for row in self.rows]
            is_ours = metadata["format"] == _FORMAT and all(row.keys() == _ROW for row in self.rows)
            is_ours = is_ours and outputs >= {f"{_LAYER}{name}" for name in names}
            is_ours = is_ours and outputs >= {f"{_WEIGHTS}{name}" for name in self._with_weights()}
        except (KeyError, TypeError, ValueError) as error:
            raise ModelError(f"{path} has no table of its layers: {error}") from error
        if not is_ours:
            raise ModelError(f"{path} is of another format; write it again with cifar10net-train inside")

    def run(
        self, pixels: npt.NDArray[np.uint8]
    ) -> tuple[npt.NDArray[np.float32], dict[str, npt.NDArray[np.float32]]]:
        """Run the model on one picture.

        Args:
            pixels: uint8 (32, 32, 3).

        Returns:
            Probabilities (classes,), and the output of each layer by name: (channels, height, width),
            (steps, features) or (features,).
        """
        names = [row["name"] for row in self.rows]
        probabilities, *values = self._run(
            [self._probabilities, *(f"{_LAYER}{name}" for name in names)], pixels
        )
        return probabilities[0], {name: value[0] for name, value in zip(names, values, strict=True)}

    def weights(self, layer: str) -> npt.NDArray[np.float32] | None:
        """Return the weights of a layer; None if there is no such layer or it has none."""
        if layer not in self._with_weights():
            return None
        return self._run([f"{_WEIGHTS}{layer}"], np.zeros((IMAGE_SIDE, IMAGE_SIDE, 3), np.uint8))[0]

    def _with_weights(self) -> set[str]:
        return {row["name"] for row in self.rows if row["weights_shape"] is not None}

    def _run(self, outputs: list[str], pixels: npt.NDArray[np.uint8]) -> list[npt.NDArray[np.float32]]:
        with self._lock:
            return list(self._session.run(outputs, {self._input: pixels[None]}))


class LayerFiles:
    """The files of all models, loaded when they are first needed. Thread-safe."""

    def __init__(self, folders: list[Path]) -> None:
        """Search model repositories for ``<model>/<version>/inside.onnx``."""
        self._folders = folders
        self._loaded: dict[tuple[Path, int, int], Layers] = {}
        self._lock = threading.Lock()

    def has(self, name: str, version: str) -> bool:
        """Whether there is a file for a model's version, and ONNX Runtime to run it."""
        return bool(runtime_version()) and self._find(name, version) is not None

    def layers(self, name: str, version: str) -> Layers | None:
        """Return the file of a model's version, or None; reloaded if it has changed. Raises StartupError."""
        found = self._find(name, version)
        if found is None:
            return None
        root, path = found
        with self._lock:
            status = path.stat()
            key = path, status.st_mtime_ns, status.st_size
            if key not in self._loaded:
                for old in [each for each in self._loaded if each[0] == path]:
                    del self._loaded[old]
                while len(self._loaded) >= _MOST_LOADED:
                    del self._loaded[next(iter(self._loaded))]
                self._loaded[key] = Layers(read(path, root, _LARGEST_BYTES), path)
            return self._loaded[key]

    def _find(self, name: str, version: str) -> tuple[Path, Path] | None:
        """Return repository and file; None for names that would lead out of the repository, too."""
        if any(not part or part.startswith(".") or Path(part).name != part for part in (name, version)):
            return None
        for root in self._folders:
            path = root / name / version / INSIDE_NAME
            if path.is_file():
                return root, path
        return None
