"""Puts the page together: who answers what, behind the guard and the bounds."""

from __future__ import annotations

import contextlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from service.system.cpus import usable_cpus
from service.web.browser_security import Guard
from service.web.catalogue import Catalogue
from service.web.layer_outputs import LayerFiles
from service.web.problem_details import HANDLERS
from service.web.request_limits import Bounds
from service.web.routes.classify import Classifying
from service.web.routes.inside import Inside
from service.web.routes.models import Models
from service.web.routes.openapi import OpenApi
from service.web.routes.runs import Training
from service.web.routes.samples import Samples
from service.web.routes.test_set import Testing
from service.web.uploads import Reader

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.types import Scope

    from service.web.backend import Answers
    from service.web.settings import WebConfig

PAGE = Path(__file__).parent / "page"


def make_app(config: WebConfig, answers: Answers) -> Starlette:
    """Make the application, which lets go of ``answers`` at its end."""
    threads = ThreadPoolExecutor(usable_cpus().count, thread_name_prefix="page")
    reader = Reader(config, threads)
    catalogue = Catalogue(answers)
    shelf = LayerFiles(list(config.models))
    testing = Testing(config.data, catalogue)
    parts = (
        Models(config, catalogue, shelf),
        Classifying(catalogue, reader),
        Inside(catalogue, reader, shelf),
        Samples(),
        testing,
        Training(config.runs),
        OpenApi(),
    )

    @contextlib.asynccontextmanager
    async def life(_app: Starlette) -> AsyncIterator[None]:
        yield
        await testing.close()
        await answers.close()
        threads.shutdown(wait=False, cancel_futures=True)

    return Starlette(
        routes=[*page_routes(), *(route for part in parts for route in part.routes())],
        middleware=[
            Middleware(Guard, allowed_hosts=config.allowed_hosts),
            Middleware(Bounds, config=config),
        ],
        exception_handlers=HANDLERS,
        lifespan=life,
    )


class _PageFiles(StaticFiles):
    """Files that a browser keeps, and asks each time whether they are still the same."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        response = await super().get_response(path, scope)
        response.headers["Cache-Control"] = "no-cache"
        return response


def page_routes() -> list[Route | Mount]:
    """Say where the page and its files are."""
    files = _PageFiles(directory=PAGE)

    async def index(request: Request) -> Response:
        return await files.get_response("index.html", request.scope)

    return [Route("/", index, methods=["GET"]), Mount("/page", files)]
