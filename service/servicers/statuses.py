"""The one place where an exception becomes a gRPC status."""

from __future__ import annotations

from functools import wraps
from typing import TYPE_CHECKING, Any, TypeVar

import grpc
import structlog
from google.protobuf.message import DecodeError

from service.errors import InvalidRequestError, ServiceError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

_Servicer = TypeVar("_Servicer")
_Request = TypeVar("_Request")
_Reply = TypeVar("_Reply")
_Context = grpc.aio.ServicerContext[Any, Any]

_INTERNAL_SENTENCE = "the server failed to answer; its log says why"
_log = structlog.get_logger(__name__)


class UnreadableRequest:
    """Stands for bytes that are no message of the method's request type."""


def tolerant(
    parse: Callable[[bytes], _Request],
) -> Callable[[bytes], _Request | UnreadableRequest]:
    """Make a deserializer that lets ``answering_errors`` refuse damaged bytes.

    gRPC itself would answer INTERNAL, which is the server's fault and pages somebody.
    """

    def read(data: bytes) -> _Request | UnreadableRequest:
        try:
            return parse(data)
        except DecodeError:
            return UnreadableRequest()

    return read


def answering_errors(
    method: Callable[[_Servicer, _Request, _Context], Awaitable[_Reply]],
) -> Callable[[_Servicer, _Request, _Context], Awaitable[_Reply]]:
    """Make a unary method end with the status of the ServiceError it raises.

    Any other exception is INTERNAL with a fixed sentence; its traceback goes to the log alone.
    """

    @wraps(method)
    async def answer(self: _Servicer, request: _Request, context: _Context) -> _Reply:
        try:
            if isinstance(request, UnreadableRequest):
                raise InvalidRequestError(
                    "the request's bytes are not the message that the method takes; generate the client "
                    "from the server's .proto"
                )
            return await method(self, request, context)
        except ServiceError as error:
            code, message = grpc.StatusCode[error.code], str(error)
            _log.info("call refused", method=method.__name__, status=code.name, reason=message)
        except Exception:  # noqa: BLE001 - the boundary: nothing of it may reach the caller
            code, message = grpc.StatusCode.INTERNAL, _INTERNAL_SENTENCE
            _log.exception("call failed", method=method.__name__)
        await context.abort(code, message)
        raise AssertionError("abort raises")  # for the type checker; abort never returns

    return answer
