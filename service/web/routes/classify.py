"""``/v1/classify`` and ``/v1/shifts``: what the models say of pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from starlette.routing import Route

from cifar10net.protocol import DEFAULT_TOP_K, LARGEST_TOP_K
from service.web.query_parameters import whole, word
from service.web.responses import all_probabilities, as_json, scores
from service.web.uploads import as_url, shifted

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt
    from starlette.requests import Request
    from starlette.responses import Response

    from cifar10net.errors import ImageError
    from cifar10net.messages import ImageResult
    from service.web.backend import Answer
    from service.web.catalogue import Catalogue
    from service.web.uploads import Picture, Reader

FARTHEST = 4
"""Pixels that a picture is moved by at most, as in the comparison of the models."""


class Classifying:
    """Answers with what one of the models says."""

    def __init__(self, catalogue: Catalogue, reader: Reader) -> None:
        self._catalogue = catalogue
        self._answers = catalogue.answers
        self._reader = reader

    def routes(self) -> list[Route]:
        """Say what is answered."""
        return [
            Route("/v1/classify", self.classify, methods=["POST"]),
            Route("/v1/shifts", self.shifts, methods=["POST"]),
        ]

    async def classify(self, request: Request) -> Response:
        """Say what some pictures show."""
        top_k = whole(request, "top", DEFAULT_TOP_K, 1, LARGEST_TOP_K)
        x = whole(request, "shift_x", 0, -FARTHEST, FARTHEST)
        y = whole(request, "shift_y", 0, -FARTHEST, FARTHEST)
        pictures = await self._reader.read(request)
        seen = [shifted(picture.pixels, x, y) for picture in pictures if picture.pixels is not None]
        answer = None
        if seen:
            answer = await self._answers.classify(
                np.stack(seen), model=word(request, "model"), version=word(request, "version"), top_k=top_k
            )
        return as_json({"results": await self._results(pictures, seen, answer)})

    async def shifts(self, request: Request) -> Response:
        """Say what a picture shows when it is moved, for each way of moving it."""
        farthest = whole(request, "max", FARTHEST, 0, FARTHEST)
        picture = await self._reader.read_one(request)
        pixels = picture.seen
        ways = range(-farthest, farthest + 1)
        moves = [(x, y) for y in ways for x in ways]
        answer = await self._answers.classify(
            np.stack([shifted(pixels, x, y) for x, y in moves]),
            model=word(request, "model"),
            version=word(request, "version"),
            top_k=LARGEST_TOP_K,
        )
        first = answer.results[0]
        model = await self._catalogue.of(first.model, first.version)
        return as_json(
            {
                "max": farthest,
                "model": model.name,
                "version": model.version,
                "provider": model.provider,
                "labels": model.labels,
                "seen": as_url(pixels),
                "fill": "reflect",
                "times_ms": _times(picture, answer),
                "shifts": [
                    {"x": x, "y": y, "probabilities": all_probabilities(result, len(model.labels))}
                    for (x, y), result in zip(moves, answer.results, strict=True)
                ],
            }
        )

    async def _results(
        self, pictures: list[Picture], seen: list[npt.NDArray[np.uint8]], answer: Answer | None
    ) -> list[dict[str, Any]]:
        """Pair pictures with their answers; who cannot be read has none."""
        if answer is None:
            return [_refused(picture) for picture in pictures]
        answers = iter(zip(seen, answer.results, strict=True))
        return [
            _refused(picture)
            if picture.pixels is None
            else {
                **await self._told(*next(answers)),
                "name": picture.name,
                "times_ms": _times(picture, answer),
            }
            for picture in pictures
        ]

    async def _told(self, pixels: npt.NDArray[np.uint8], result: ImageResult) -> dict[str, Any]:
        model = await self._catalogue.of(result.model, result.version)
        return {
            "error": _error(result.error),
            "seen": as_url(pixels),
            "top": scores(result.classes),
            "model": model.name,
            "version": model.version,
            "provider": model.provider,
        }


def _refused(picture: Picture) -> dict[str, Any]:
    nobody = {"model": "", "version": "", "provider": ""}
    error, times_ms = _error(picture.error), _rounded({"decode": picture.decode_ms})
    return {"name": picture.name, "error": error, "seen": None, "top": [], **nobody, "times_ms": times_ms}


def _times(picture: Picture, answer: Answer) -> dict[str, float]:
    """Add what happened here to what happened in the call."""
    times_ms = {"decode": picture.decode_ms, **answer.times_ms}
    return _rounded({**times_ms, "total": times_ms["total"] + picture.decode_ms})


def _error(error: ImageError | None) -> dict[str, str] | None:
    return None if error is None else {"code": error.code.name, "message": error.message}


def _rounded(times_ms: Mapping[str, float]) -> dict[str, float]:
    return {name: round(time_ms, 3) for name, time_ms in times_ms.items()}
