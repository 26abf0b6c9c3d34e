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

from cifar10net.errors import ClientError, ImageError

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
_KINDS = {
    grpc.StatusCode.UNAVAILABLE: ("unavailable", "The server does not answer"),
    grpc.StatusCode.RESOURCE_EXHAUSTED: ("overloaded", "The server is busy"),
    grpc.StatusCode.DEADLINE_EXCEEDED: ("late", "The server did not answer in time"),
    grpc.StatusCode.NOT_FOUND: ("not-found", "No such model"),
    grpc.StatusCode.INVALID_ARGUMENT: ("bad-request", "The server refuses the request"),
    grpc.StatusCode.UNAUTHENTICATED: ("locked-out", "The server does not let this page in"),
    grpc.StatusCode.PERMISSION_DENIED: ("locked-out", "The server does not let this page in"),
}
_OTHER_KIND = ("failed", "The server failed")


class ProblemError(Exception):
    """A request is not answered as it was meant."""

    def __init__(
        self,
        status: HTTPStatus,
        code: str,
        title: str,
        detail: str,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Make it.

        Args:
            status: of the answer.
            code: a word for programs, the same for the same kind of problem.
            title: what kind of problem it is, for people; the same likewise.
            detail: what it is this time, and what to do about it.
            headers: more of the answer's.
        """
        super().__init__(detail)
        self.status = status
        self.code = code
        self.title = title
        self.detail = detail
        self.headers = dict(headers or {})

    def as_response(self) -> Response:
        """Say it to whoever asked."""
        told = {
            "type": "about:blank",
            "code": self.code,
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
        }
        headers = {**self.headers, "Cache-Control": "no-store"}
        return JSONResponse(told, self.status, headers, "application/problem+json")


def bad_request(detail: str) -> ProblemError:
    """Say what is wrong with a request."""
    return ProblemError(HTTPStatus.BAD_REQUEST, "bad-request", "The request makes no sense", detail)


def not_found(detail: str) -> ProblemError:
    """Say what is not there."""
    return ProblemError(HTTPStatus.NOT_FOUND, "not-found", "There is no such thing", detail)


def busy(status: HTTPStatus, detail: str, again_s: int = COME_AGAIN_S) -> ProblemError:
    """Say when to come again."""
    headers = {"Retry-After": str(again_s)}
    return ProblemError(status, "overloaded", "Too much is asked at once", detail, headers)


def problem_of(error: Exception) -> ProblemError:
    """Say what an exception means for the request in which it was raised."""
    if isinstance(error, ProblemError):
        return error
    if isinstance(error, ClientError):
        status = _OF_CALLS.get(error.code, HTTPStatus.BAD_GATEWAY)
        again = {"Retry-After": str(COME_AGAIN_S)} if status is HTTPStatus.SERVICE_UNAVAILABLE else {}
        return ProblemError(status, *_KINDS.get(error.code, _OTHER_KIND), str(error), again)
    if isinstance(error, ImageError):
        return ProblemError(
            HTTPStatus.UNPROCESSABLE_ENTITY,
            "bad-picture",
            "The picture cannot be read",
            f"The picture {error.message} ({error.code.name})",
        )
    if isinstance(error, ClientDisconnect):
        return bad_request("The request ended before its body did")
    if isinstance(error, HTTPException):
        status = HTTPStatus(error.status_code)
        detail = error.detail if error.detail != status.phrase else status.description
        code = status.phrase.lower().replace(" ", "-")
        return ProblemError(status, code, status.phrase, detail, error.headers)
    return ProblemError(
        HTTPStatus.INTERNAL_SERVER_ERROR,
        "failed",
        "This page failed",
        "What has happened is in the page's log",
    )


async def _answer(_request: Request, error: Exception) -> Response:
    return problem_of(error).as_response()


HANDLERS: Mapping[type[Exception], ExceptionHandler] = dict.fromkeys(
    (ProblemError, ClientError, ImageError, ClientDisconnect, HTTPException), _answer
)
"""For Starlette; an exception of any other kind is a mistake of ours, which ``guard`` logs."""
