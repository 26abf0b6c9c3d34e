"""``inside.onnx``: a model that also tells what comes out of each of its layers.

In: the file beside a model, which ``cifar10net-train`` writes, and pixels. Out: the table of the layers,
their weights, and what they give for a picture. Whether it is of the model that is asked, its answers have to
show.
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
    """A loaded file; may be asked from any thread."""

    def __init__(self, content: bytes, path: Path) -> None:
        """Load it. Raises StartupError if it is damaged or not one of ours."""
        file = ModelFile(path, path.parent.parent.name, 1, content)
        self._session = open_session(file, ProviderConfig(), threads=1)
        told = dict(self._session.get_modelmeta().custom_metadata_map)
        inputs, outputs = self._session.get_inputs(), {each.name for each in self._session.get_outputs()}
        self._answer = self._session.get_outputs()[0].name
        self._input = inputs[0].name
        self._turn = threading.Lock()
        try:
            self.rows: list[dict[str, Any]] = json.loads(told["layers"])
            names = [row["name"] for row in self.rows]
            is_ours = told["format"] == _FORMAT and all(row.keys() == _ROW for row in self.rows)
            is_ours = is_ours and outputs >= {f"{_LAYER}{name}" for name in names}
            is_ours = is_ours and outputs >= {f"{_WEIGHTS}{name}" for name in self._with_weights()}
        except (KeyError, TypeError, ValueError) as error:
            raise ModelError(f"{path} does not tell its layers: {error}") from error
        if not is_ours:
            raise ModelError(f"{path} is of another format; write it again with cifar10net-train inside")

    def run(
        self, pixels: npt.NDArray[np.uint8]
    ) -> tuple[npt.NDArray[np.float32], dict[str, npt.NDArray[np.float32]]]:
        """Send a picture through.

        Args:
            pixels: uint8 (32, 32, 3).

        Returns:
            Probabilities (classes,), and what each layer gives, by name: (channels, height, width),
            (steps, features) or (features,).
        """
        names = [row["name"] for row in self.rows]
        answer, *given = self._ask([self._answer, *(f"{_LAYER}{name}" for name in names)], pixels)
        return answer[0], {name: value[0] for name, value in zip(names, given, strict=True)}

    def weights(self, layer: str) -> npt.NDArray[np.float32] | None:
        """Return what a layer multiplies by; None if there is no such layer, or it does not."""
        if layer not in self._with_weights():
            return None
        weights: npt.NDArray[np.float32]
        (weights,) = self._ask([f"{_WEIGHTS}{layer}"], np.zeros((IMAGE_SIDE, IMAGE_SIDE, 3), np.uint8))
        return weights

    def _with_weights(self) -> set[str]:
        return {row["name"] for row in self.rows if row["weights_shape"] is not None}

    def _ask(self, outputs: list[str], pixels: npt.NDArray[np.uint8]) -> list[npt.NDArray[np.float32]]:
        with self._turn:
            return list(self._session.run(outputs, {self._input: pixels[None]}))


class Shelf:
    """Finds the files of models, and keeps those that were loaded; may be asked from any thread."""

    def __init__(self, folders: list[Path]) -> None:
        """Look into model repositories: ``<model>/<version>/inside.onnx``."""
        self._folders = folders
        self._loaded: dict[tuple[Path, int, int], Layers] = {}
        self._turn = threading.Lock()

    def has(self, name: str, version: str) -> bool:
        """Whether there is a file for a model's version, and what it takes to run it."""
        return bool(runtime_version()) and self._find(name, version) is not None

    def layers(self, name: str, version: str) -> Layers | None:
        """Load the file of a model's version, if there is one. Raises StartupError."""
        found = self._find(name, version)
        if found is None:
            return None
        root, path = found
        with self._turn:
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
        """Find root and file; a name that is no folder's name finds nothing."""
        if any(not part or part.startswith(".") or Path(part).name != part for part in (name, version)):
            return None
        for root in self._folders:
            path = root / name / version / INSIDE_NAME
            if path.is_file():
                return root, path
        return None
