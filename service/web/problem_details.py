"""Turns exceptions into HTTP responses: problem details, RFC 9457.

The one place where an exception becomes an HTTP status.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING

import grpc
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse, Response

from cifar10net.errors import ClientError, ImageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.requests import Request
    from starlette.types import ExceptionHandler

RETRY_AFTER_S = 1
_UNAUTHORIZED = (HTTPStatus.BAD_GATEWAY, "locked-out", "The server rejects this page's credentials")
_CALL_PROBLEMS = {
    grpc.StatusCode.UNAVAILABLE: (
        HTTPStatus.SERVICE_UNAVAILABLE,
        "unavailable",
        "The server does not answer",
    ),
    grpc.StatusCode.RESOURCE_EXHAUSTED: (HTTPStatus.SERVICE_UNAVAILABLE, "overloaded", "The server is busy"),
    grpc.StatusCode.DEADLINE_EXCEEDED: (
        HTTPStatus.GATEWAY_TIMEOUT,
        "late",
        "The server did not answer in time",
    ),
    grpc.StatusCode.NOT_FOUND: (HTTPStatus.NOT_FOUND, "not-found", "No such model"),
    grpc.StatusCode.INVALID_ARGUMENT: (
        HTTPStatus.BAD_REQUEST,
        "bad-request",
        "The server refused the request",
    ),
    grpc.StatusCode.UNAUTHENTICATED: _UNAUTHORIZED,
    grpc.StatusCode.PERMISSION_DENIED: _UNAUTHORIZED,
}
_OTHER_CALL_PROBLEM = (HTTPStatus.BAD_GATEWAY, "failed", "The server failed")


class ProblemError(Exception):
    """A problem to answer a request with."""

    def __init__(
        self,
        status: HTTPStatus,
        code: str,
        title: str,
        detail: str,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Make a problem.

        Args:
            status: HTTP status.
            code: kind of problem, for programs.
            title: kind of problem, for people.
            detail: what went wrong this time, and what to do about it.
            headers: further headers of the response.
        """
        super().__init__(detail)
        self.status = status
        self.code = code
        self.title = title
        self.detail = detail
        self.headers = dict(headers or {})

    def as_response(self) -> Response:
        """Return the response: ``application/problem+json``."""
        body = {
            "type": "about:blank",
            "code": self.code,
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
        }
        headers = {**self.headers, "Cache-Control": "no-store"}
        return JSONResponse(body, self.status, headers, "application/problem+json")


def bad_request(detail: str) -> ProblemError:
    """Return a 400."""
    return ProblemError(HTTPStatus.BAD_REQUEST, "bad-request", "The request is not valid", detail)


def not_found(detail: str) -> ProblemError:
    """Return a 404."""
    return ProblemError(HTTPStatus.NOT_FOUND, "not-found", "Not found", detail)


def overloaded(status: HTTPStatus, detail: str, retry_after_s: int = RETRY_AFTER_S) -> ProblemError:
    """Return a 429 or 503 with ``Retry-After``."""
    headers = {"Retry-After": str(retry_after_s)}
    return ProblemError(status, "overloaded", "Too many requests", detail, headers)


def to_problem(error: Exception) -> ProblemError:
    """Convert an exception raised while handling a request."""
    if isinstance(error, ProblemError):
        return error
    if isinstance(error, ClientError):
        status, code, title = _CALL_PROBLEMS.get(error.code, _OTHER_CALL_PROBLEM)
        headers = {"Retry-After": str(RETRY_AFTER_S)} if status is HTTPStatus.SERVICE_UNAVAILABLE else {}
        return ProblemError(status, code, title, str(error), headers)
    if isinstance(error, ImageError):
        return ProblemError(
            HTTPStatus.UNPROCESSABLE_ENTITY,
            "bad-picture",
            "The picture cannot be read",
            f"The picture {error.message} ({error.code.name})",
        )
    if isinstance(error, ClientDisconnect):
        return bad_request("The request ended before its body was complete")
    if isinstance(error, HTTPException):
        status = HTTPStatus(error.status_code)
        detail = error.detail if error.detail != status.phrase else status.description
        code = status.phrase.lower().replace(" ", "-")
        return ProblemError(status, code, status.phrase, detail, error.headers)
    return ProblemError(
        HTTPStatus.INTERNAL_SERVER_ERROR, "failed", "This page failed", "The page's log has the reason"
    )


async def _answer(_request: Request, error: Exception) -> Response:
    return to_problem(error).as_response()


HANDLERS: Mapping[type[Exception], ExceptionHandler] = dict.fromkeys(
    (ProblemError, ClientError, ImageError, ClientDisconnect, HTTPException), _answer
)
"""For Starlette. Any other exception is a bug, which ``browser_security`` logs."""
