"""``/v1/openapi.json``: the description of the interface, OpenAPI 3.1 (https://spec.openapis.org/oas/v3.1.0)."""

from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from starlette.responses import JSONResponse
from starlette.routing import Route

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

_DOCUMENT = Path(__file__).with_suffix(".json")


class OpenApiRoutes:
    """Answers with the API description."""

    def __init__(self) -> None:
        self._document: dict[str, Any] = json.loads(_DOCUMENT.read_text(encoding="utf-8"))
        self._document["info"]["version"] = version("cifar10net")

    def routes(self) -> list[Route]:
        """List the routes."""
        return [Route("/v1/openapi.json", self.document, methods=["GET"])]

    async def document(self, _request: Request) -> Response:
        """Send the description."""
        return JSONResponse(self._document)
