"""``/v1/models/{name}/layers``, ``/v1/inside`` and ``/v1/occlusion``: how a network comes to its answer."""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import numpy as np
from starlette.routing import Route

from cifar10net.protocol import IMAGE_SIDE, LARGEST_TOP_K
from service.errors import StartupError
from service.web.problem_details import ProblemError, not_found
from service.web.query_parameters import whole, word
from service.web.responses import all_probabilities, as_base64, as_json, scores
from service.web.uploads import as_url

if TYPE_CHECKING:
    import numpy.typing as npt
    from starlette.requests import Request
    from starlette.responses import Response

    from cifar10net.messages import ModelDescription
    from service.web.catalogue import Catalogue
    from service.web.layer_outputs import LayerFiles, Layers
    from service.web.uploads import Reader

_TOP = 3
_TOLERANCE = 1e-3
"""Between probabilities of the model that answers and of the file that tells its layers: providers round
otherwise, other networks answer otherwise."""
_WINDOW, _STRIDE = 8, 2
"""Pixels, as in the report of ``cifar10net-train visualize``."""


class Inside:
    """Answers with what is inside the models."""

    def __init__(self, catalogue: Catalogue, reader: Reader, shelf: LayerFiles) -> None:
        self._catalogue = catalogue
        self._reader = reader
        self._shelf = shelf

    def routes(self) -> list[Route]:
        """Say what is answered."""
        return [
            Route("/v1/models/{name}/layers", self.table, methods=["GET"]),
            Route("/v1/models/{name}/layers/{layer}/weights", self.weights, methods=["GET"]),
            Route("/v1/inside", self.inside, methods=["POST"]),
            Route("/v1/occlusion", self.occlusion, methods=["POST"]),
        ]

    async def table(self, request: Request) -> Response:
        """Tell the layers of a model."""
        model = await self._catalogue.find(request.path_params["name"], word(request, "version"))
        layers = await self._layers(model)
        rows = [_row(model, row) for row in layers.rows]
        totals = {name: sum(row[name] for row in layers.rows) for name in ("parameters", "multiply_adds")}
        return as_json(
            {
                "model": model.name,
                "version": model.version,
                "input": {"shape": [IMAGE_SIDE, IMAGE_SIDE, 3], "values": "0 to 255, RGB"},
                "layers": rows,
                "totals": totals,
            }
        )

    async def weights(self, request: Request) -> Response:
        """Tell what a layer multiplies by."""
        model = await self._catalogue.find(request.path_params["name"], word(request, "version"))
        layers = await self._layers(model)
        weights = await asyncio.to_thread(layers.weights, request.path_params["layer"])
        if weights is None:
            raise not_found(f"{model.name} has no layer of that name that has weights")
        return as_json({"shape": weights.shape, "data": as_base64(weights)})

    async def inside(self, request: Request) -> Response:
        """Tell what each layer makes of a picture, as the model that answers does."""
        model = await self._catalogue.find(word(request, "model"), word(request, "version"))
        layers = await self._layers(model)
        pixels = (await self._reader.read_one(request)).seen
        answer, (probabilities, given) = await asyncio.gather(
            self._catalogue.answers.classify(
                pixels[None], model=model.name, version=model.version, top_k=LARGEST_TOP_K
            ),
            asyncio.to_thread(layers.run, pixels),
        )
        classes = answer.results[0].classes
        difference = max(abs(one.probability - float(probabilities[one.index])) for one in classes)
        if not difference <= _TOLERANCE:
            raise ProblemError(
                HTTPStatus.CONFLICT,
                "other-model",
                "The layers are those of another model",
                f"What is there to look inside {model.name} version {model.version} answers otherwise than "
                "the model does; write it again with cifar10net-train inside",
            )
        return as_json(
            {
                "model": model.name,
                "version": model.version,
                "seen": as_url(pixels),
                "top": scores(classes[:_TOP]),
                "layers": [_given(name, value) for name, value in given.items()],
            }
        )

    async def occlusion(self, request: Request) -> Response:
        """Tell how sure the model remains of its answer while a window of the picture is covered."""
        size = whole(request, "size", _WINDOW, 1, IMAGE_SIDE)
        stride = whole(request, "stride", _STRIDE, 1, IMAGE_SIDE)
        model = await self._catalogue.find(word(request, "model"), word(request, "version"))
        pixels = (await self._reader.read_one(request)).seen
        fill = pixels.mean(axis=(0, 1)).round().astype(np.uint8)
        starts = range(0, IMAGE_SIDE - size + 1, stride)
        covered = np.stack([pixels] * (1 + len(starts) ** 2))
        for place, (row, column) in enumerate(((r, c) for r in starts for c in starts), 1):
            covered[place, row : row + size, column : column + size] = fill
        answer = await self._catalogue.answers.classify(
            covered, model=model.name, version=model.version, top_k=LARGEST_TOP_K
        )
        best = answer.results[0].best
        left = [all_probabilities(result, len(model.labels))[best.index] for result in answer.results[1:]]
        count = len(starts)
        return as_json(
            {
                "model": model.name,
                "version": model.version,
                "seen": as_url(pixels),
                "label": best.label,
                "probability": best.probability,
                "size": size,
                "stride": stride,
                "fill": fill.tolist(),
                "rows": count,
                "columns": count,
                "probabilities": [left[row * count : (row + 1) * count] for row in range(count)],
            }
        )

    async def _layers(self, model: ModelDescription) -> Layers:
        try:
            layers = await asyncio.to_thread(self._shelf.layers, model.name, model.version)
        except StartupError as error:
            raise ProblemError(
                HTTPStatus.CONFLICT, "other-model", "The layers cannot be read", str(error)
            ) from error
        if layers is None:
            raise not_found(
                f"There is nothing to look inside {model.name} version {model.version} by; "
                "cifar10net-train inside writes it, for models of floats"
            )
        return layers


def _given(name: str, value: npt.NDArray[np.float32]) -> dict[str, Any]:
    smallest, largest = float(value.min()), float(value.max())
    return {"name": name, "shape": value.shape, "min": smallest, "max": largest, "data": as_base64(value)}


def _row(model: ModelDescription, row: dict[str, Any]) -> dict[str, Any]:
    told = {name: value for name, value in row.items() if name != "weights_shape"}
    url = f"v1/models/{model.name}/layers/{row['name']}/weights?version={model.version}"
    shape = row["weights_shape"]
    return {**told, "weights": None if shape is None else {"shape": shape, "url": url}}
