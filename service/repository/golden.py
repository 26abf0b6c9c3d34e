"""Golden answers: images and the probabilities that a model must reproduce before it serves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from service.errors import ModelError

if TYPE_CHECKING:
    import numpy.typing as npt

    from service.runtime.model import OnnxModel

TOLERANCE = 1e-4
"""Largest difference of a probability on the CPU, which computed the golden answers."""
OTHER_TOLERANCE = 2e-2
"""On other providers, which may use TF32 or bfloat16 (11 or 8 significant bits); estimated, not measured."""
_CPU = "CPUExecutionProvider"


@dataclass(frozen=True)
class Golden:
    """Images and the expected answers."""

    images: npt.NDArray[np.uint8]
    """(n, 32, 32, 3), n at least 1."""
    probabilities: npt.NDArray[np.float32]
    """(n, classes)."""

    def check(self, model: OnnxModel) -> None:
        """Run a model on the images and compare its answers.

        Raises:
            ModelError: the run failed, the shape is wrong, a probability is off by more than the tolerance,
                or another class is the most probable.
        """
        info = model.info
        tolerance = TOLERANCE if info.provider == _CPU else OTHER_TOLERANCE
        for index, (got, wanted) in enumerate(zip(self._run(model), self.probabilities, strict=True)):
            # NaN counts as infinitely far off.
            off = np.nan_to_num(np.abs(got - wanted), nan=np.inf)
            column = int(off.argmax())
            if off[column] > tolerance or got.argmax() != wanted.argmax():
                raise ModelError(
                    f"{info.name} version {info.version} classifies golden image {index} as "
                    f"{info.labels[got.argmax()]} and gives {info.labels[column]} {got[column]:.6f}, wanted "
                    f"{info.labels[wanted.argmax()]} and {wanted[column]:.6f} within {tolerance:g}: "
                    f"{info.warning or f'its weights differ, or {info.provider} computes differently'}"
                )

    def _run(self, model: OnnxModel) -> npt.NDArray[np.float32]:
        try:
            answers = model.run(self.images)
        except Exception as error:  # onnxruntime's own types share no base but Exception
            raise ModelError(
                f"{model.info.name} version {model.info.version} failed on its golden images: "
                f"{' '.join(str(error).split())[:300]}"
            ) from error
        if answers.shape != self.probabilities.shape:
            raise ModelError(
                f"{model.info.name} version {model.info.version} answered {answers.shape} to its golden "
                f"images, wanted {self.probabilities.shape}"
            )
        return answers
