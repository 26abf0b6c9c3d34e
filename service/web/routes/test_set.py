"""``/v1/test``: pages of a test set with what a model says of them, and how often it is right."""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import numpy as np
from starlette.responses import Response
from starlette.routing import Route

from service.errors import SourceError
from service.web.problem_details import ProblemError, bad_request, not_found
from service.web.query_parameters import flag, whole, word
from service.web.responses import as_json, scores
from service.web.test_evaluation import Assessment
from service.web.test_split import load
from service.web.uploads import as_png

if TYPE_CHECKING:
    from pathlib import Path

    from starlette.requests import Request

    from cifar10net.messages import ModelDescription
    from service.web.catalogue import Catalogue
    from service.web.test_split import LabelledImages

_COUNT, _MOST = 24, 200
_LARGEST_SEED = (1 << 32) - 1
_MOST_ASSESSMENTS = 16


class Testing:
    """Answers with images of a test set."""

    def __init__(self, path: Path | None, catalogue: Catalogue) -> None:
        """Read the test set at ``path``, once it is asked for; None is none."""
        self._path = path
        self._catalogue = catalogue
        self._loading: asyncio.Task[LabelledImages] | None = None
        self._assessments: dict[Any, Assessment] = {}

    def routes(self) -> list[Route]:
        """Say what is answered."""
        return [
            Route("/v1/test", self.page, methods=["GET"]),
            Route("/v1/test/images/{index:int}.png", self.image, methods=["GET"]),
            Route("/v1/test/summary", self.summary, methods=["GET"]),
        ]

    async def close(self) -> None:
        """Stop what goes on in the background."""
        for assessment in self._assessments.values():
            await assessment.stop()

    async def page(self, request: Request) -> Response:
        """Draw images at random, all or those of one class, or those that the model takes for another."""
        count = whole(request, "count", _COUNT, 1, _MOST)
        seed = whole(request, "seed", 0, 0, _LARGEST_SEED)
        mistakes = flag(request, "mistakes")
        images, model, assessment = await self._asked(request)
        is_wanted = assessment.truth >= 0
        if label := word(request, "class"):
            if label not in model.labels:
                raise bad_request(f"class is {label[:100]!r}, wanted one of {', '.join(model.labels)}")
            is_wanted &= assessment.truth == model.labels.index(label)
        if mistakes:
            assessment.begin()
            is_wanted &= (assessment.best >= 0) & (assessment.best != assessment.truth)
        drawn = np.random.default_rng(seed).permutation(len(images))
        wanted = [int(index) for index in drawn if is_wanted[index]]
        shown = wanted[:count]
        await assessment.ask(shown)
        told = [self._image(index, model, assessment) for index in shown]
        return as_json({"model": model.name, "version": model.version, "images": told, "of": len(wanted)})

    async def image(self, request: Request) -> Response:
        """Send one image."""
        images = await self._images()
        index = request.path_params["index"]
        if index >= len(images):
            raise not_found(f"The test set has {len(images)} images, counted from 0")
        return Response(as_png(images.pixels[index]), media_type="image/png")

    async def summary(self, request: Request) -> Response:
        """Say how often the model is right, of the images that were asked so far; the others follow."""
        _, _, assessment = await self._asked(request)
        assessment.begin()
        return as_json(assessment.summary())

    def _image(self, index: int, model: ModelDescription, assessment: Assessment) -> dict[str, Any]:
        truth = int(assessment.truth[index])
        return {
            "index": index,
            "url": f"v1/test/images/{index}.png",
            "label": model.labels[truth],
            "top": scores(assessment.top[index] or ()),
            "is_right": bool(assessment.best[index] == truth),
        }

    async def _asked(self, request: Request) -> tuple[LabelledImages, ModelDescription, Assessment]:
        images = await self._images()
        model = await self._catalogue.find(word(request, "model"), word(request, "version"))
        # A model that was exchanged under its name and version says other things of itself.
        key = model.name, model.version, model.provider, tuple(sorted(model.metadata.items()))
        if key not in self._assessments:
            while len(self._assessments) >= _MOST_ASSESSMENTS:
                await self._assessments.pop(next(iter(self._assessments))).stop()
            self._assessments[key] = Assessment(self._catalogue.answers, model, images)
        if not (self._assessments[key].truth >= 0).any():
            raise ProblemError(
                HTTPStatus.CONFLICT,
                "other-classes",
                "The test set has other classes",
                f"No image of it shows any of {', '.join(model.labels)}",
            )
        return images, model, self._assessments[key]

    async def _images(self) -> LabelledImages:
        if self._path is None:
            raise not_found("There is no test set; cifar10net web --data names one")
        if self._loading is None or (self._loading.done() and self._loading.exception() is not None):
            self._loading = asyncio.create_task(asyncio.to_thread(load, self._path))
        try:
            return await asyncio.shield(self._loading)
        except SourceError as error:
            raise ProblemError(
                HTTPStatus.CONFLICT, "bad-data", "The test set cannot be read", str(error)
            ) from error
