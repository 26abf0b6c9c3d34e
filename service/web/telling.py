"""What models say, as JSON has it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from starlette.responses import JSONResponse

from service.config import LARGEST_TOP_K
from service.web.problems import bad_request

if TYPE_CHECKING:
    from collections.abc import Iterable

    from service.wire import ClassScore, ImageResult


def as_json(told: object) -> JSONResponse:
    """Answer with what holds at this moment alone."""
    return JSONResponse(told, headers={"Cache-Control": "no-store"})


def scores(classes: Iterable[ClassScore]) -> list[dict[str, Any]]:
    """Write classes, in their order."""
    return [{"index": one.index, "label": one.label, "probability": one.probability} for one in classes]


def all_probabilities(result: ImageResult, count: int) -> list[float]:
    """Sort the probabilities of all ``count`` classes by index.

    Raises:
        ProblemError: there are more of them than are told at once.
    """
    if count > LARGEST_TOP_K:
        raise bad_request(f"The model has {count} classes, and at most {LARGEST_TOP_K} are told at once")
    return [one.probability for one in sorted(result.classes, key=lambda one: one.index)]
