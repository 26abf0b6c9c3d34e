"""``/v1/models``: the backend, its models, and what this page offers."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from starlette.routing import Route

from cifar10net.errors import ClientError
from service.web.responses import as_json

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from cifar10net.messages import ModelDescription
    from service.web.catalogue import Catalogue
    from service.web.layer_outputs import LayerFiles
    from service.web.settings import WebConfig


class ModelRoutes:
    """Answers with the models, and with the state and limits of the page."""

    def __init__(self, config: WebConfig, catalogue: Catalogue, layer_files: LayerFiles) -> None:
        self._config = config
        self._catalogue = catalogue
        self._layer_files = layer_files

    def routes(self) -> list[Route]:
        """List the routes."""
        return [Route("/v1/models", self.models, methods=["GET"])]

    async def models(self, _request: Request) -> Response:
        """List the models; answers also while the server is away."""
        state, detail = "serving", ""
        models: list[ModelDescription] = []
        try:
            models = await self._catalogue.models()
        except ClientError as error:
            state, detail = "unavailable", str(error)
        config, backend = self._config, self._catalogue.backend
        body = {
            "server": {"kind": backend.kind, "address": backend.address, "state": state, "detail": detail},
            "models": await asyncio.to_thread(self._described, models),
            "has_test_set": config.data is not None,
            "has_runs": config.runs is not None,
            "limits": {
                "upload_bytes": config.upload_bytes,
                "pixels": config.limits.max_pixels,
                "pictures": config.pictures,
            },
        }
        return as_json(body)

    def _described(self, models: list[ModelDescription]) -> list[dict[str, Any]]:
        return [
            {
                "name": model.name,
                "version": model.version,
                "provider": model.provider,
                "labels": model.labels,
                "is_default": model.is_default,
                "can_look_inside": self._layer_files.has(model.name, model.version),
            }
            for model in models
        ]
