"""``/v1/samples``: sample photographs, which may be redistributed, with their credits."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from starlette.responses import FileResponse, JSONResponse
from starlette.routing import Route

from service.web.problem_details import not_found

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

_INSTALLED = Path(__file__).parents[1] / "samples"
_CHECKED_OUT = Path(__file__).parents[3] / "examples" / "images"
_SOURCES = "SOURCES.md"
_COLUMNS = 6
"""Columns of its table: file, class, original, author, licence, changes."""
_TYPES = {".jpg": "image/jpeg", ".png": "image/png", ".webp": "image/webp"}


@dataclass(frozen=True)
class Sample:
    """One photograph."""

    path: Path
    title: str
    credit: str
    """Author and licence."""


class SampleRoutes:
    """Answers with the photographs that come with this package."""

    def __init__(self) -> None:
        """Find the photographs: in the installed package, or in ``examples`` of a checkout."""
        folder = _INSTALLED if _INSTALLED.is_dir() else _CHECKED_OUT
        self._samples = {sample.path.name: sample for sample in _samples(folder)}

    def routes(self) -> list[Route]:
        """List the routes."""
        return [
            Route("/v1/samples", self.samples, methods=["GET"]),
            Route("/v1/samples/{name}", self.picture, methods=["GET"]),
        ]

    async def samples(self, _request: Request) -> Response:
        """List the photographs."""
        samples = [
            {"name": name, "url": f"v1/samples/{name}", "title": sample.title, "credit": sample.credit}
            for name, sample in self._samples.items()
        ]
        return JSONResponse({"samples": samples})

    async def picture(self, request: Request) -> Response:
        """Send a photograph."""
        sample = self._samples.get(request.path_params["name"])
        if sample is None:
            raise not_found("There is no such sample; /v1/samples lists them")
        return FileResponse(sample.path, media_type=_TYPES[sample.path.suffix])


def _samples(folder: Path) -> list[Sample]:
    """Read the table in ``SOURCES.md``."""
    found = []
    for line in (folder / _SOURCES).read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        path = folder / cells[0].strip("`")
        if len(cells) == _COLUMNS and path.suffix in _TYPES and path.is_file():
            licence = cells[4].partition("]")[0].strip("[")
            found.append(Sample(path, cells[1], f"{cells[3]}, {licence}"))
    return found
