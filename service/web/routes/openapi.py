"""``/v1/openapi.json``: the description of the interface, OpenAPI 3.1 (https://spec.openapis.org/oas/v3.1.0)."""

from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from starlette.responses import JSONResponse
from starlette.routing import Route

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response


def openapi_routes() -> list[Route]:
    """Return the route of the description."""
    document = json.loads(Path(__file__).with_suffix(".json").read_text(encoding="utf-8"))
    document["info"]["version"] = version("cifar10net")

    async def describe(_request: Request) -> Response:
        return JSONResponse(document)

    return [Route("/v1/openapi.json", describe, methods=["GET"])]
