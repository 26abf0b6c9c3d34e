"""``/v1/openapi.json``: the interface, described for people and for programs.

https://spec.openapis.org/oas/v3.1.0.
"""

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


class OpenApi:
    """Answers with the description."""

    def __init__(self) -> None:
        """Read it."""
        self._document: dict[str, Any] = json.loads(_DOCUMENT.read_text(encoding="utf-8"))
        self._document["info"]["version"] = version("cifar10net")

    def routes(self) -> list[Route]:
        """Say what is answered."""
        return [Route("/v1/openapi.json", self.document, methods=["GET"])]

    async def document(self, _request: Request) -> Response:
        """Send it."""
        return JSONResponse(self._document)
