"""``/v1/runs``: training runs, finished or under way."""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from starlette.routing import Route

from service.errors import SourceError
from service.web.problem_details import ProblemError, not_found
from service.web.query_parameters import integer
from service.web.responses import as_base64, as_json
from service.web.training_runs import find_run, find_runs

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from starlette.requests import Request
    from starlette.responses import Response

    from service.web.training_runs import TrainingRun

_MOST_EPOCHS = 10**9


class RunRoutes:
    """Answers with the runs of a folder."""

    def __init__(self, root: Path | None) -> None:
        """Serve the runs in ``root``; none if it is None."""
        self._root = root

    def routes(self) -> list[Route]:
        """List the routes."""
        return [
            Route("/v1/runs", self.runs, methods=["GET"]),
            Route("/v1/runs/{name}", self.run, methods=["GET"]),
            Route("/v1/runs/{name}/filters", self.filters, methods=["GET"]),
        ]

    async def runs(self, _request: Request) -> Response:
        """List the runs, the most recently written first."""
        if self._root is None:
            raise _no_runs()
        runs = await _read(find_runs, self._root)
        return as_json({"runs": [_overview(run) for run in runs]})

    async def run(self, request: Request) -> Response:
        """Return the epochs of a run, only those after ``after``."""
        after = integer(request, "after", 0, 0, _MOST_EPOCHS)
        run = await self._find(request)
        return as_json(
            {
                **_overview(run),
                "seconds_left": run.seconds_left,
                "images_per_s": run.images_per_s,
                "has_filters": bool(await _read(run.filter_epochs)),
                "rows": [row for row in run.rows if row["epoch"] > after],
            }
        )

    async def filters(self, request: Request) -> Response:
        """Return the filters of a run's first layer at the end of an epoch, by default the last one."""
        run = await self._find(request)
        epochs = await _read(run.filter_epochs)
        epoch = integer(request, "epoch", epochs[-1] if epochs else 0, 0, _MOST_EPOCHS)
        if epoch not in epochs:
            raise not_found(f"{run.name} has no filters of epoch {epoch}")
        filters = await _read(run.filters, epoch)
        return as_json({"epoch": epoch, "epochs": epochs, "shape": filters.shape, "data": as_base64(filters)})

    async def _find(self, request: Request) -> TrainingRun:
        if self._root is None:
            raise _no_runs()
        run: TrainingRun | None = await _read(find_run, self._root, request.path_params["name"])
        if run is None:
            raise not_found("There is no such run; /v1/runs lists them")
        return run


async def _read(function: Callable[..., Any], *arguments: object) -> Any:  # noqa: ANN401 - the function's
    """Read files in a thread. Raises ProblemError if they are damaged."""
    try:
        return await asyncio.to_thread(function, *arguments)
    except SourceError as error:
        raise ProblemError(HTTPStatus.CONFLICT, "bad-data", "The run cannot be read", str(error)) from error


def _no_runs() -> ProblemError:
    return not_found("There are no runs; start cifar10net web with --runs FOLDER")


def _overview(run: TrainingRun) -> dict[str, Any]:
    return {
        "name": run.name,
        "network": run.network,
        "state": run.state,
        "epochs": run.epochs,
        "epochs_done": run.epochs_done,
        "updated_s_ago": round(run.updated_s_ago, 3),
    }
