"""``/v1/models/{name}/layers``, ``/v1/inside`` and ``/v1/occlusion``: how a network reaches its answer."""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import numpy as np
from starlette.routing import Route

from cifar10net.protocol import IMAGE_SIDE, LARGEST_TOP_K
from service.errors import StartupError
from service.web.problem_details import ProblemError, not_found
from service.web.query_parameters import integer, string
from service.web.responses import all_probabilities, as_base64, as_json, scores
from service.web.uploads import as_url

if TYPE_CHECKING:
    import numpy.typing as npt
    from starlette.requests import Request
    from starlette.responses import Response

    from cifar10net.messages import ModelDescription
    from service.web.catalogue import Catalogue
    from service.web.layer_outputs import LayerFiles, Layers
    from service.web.uploads import UploadReader

_TOP = 3
_TOLERANCE = 1e-3
"""Largest difference of a probability between the served model and its ``inside.onnx``: providers round
differently, other networks differ by more."""
_WINDOW, _STRIDE = 8, 2
"""Pixels, as in the report of ``cifar10net-train visualize``."""


class InsideRoutes:
    """Answers with layers, activations, weights and occlusion maps."""

    def __init__(self, catalogue: Catalogue, reader: UploadReader, layer_files: LayerFiles) -> None:
        self._catalogue = catalogue
        self._reader = reader
        self._layer_files = layer_files

    def routes(self) -> list[Route]:
        """List the routes."""
        return [
            Route("/v1/models/{name}/layers", self.table, methods=["GET"]),
            Route("/v1/models/{name}/layers/{layer}/weights", self.weights, methods=["GET"]),
            Route("/v1/inside", self.inside, methods=["POST"]),
            Route("/v1/occlusion", self.occlusion, methods=["POST"]),
        ]

    async def table(self, request: Request) -> Response:
        """Describe the layers of a model."""
        model = await self._catalogue.find(request.path_params["name"], string(request, "version"))
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
        """Return the weights of a layer."""
        model = await self._catalogue.find(request.path_params["name"], string(request, "version"))
        layers = await self._layers(model)
        weights = await asyncio.to_thread(layers.weights, request.path_params["layer"])
        if weights is None:
            raise not_found(f"{model.name} has no layer of that name with weights")
        return as_json({"shape": weights.shape, "data": as_base64(weights)})

    async def inside(self, request: Request) -> Response:
        """Return the output of each layer for a picture, if the answer is that of the served model."""
        model = await self._catalogue.find(string(request, "model"), string(request, "version"))
        layers = await self._layers(model)
        pixels, _ = await self._reader.read_one(request)
        answer, (probabilities, outputs) = await asyncio.gather(
            self._catalogue.backend.classify(
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
                f"The inside.onnx of {model.name} version {model.version} gives other probabilities than the "
                "model does; write it again with cifar10net-train inside",
            )
        return as_json(
            {
                "model": model.name,
                "version": model.version,
                "seen": as_url(pixels),
                "top": scores(classes[:_TOP]),
                "layers": [_tensor(name, values) for name, values in outputs.items()],
            }
        )

    async def occlusion(self, request: Request) -> Response:
        """Return the probability of the answer while a window of the picture is covered, for each place."""
        size = integer(request, "size", _WINDOW, 1, IMAGE_SIDE)
        stride = integer(request, "stride", _STRIDE, 1, IMAGE_SIDE)
        model = await self._catalogue.find(string(request, "model"), string(request, "version"))
        pixels, _ = await self._reader.read_one(request)
        fill = pixels.mean(axis=(0, 1)).round().astype(np.uint8)
        starts = range(0, IMAGE_SIDE - size + 1, stride)
        covered = np.stack([pixels] * (1 + len(starts) ** 2))
        for place, (row, column) in enumerate(((r, c) for r in starts for c in starts), 1):
            covered[place, row : row + size, column : column + size] = fill
        answer = await self._catalogue.backend.classify(
            covered, model=model.name, version=model.version, top_k=LARGEST_TOP_K
        )
        best = answer.results[0].best
        covered_probabilities = [
            all_probabilities(result, len(model.labels))[best.index] for result in answer.results[1:]
        ]
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
                "probabilities": np.reshape(covered_probabilities, (count, count)).tolist(),
            }
        )

    async def _layers(self, model: ModelDescription) -> Layers:
        try:
            layers = await asyncio.to_thread(self._layer_files.layers, model.name, model.version)
        except StartupError as error:
            raise ProblemError(
                HTTPStatus.CONFLICT, "other-model", "The layers cannot be read", str(error)
            ) from error
        if layers is None:
            raise not_found(
                f"There is no inside.onnx for {model.name} version {model.version}; "
                "cifar10net-train inside writes one for float models"
            )
        return layers


def _tensor(name: str, values: npt.NDArray[np.float32]) -> dict[str, Any]:
    smallest, largest = float(values.min()), float(values.max())
    return {"name": name, "shape": values.shape, "min": smallest, "max": largest, "data": as_base64(values)}


def _row(model: ModelDescription, row: dict[str, Any]) -> dict[str, Any]:
    url = f"v1/models/{model.name}/layers/{row['name']}/weights?version={model.version}"
    row = dict(row)
    shape = row.pop("weights_shape")
    return {**row, "weights": None if shape is None else {"shape": shape, "url": url}}
