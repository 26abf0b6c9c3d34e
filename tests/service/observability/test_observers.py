"""Observers are notified of every call and request once, at its end, with its outcome."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import pytest
from hyperframe.frame import DataFrame, RstStreamFrame

from service.errors import Code, InvalidRequestError, NotServingError, UnknownModelError
from service.observability.observers import Observer, Observers, Request
from service.rpc.method import Method
from tests.service.in_process import ECHO, HANG, Line, server_of, settle, until
from tests.service.raw_client import framed

if TYPE_CHECKING:
    from service.observability.observers import ObservedCall
    from service.rpc.context import UnaryContext

FAIL = "/test/Fail"


class _Listener(Observer):
    def __init__(self) -> None:
        self.calls: list[tuple[str, Code]] = []
        self.refusals: list[tuple[str, str]] = []
        self.requests: list[Request] = []

    def on_call(self, call: ObservedCall) -> None:
        self.calls.append((call.path, call.code))

    def on_refusal(self, event: str, reason: str) -> None:
        self.refusals.append((event, reason))

    def on_request(self, request: Request) -> None:
        self.requests.append(request)


async def _fail(message: bytes, call: UnaryContext) -> bytes:  # noqa: ARG001 - as every handler
    raise InvalidRequestError("no")


def _course(*, path: str, end: RstStreamFrame | None = None, timeout: str = "5S") -> _Listener:
    """One call, until it is over."""

    async def scenario() -> _Listener:
        listener = _Listener()
        server = server_of(Method(FAIL, unary=_fail))
        server.observer = Observers([listener])
        line = Line(server)
        line.open(1, path, ("grpc-timeout", timeout))
        line.send(DataFrame(1, framed(b"hello"), flags=["END_STREAM"]))
        await settle()
        if end is not None:
            line.send(end)
        await until(lambda: listener.calls or listener.refusals)
        line.connection.abort()
        await settle()
        await server.close()
        return listener

    return asyncio.run(scenario())


@pytest.mark.parametrize(
    ("path", "code"), [(ECHO, Code.OK), (FAIL, Code.INVALID_ARGUMENT), (HANG, Code.DEADLINE_EXCEEDED)]
)
def test_a_call_is_reported_once_with_its_code(path: str, code: Code) -> None:
    assert _course(path=path, timeout="50m").calls == [(path, code)]


def test_a_call_that_the_client_cancels_is_reported_as_cancelled() -> None:
    assert _course(path=HANG, end=RstStreamFrame(1, error_code=8)).calls == [(HANG, Code.CANCELLED)]


def test_refusals_are_reported_by_one_of_few_kinds() -> None:
    assert _course(path=FAIL).refusals == [("call refused", "INVALID_ARGUMENT")]
    assert _course(path="/no/Such").refusals == [("request refused", "HEAD")]


class _Call:
    began_s = 0.0
    metadata: dict[bytes, bytes] = {}  # noqa: RUF012 - nobody writes to it
    code = Code.DEADLINE_EXCEEDED
    context: object = None
    images = 0
    path = "/test/Ask"
    peer = "here:1"
    is_stream = False

    def facts(self) -> dict[str, str]:
        return {}


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (None, Code.OK),
        (UnknownModelError("which?"), Code.NOT_FOUND),
        (NotServingError("not now"), Code.UNAVAILABLE),
        (ZeroDivisionError(), Code.INTERNAL),
        (asyncio.CancelledError(), Code.DEADLINE_EXCEEDED),  # the call's own
    ],
)
def test_a_request_is_reported_with_how_it_ended(error: BaseException | None, code: Code) -> None:
    listener = _Listener()

    with (
        contextlib.nullcontext() if error is None else pytest.raises(type(error)),
        Request(listener, _Call()) as request,
    ):
        if error is not None:
            raise error

    assert listener.requests == [request]
    assert request.code is code
    assert request.began_s <= request.ended_s


def test_a_call_knows_at_once_about_how_many_images_it_is() -> None:
    call = _Call()

    with Request(Observer(), call) as first:
        first.images = 3
        assert call.images == 3
        first.images = 4
    with Request(Observer(), call) as second:
        second.images = 10

    assert (first.images, second.images, call.images) == (4, 10, 14)
