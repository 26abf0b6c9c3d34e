"""``/v1/classify`` and ``/v1/shifts``: classify pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from starlette.routing import Route

from cifar10net.errors import ImageError
from cifar10net.protocol import DEFAULT_TOP_K, LARGEST_TOP_K
from service.web.query_parameters import integer, string
from service.web.responses import all_probabilities, as_json, scores
from service.web.uploads import as_url, shifted

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt
    from starlette.requests import Request
    from starlette.responses import Response

    from cifar10net.messages import ImageResult
    from service.web.backend import Answer
    from service.web.catalogue import Catalogue
    from service.web.uploads import UploadedPicture, UploadReader

_MAX_SHIFT = 4
"""Pixels, as in ``cifar10net-train compare``."""


class ClassifyRoutes:
    """Answers with the classes of uploaded pictures."""

    def __init__(self, catalogue: Catalogue, reader: UploadReader) -> None:
        self._catalogue = catalogue
        self._backend = catalogue.backend
        self._reader = reader

    def routes(self) -> list[Route]:
        """List the routes."""
        return [
            Route("/v1/classify", self.classify, methods=["POST"]),
            Route("/v1/shifts", self.shifts, methods=["POST"]),
        ]

    async def classify(self, request: Request) -> Response:
        """Classify pictures; one that cannot be read gets an error beside the others' answers."""
        top_k = integer(request, "top", DEFAULT_TOP_K, 1, LARGEST_TOP_K)
        x = integer(request, "shift_x", 0, -_MAX_SHIFT, _MAX_SHIFT)
        y = integer(request, "shift_y", 0, -_MAX_SHIFT, _MAX_SHIFT)
        pictures = await self._reader.read(request)
        inputs = [shifted(one.pixels, x, y) for one in pictures if not isinstance(one.pixels, ImageError)]
        if not inputs:
            errors = [_unreadable(one, one.pixels) for one in pictures if isinstance(one.pixels, ImageError)]
            return as_json({"results": errors})
        answer = await self._backend.classify(
            np.stack(inputs), model=string(request, "model"), version=string(request, "version"), top_k=top_k
        )
        results = iter(zip(inputs, answer.results, strict=True))
        return as_json(
            {
                "results": [
                    _unreadable(one, one.pixels)
                    if isinstance(one.pixels, ImageError)
                    else {
                        **await self._result(*next(results)),
                        "name": one.name,
                        "times_ms": _times(one.decode_ms, answer),
                    }
                    for one in pictures
                ]
            }
        )

    async def shifts(self, request: Request) -> Response:
        """Classify a picture at every shift up to ``max`` pixels."""
        farthest = integer(request, "max", _MAX_SHIFT, 0, _MAX_SHIFT)
        pixels, decode_ms = await self._reader.read_one(request)
        steps = range(-farthest, farthest + 1)
        shifts = [(x, y) for y in steps for x in steps]
        answer = await self._backend.classify(
            np.stack([shifted(pixels, x, y) for x, y in shifts]),
            model=string(request, "model"),
            version=string(request, "version"),
            top_k=LARGEST_TOP_K,
        )
        first = answer.results[0]
        model = await self._catalogue.describe(first.model, first.version)
        return as_json(
            {
                "max": farthest,
                "model": model.name,
                "version": model.version,
                "provider": model.provider,
                "labels": model.labels,
                "seen": as_url(pixels),
                "fill": "reflect",
                "times_ms": _times(decode_ms, answer),
                "shifts": [
                    {"x": x, "y": y, "probabilities": all_probabilities(result, len(model.labels))}
                    for (x, y), result in zip(shifts, answer.results, strict=True)
                ],
            }
        )

    async def _result(self, pixels: npt.NDArray[np.uint8], result: ImageResult) -> dict[str, Any]:
        model = await self._catalogue.describe(result.model, result.version)
        return {
            "error": None if result.error is None else _error(result.error),
            "seen": as_url(pixels),
            "top": scores(result.classes),
            "model": model.name,
            "version": model.version,
            "provider": model.provider,
        }


def _unreadable(picture: UploadedPicture, error: ImageError) -> dict[str, Any]:
    return {
        "name": picture.name,
        "error": _error(error),
        "seen": None,
        "top": [],
        **dict.fromkeys(("model", "version", "provider"), ""),
        "times_ms": _rounded({"decode": picture.decode_ms}),
    }


def _times(decode_ms: float, answer: Answer) -> dict[str, float]:
    """Add decoding to the phases of the call and to their total."""
    times_ms = {"decode": decode_ms, **answer.times_ms}
    return _rounded({**times_ms, "total": times_ms["total"] + decode_ms})


def _error(error: ImageError) -> dict[str, str]:
    return {"code": error.code.name, "message": error.message}


def _rounded(times_ms: Mapping[str, float]) -> dict[str, float]:
    return {name: round(time_ms, 3) for name, time_ms in times_ms.items()}
