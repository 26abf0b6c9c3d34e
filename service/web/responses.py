"""JSON responses, and the forms that scores and arrays take in them."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

import numpy as np
from starlette.responses import JSONResponse

from cifar10net.protocol import LARGEST_TOP_K
from service.web.problem_details import bad_request

if TYPE_CHECKING:
    from collections.abc import Iterable

    import numpy.typing as npt

    from cifar10net.messages import ClassScore, ImageResult


def as_json(body: object) -> JSONResponse:
    """Return a response that is not to be cached."""
    return JSONResponse(body, headers={"Cache-Control": "no-store"})


def scores(classes: Iterable[ClassScore]) -> list[dict[str, Any]]:
    """Return classes in their order."""
    return [{"index": one.index, "label": one.label, "probability": one.probability} for one in classes]


def all_probabilities(result: ImageResult, count: int) -> list[float]:
    """Return the probabilities of all ``count`` classes by index.

    Raises:
        ProblemError: there are more classes than one answer can have.
    """
    if count > LARGEST_TOP_K:
        raise bad_request(
            f"The model has {count} classes; this works only for models with at most {LARGEST_TOP_K}"
        )
    return [one.probability for one in sorted(result.classes, key=lambda one: one.index)]


def as_base64(values: npt.NDArray[np.float32]) -> str:
    """Encode as base64 of little-endian float32, the last axis fastest."""
    return base64.b64encode(np.ascontiguousarray(values, "<f4").tobytes()).decode("ascii")
