"""``/v1/test``: images of a test set with a model's answers, and its accuracy."""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import numpy as np
from starlette.responses import Response
from starlette.routing import Route

from service.errors import SourceError
from service.web.problem_details import ProblemError, bad_request, not_found
from service.web.query_parameters import boolean, integer, string
from service.web.responses import as_json, scores
from service.web.test_evaluation import BackgroundEvaluation
from service.web.test_split import load_test_split
from service.web.uploads import as_png

if TYPE_CHECKING:
    from pathlib import Path

    from starlette.requests import Request

    from service.web.catalogue import Catalogue
    from service.web.test_split import LabelledImages

_DEFAULT_IMAGES, _MOST_IMAGES = 24, 200
_LARGEST_SEED = (1 << 32) - 1
_MOST_EVALUATIONS = 16


class TestSetRoutes:
    """Answers with images of a test set."""

    def __init__(self, path: Path | None, catalogue: Catalogue) -> None:
        """Serve the test set at ``path``, which is loaded on first use; none if it is None."""
        self._path = path
        self._catalogue = catalogue
        self._loading: asyncio.Task[LabelledImages] | None = None
        self._evaluations: dict[Any, BackgroundEvaluation] = {}

    def routes(self) -> list[Route]:
        """List the routes."""
        return [
            Route("/v1/test", self.page, methods=["GET"]),
            Route("/v1/test/images/{index:int}.png", self.image, methods=["GET"]),
            Route("/v1/test/summary", self.summary, methods=["GET"]),
        ]

    async def close(self) -> None:
        """Stop the evaluations in the background."""
        for evaluation in self._evaluations.values():
            await evaluation.stop()

    async def page(self, request: Request) -> Response:
        """Draw random images: of all classes or one, or only those that the model gets wrong."""
        count = integer(request, "count", _DEFAULT_IMAGES, 1, _MOST_IMAGES)
        seed = integer(request, "seed", 0, 0, _LARGEST_SEED)
        mistakes = boolean(request, "mistakes")
        evaluation = await self._evaluation(request)
        model = evaluation.model
        is_wanted = evaluation.truth >= 0
        if label := string(request, "class"):
            if label not in model.labels:
                raise bad_request(f"class is {label[:100]!r}, wanted one of {', '.join(model.labels)}")
            is_wanted &= evaluation.truth == model.labels.index(label)
        if mistakes:
            evaluation.start()
            is_wanted &= (evaluation.best >= 0) & (evaluation.best != evaluation.truth)
        drawn = np.random.default_rng(seed).permutation(len(evaluation.truth))
        wanted = [int(index) for index in drawn if is_wanted[index]]
        shown = wanted[:count]
        await evaluation.classify(shown)
        rows = [_image(index, evaluation) for index in shown]
        return as_json({"model": model.name, "version": model.version, "images": rows, "of": len(wanted)})

    async def image(self, request: Request) -> Response:
        """Send one image."""
        images = await self._images()
        index = request.path_params["index"]
        if index >= len(images):
            raise not_found(f"The test set has {len(images)} images, counted from 0")
        return Response(as_png(images.pixels[index]), media_type="image/png")

    async def summary(self, request: Request) -> Response:
        """Return the accuracy so far, and classify the rest of the test set in the background."""
        evaluation = await self._evaluation(request)
        evaluation.start()
        return as_json(evaluation.summary())

    async def _evaluation(self, request: Request) -> BackgroundEvaluation:
        images = await self._images()
        model = await self._catalogue.find(string(request, "model"), string(request, "version"))
        # A model that was replaced under the same name and version has other metadata.
        key = model.name, model.version, model.provider, tuple(sorted(model.metadata.items()))
        if key not in self._evaluations:
            while len(self._evaluations) >= _MOST_EVALUATIONS:
                await self._evaluations.pop(next(iter(self._evaluations))).stop()
            self._evaluations[key] = BackgroundEvaluation(self._catalogue.backend, model, images)
        if not (self._evaluations[key].truth >= 0).any():
            raise ProblemError(
                HTTPStatus.CONFLICT,
                "other-classes",
                "The test set has other classes",
                f"No image has any of the labels {', '.join(model.labels)}",
            )
        return self._evaluations[key]

    async def _images(self) -> LabelledImages:
        if self._path is None:
            raise not_found("There is no test set; start cifar10net web with --data PATH")
        if self._loading is None or (self._loading.done() and self._loading.exception() is not None):
            self._loading = asyncio.create_task(asyncio.to_thread(load_test_split, self._path))
        try:
            return await asyncio.shield(self._loading)
        except SourceError as error:
            raise ProblemError(
                HTTPStatus.CONFLICT, "bad-data", "The test set cannot be read", str(error)
            ) from error


def _image(index: int, evaluation: BackgroundEvaluation) -> dict[str, Any]:
    truth = int(evaluation.truth[index])
    return {
        "index": index,
        "url": f"v1/test/images/{index}.png",
        "label": evaluation.model.labels[truth],
        "top": scores(evaluation.top[index] or ()),
        "is_right": bool(evaluation.best[index] == truth),
    }
