"""Assembles the application: the routes and the page's files, behind browser security and request limits."""

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
from service.web.browser_security import BrowserSecurity
from service.web.catalogue import Catalogue
from service.web.layer_outputs import LayerFiles
from service.web.problem_details import HANDLERS
from service.web.request_limits import RequestLimits
from service.web.routes.classify import ClassifyRoutes
from service.web.routes.inside import InsideRoutes
from service.web.routes.models import ModelRoutes
from service.web.routes.openapi import openapi_routes
from service.web.routes.runs import RunRoutes
from service.web.routes.samples import SampleRoutes
from service.web.routes.test_set import TestSetRoutes
from service.web.uploads import UploadReader

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.types import Scope

    from service.web.backend import Backend
    from service.web.settings import WebConfig

PAGE = Path(__file__).parent / "page"


def make_app(config: WebConfig, backend: Backend) -> Starlette:
    """Make the application, which closes ``backend`` when it ends."""
    threads = ThreadPoolExecutor(usable_cpus().count, thread_name_prefix="page")
    reader = UploadReader(config, threads)
    catalogue = Catalogue(backend)
    layer_files = LayerFiles(list(config.models))
    test_set = TestSetRoutes(config.data, catalogue)
    groups = (
        ModelRoutes(config, catalogue, layer_files),
        ClassifyRoutes(catalogue, reader),
        InsideRoutes(catalogue, reader, layer_files),
        SampleRoutes(),
        test_set,
        RunRoutes(config.runs),
    )

    @contextlib.asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        yield
        await test_set.close()
        await backend.close()
        threads.shutdown(wait=False, cancel_futures=True)

    return Starlette(
        routes=[*_page_routes(), *openapi_routes(), *(route for group in groups for route in group.routes())],
        middleware=[
            Middleware(BrowserSecurity, allowed_hosts=config.allowed_hosts),
            Middleware(RequestLimits, config=config),
        ],
        exception_handlers=HANDLERS,
        lifespan=lifespan,
    )


class _PageFiles(StaticFiles):
    """Serves files that browsers cache but revalidate on each use."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        response = await super().get_response(path, scope)
        response.headers["Cache-Control"] = "no-cache"
        return response


def _page_routes() -> list[Route | Mount]:
    files = _PageFiles(directory=PAGE)

    async def index(request: Request) -> Response:
        return await files.get_response("index.html", request.scope)

    return [Route("/", index, methods=["GET"]), Mount("/page", files)]
