"""Limits requests: how many at a time, how many with pictures per second, and size and stalls of a body."""

from __future__ import annotations

import asyncio
import math
from collections import OrderedDict
from http import HTTPStatus
from typing import TYPE_CHECKING

from starlette.datastructures import Headers

from service.observability.timing import clock
from service.web.problem_details import ProblemError, bad_request, overloaded

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from service.web.settings import WebConfig

_LIMITED = "/v1/"
_READS_PER_UPLOAD = 8
"""Concurrent requests without a body that are allowed for each one with pictures."""
_MOST_ADDRESSES = 4_096
"""Addresses whose rate is remembered, the most recent ones."""


class RateLimiter:
    """A token bucket per client address."""

    def __init__(self, rate: float, burst: int) -> None:
        """Add ``rate`` tokens per second to each bucket, up to ``burst``."""
        self._rate = rate
        self._burst = burst
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()
        """Tokens, and when they were counted, by address; the least recently seen address first."""

    def take(self, address: str, now_s: float) -> float:
        """Take a token; return the seconds until there is one, 0 if it was taken."""
        tokens, counted_s = self._buckets.pop(address, (float(self._burst), now_s))
        tokens = min(self._burst, tokens + (now_s - counted_s) * self._rate)
        wait_s = 0.0 if tokens >= 1 else (1 - tokens) / self._rate
        self._buckets[address] = (tokens if wait_s else tokens - 1, now_s)
        if len(self._buckets) > _MOST_ADDRESSES:
            self._buckets.popitem(last=False)
        return wait_s


class RequestLimits:
    """ASGI middleware."""

    def __init__(self, app: ASGIApp, config: WebConfig) -> None:
        self._app = app
        self._config = config
        self._rates = RateLimiter(config.rate, config.burst)
        self._in_flight = {"read": 0, "upload": 0}
        """Counted apart, so that slow uploads do not keep others from being answered."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on within the limits. Raises ProblemError beyond them."""
        if scope["type"] != "http" or not scope["path"].startswith(_LIMITED):
            await self._app(scope, receive, send)
            return
        kind = "read" if scope["method"] in {"GET", "HEAD"} else "upload"
        most = self._config.under_way * (_READS_PER_UPLOAD if kind == "read" else 1)
        if self._in_flight[kind] >= most:
            raise overloaded(
                HTTPStatus.SERVICE_UNAVAILABLE, f"{most} requests are being handled, the most at a time"
            )
        if kind == "upload":
            self._check(scope)
        self._in_flight[kind] += 1
        try:
            await self._app(scope, self._limited(receive), send)
        finally:
            self._in_flight[kind] -= 1

    def _check(self, scope: Scope) -> None:
        """Check an upload before its body is read. Raises ProblemError."""
        address = (scope.get("client") or ("",))[0]
        wait_s = self._rates.take(address, clock())
        if wait_s:
            detail = f"Each address may send {self._config.rate:g} requests with pictures a second"
            raise overloaded(HTTPStatus.TOO_MANY_REQUESTS, detail, math.ceil(wait_s))
        length = Headers(scope=scope).get("content-length", "0")
        if not length.isascii() or not length.isdecimal():
            raise bad_request(f"Content-Length is {length[:100]!r}, wanted a number")
        if int(length) > self._config.upload_bytes:
            raise self._too_large()

    def _limited(self, receive: Receive) -> Receive:
        received_bytes = 0

        async def receive_limited() -> Message:
            nonlocal received_bytes
            try:
                async with asyncio.timeout(self._config.stall_s):
                    message = await receive()
            except TimeoutError as error:
                raise ProblemError(
                    HTTPStatus.REQUEST_TIMEOUT,
                    "stalled",
                    "The request has stalled",
                    f"No part of its body has arrived for {self._config.stall_s:g} seconds",
                    {"Connection": "close"},
                ) from error
            received_bytes += len(message.get("body", b""))
            if received_bytes > self._config.upload_bytes:
                raise self._too_large()
            return message

        return receive_limited

    def _too_large(self) -> ProblemError:
        return ProblemError(
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
            "too-large",
            "The upload is too large",
            f"A request may have at most {self._config.upload_bytes:,} bytes; send fewer or smaller pictures",
            {"Connection": "close"},
        )
