"""``/v1/models``, ``/v1/classify`` and ``/v1/shifts``: what the models say of pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from starlette.responses import JSONResponse
from starlette.routing import Route

from service.config import DEFAULT_TOP_K, LARGEST_TOP_K
from service.errors import ClientError
from service.web.parameters import whole, word
from service.web.pictures import as_url, shifted
from service.web.problems import bad_request

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from starlette.requests import Request
    from starlette.responses import Response

    from service.errors import ImageError
    from service.web.answers import Answer, Answers
    from service.web.pictures import Picture, Reader
    from service.web.settings import WebConfig
    from service.wire import ClassScore, ImageResult, ModelDescription

FARTHEST = 4
"""Pixels that a picture is moved by at most, as in the comparison of the models."""
_NOBODY = {"model": "", "version": "", "provider": ""}


class Classifying:
    """Answers with what one of the models says."""

    def __init__(self, config: WebConfig, answers: Answers, reader: Reader) -> None:
        self._config = config
        self._answers = answers
        self._reader = reader
        self._models: dict[tuple[str, str], ModelDescription] = {}

    def routes(self) -> list[Route]:
        """Say what is answered."""
        return [
            Route("/v1/models", self.models, methods=["GET"]),
            Route("/v1/classify", self.classify, methods=["POST"]),
            Route("/v1/shifts", self.shifts, methods=["POST"]),
        ]

    async def models(self, _request: Request) -> Response:
        """List the models and what this page can do; also while the server does not answer."""
        state, detail = "serving", ""
        models: list[ModelDescription] = []
        try:
            models = await self._described()
        except ClientError as error:
            state, detail = "unavailable", str(error)
        limits = self._config
        server = {
            "kind": self._answers.kind,
            "address": self._answers.address,
            "state": state,
            "detail": detail,
        }
        return _json(
            {
                "server": server,
                "models": [_description(model) for model in models],
                "has_test_set": False,
                "has_runs": False,
                "limits": {
                    "upload_bytes": limits.upload_bytes,
                    "pixels": limits.limits.max_pixels,
                    "pictures": limits.pictures,
                },
            }
        )

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
        return _json({"results": await self._results(pictures, seen, answer)})

    async def shifts(self, request: Request) -> Response:
        """Say what a picture shows when it is moved, for each way of moving it."""
        farthest = whole(request, "max", FARTHEST, 0, FARTHEST)
        pixels = (await self._reader.read_one(request)).seen
        ways = range(-farthest, farthest + 1)
        moves = [(x, y) for y in ways for x in ways]
        answer = await self._answers.classify(
            np.stack([shifted(pixels, x, y) for x, y in moves]),
            model=word(request, "model"),
            version=word(request, "version"),
            top_k=LARGEST_TOP_K,
        )
        labels = (await self._model(answer.results[0])).labels
        return _json(
            {
                "max": farthest,
                "model": answer.results[0].model,
                "version": answer.results[0].version,
                "labels": labels,
                "shifts": [
                    {"x": x, "y": y, "probabilities": all_probabilities(result, len(labels))}
                    for (x, y), result in zip(moves, answer.results, strict=True)
                ],
            }
        )

    async def _results(
        self, pictures: list[Picture], seen: list[Any], answer: Answer | None
    ) -> list[dict[str, Any]]:
        results = iter(zip(seen, answer.results, strict=True) if answer is not None else ())
        told: list[dict[str, Any]] = []
        for picture in pictures:
            decode = {"decode": picture.decode_ms}
            if picture.error is not None or answer is None:
                told.append(
                    {
                        "name": picture.name,
                        "error": _error(picture.error),
                        "seen": None,
                        "top": [],
                        **_NOBODY,
                        "times_ms": _rounded(decode),
                    }
                )
                continue
            pixels, result = next(results)
            times_ms = {**decode, **answer.times_ms}
            times_ms["total"] += picture.decode_ms
            told.append(
                {
                    "name": picture.name,
                    "error": _error(result.error),
                    "seen": as_url(pixels),
                    "top": scores(result.classes),
                    "model": result.model,
                    "version": result.version,
                    "provider": (await self._model(result)).provider,
                    "times_ms": _rounded(times_ms),
                }
            )
        return told

    async def _described(self) -> list[ModelDescription]:
        models = await self._answers.models()
        self._models = {(model.name, model.version): model for model in models}
        return models

    async def _model(self, result: ImageResult) -> ModelDescription:
        """Find who has given a result."""
        key = result.model, result.version
        if key not in self._models:
            await self._described()
        return self._models[key]


def scores(classes: Iterable[ClassScore]) -> list[dict[str, Any]]:
    """Write classes as JSON has them."""
    return [{"index": one.index, "label": one.label, "probability": one.probability} for one in classes]


def all_probabilities(result: ImageResult, count: int) -> list[float]:
    """Sort the probabilities of all classes by index. Raises ProblemError if there are more than are told."""
    if count > LARGEST_TOP_K:
        raise bad_request(f"The model has {count} classes, and at most {LARGEST_TOP_K} are told at once")
    return [one.probability for one in sorted(result.classes, key=lambda one: one.index)]


def _description(model: ModelDescription) -> dict[str, Any]:
    return {
        "name": model.name,
        "version": model.version,
        "provider": model.provider,
        "labels": model.labels,
        "is_default": model.is_default,
        "can_look_inside": False,
    }


def _error(error: ImageError | None) -> dict[str, str] | None:
    return None if error is None else {"code": error.code.name, "message": error.message}


def _rounded(times_ms: Mapping[str, float]) -> dict[str, float]:
    return {name: round(time_ms, 3) for name, time_ms in times_ms.items()}


def _json(told: Any) -> Response:  # noqa: ANN401 - whatever JSON can say
    return JSONResponse(told, headers={"Cache-Control": "no-store"})
