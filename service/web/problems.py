"""What goes wrong becomes an answer that says so: problem details, RFC 9457.

The one place where an exception becomes an HTTP status.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING

import grpc
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse, Response

from service.errors import ClientError, ImageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.requests import Request
    from starlette.types import ExceptionHandler

COME_AGAIN_S = 1
"""When to ask again what the server could not answer now."""
_OF_CALLS = {
    grpc.StatusCode.UNAVAILABLE: HTTPStatus.SERVICE_UNAVAILABLE,
    grpc.StatusCode.RESOURCE_EXHAUSTED: HTTPStatus.SERVICE_UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED: HTTPStatus.GATEWAY_TIMEOUT,
    grpc.StatusCode.NOT_FOUND: HTTPStatus.NOT_FOUND,
    grpc.StatusCode.INVALID_ARGUMENT: HTTPStatus.BAD_REQUEST,
}
_TITLES = {
    grpc.StatusCode.UNAVAILABLE: "The server does not answer",
    grpc.StatusCode.RESOURCE_EXHAUSTED: "The server is busy",
    grpc.StatusCode.DEADLINE_EXCEEDED: "The server did not answer in time",
    grpc.StatusCode.NOT_FOUND: "No such model",
    grpc.StatusCode.INVALID_ARGUMENT: "The server refuses the request",
    grpc.StatusCode.UNAUTHENTICATED: "The server does not let this page in",
    grpc.StatusCode.PERMISSION_DENIED: "The server does not let this page in",
}


class ProblemError(Exception):
    """A request is not answered as it was meant."""

    def __init__(
        self, status: HTTPStatus, title: str, detail: str, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.title = title
        self.detail = detail
        self.headers = dict(headers or {})

    def as_response(self) -> Response:
        """Say it to whoever asked."""
        told = {"type": "about:blank", "title": self.title, "status": self.status, "detail": self.detail}
        return JSONResponse(
            told, self.status, {**self.headers, "Cache-Control": "no-store"}, "application/problem+json"
        )


def bad_request(detail: str) -> ProblemError:
    """Say what is wrong with a request."""
    return ProblemError(HTTPStatus.BAD_REQUEST, "The request makes no sense", detail)


def not_found(detail: str) -> ProblemError:
    """Say what is not there."""
    return ProblemError(HTTPStatus.NOT_FOUND, "There is no such thing", detail)


def busy(status: HTTPStatus, detail: str, again_s: int = COME_AGAIN_S) -> ProblemError:
    """Say when to come again."""
    return ProblemError(status, "Too much is asked at once", detail, {"Retry-After": str(again_s)})


def problem_of(error: Exception) -> ProblemError:
    """Say what an exception means for the request in which it was raised."""
    if isinstance(error, ProblemError):
        return error
    if isinstance(error, ClientError):
        status = _OF_CALLS.get(error.code, HTTPStatus.BAD_GATEWAY)
        again = {"Retry-After": str(COME_AGAIN_S)} if status is HTTPStatus.SERVICE_UNAVAILABLE else {}
        return ProblemError(status, _TITLES.get(error.code, "The server failed"), str(error), again)
    if isinstance(error, ImageError):
        return ProblemError(
            HTTPStatus.UNPROCESSABLE_ENTITY,
            "The picture cannot be read",
            f"The picture {error.message} ({error.code.name})",
        )
    if isinstance(error, ClientDisconnect):
        return bad_request("The request ended before its body did")
    if isinstance(error, HTTPException):
        status = HTTPStatus(error.status_code)
        detail = error.detail if error.detail != status.phrase else status.description
        return ProblemError(status, status.phrase, detail, error.headers)
    return ProblemError(
        HTTPStatus.INTERNAL_SERVER_ERROR, "This page failed", "What has happened is in the page's log"
    )


async def _answer(_request: Request, error: Exception) -> Response:
    return problem_of(error).as_response()


HANDLERS: Mapping[type[Exception], ExceptionHandler] = dict.fromkeys(
    (ProblemError, ClientError, ImageError, ClientDisconnect, HTTPException), _answer
)
"""For Starlette; an exception of any other kind is a mistake of ours, which ``guard`` logs."""
