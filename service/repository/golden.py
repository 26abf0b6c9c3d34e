"""Golden answers: a few images and what a model has to say of them before it may serve.

In: a loaded model. Out: nothing, or what is wrong with its answers. Knows nothing of files.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from service.errors import ModelError

if TYPE_CHECKING:
    import numpy.typing as npt

    from service.runtime.model import OnnxModel

TOLERANCE = 1e-4
"""Largest difference of a probability on the provider that gave the golden one, the CPU."""
OTHER_TOLERANCE = 2e-2
"""On any other, which may compute with 11 or 8 binary digits (TF32, bfloat16); estimated, not measured."""
_CPU = "CPUExecutionProvider"


@dataclass(frozen=True)
class Golden:
    """Images and the answers to them."""

    images: npt.NDArray[np.uint8]
    """(n, 32, 32, 3), n at least 1."""
    probabilities: npt.NDArray[np.float32]
    """(n, classes)."""

    def check(self, model: OnnxModel) -> None:
        """Ask a model, whose classes are these, and compare.

        Raises:
            ModelError: a probability is too far off, another class is the best, the answers are too many or
            too few, or the run failed.
        """
        info = model.info
        tolerance = TOLERANCE if info.provider == _CPU else OTHER_TOLERANCE
        for index, (got, wanted) in enumerate(zip(self._ask(model), self.probabilities, strict=True)):
            # NaN is as far off as can be.
            off = np.nan_to_num(np.abs(got - wanted), nan=np.inf)
            column = int(off.argmax())
            if off[column] > tolerance or got.argmax() != wanted.argmax():
                raise ModelError(
                    f"{info.name} version {info.version} says of golden image {index} that it is "
                    f"{info.labels[got.argmax()]} and gives {info.labels[column]} {got[column]:.6f}, wanted "
                    f"{info.labels[wanted.argmax()]} and {wanted[column]:.6f} within {tolerance:g}: "
                    f"{info.caution or f'its weights are others, or {info.provider} computes otherwise'}"
                )

    def _ask(self, model: OnnxModel) -> npt.NDArray[np.float32]:
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
