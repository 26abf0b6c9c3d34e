"""Bounds what is asked: requests at a time, requests with pictures a second, bytes and seconds of a body.

In: requests. Out: the same, or a refusal that says when to come again. Knows nothing of what is asked.
"""

from __future__ import annotations

import asyncio
import math
from collections import OrderedDict
from http import HTTPStatus
from typing import TYPE_CHECKING

from starlette.datastructures import Headers

from service.observability.timing import clock
from service.web.problem_details import ProblemError, bad_request, busy

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from service.web.settings import WebConfig

_BOUNDED = "/v1/"
_ASKED_AN_UPLOAD = 8
"""Requests without a body that are worked on, for each one with pictures that may be."""
_MOST_ADDRESSES = 4_096
"""Whose rates are remembered."""


class Rates:
    """Counts what each address may still ask: tokens of a bucket that fills up with time."""

    def __init__(self, rate: float, burst: int) -> None:
        """Give ``rate`` tokens a second to each, and let ``burst`` of them gather."""
        self._rate = rate
        self._burst = burst
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()
        """Tokens, and when they were counted, by address; who was seen last is last."""

    def take(self, address: str, now_s: float) -> float:
        """Take a token.

        Returns:
            Seconds until there is one; 0 if there was.
        """
        left, counted_s = self._left.pop(address, (float(self._burst), now_s))
        left = min(self._burst, left + (now_s - counted_s) * self._rate)
        wait_s = 0.0 if left >= 1 else (1 - left) / self._rate
        self._left[address] = (left if wait_s else left - 1, now_s)
        if len(self._left) > _MOST_ADDRESSES:
            self._left.popitem(last=False)
        return wait_s


class Bounds:
    """Stands before an application."""

    def __init__(self, app: ASGIApp, config: WebConfig) -> None:
        """Bound what reaches it."""
        self._app = app
        self._config = config
        self._rates = Rates(config.rate, config.burst)
        self._under_way = {"asked": 0, "uploaded": 0}
        """Requests by whether they bring pictures: slow uploads shall not keep others from being answered."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Take a request, as ASGI has it."""
        if scope["type"] != "http" or not scope["path"].startswith(_BOUNDED):
            await self._app(scope, receive, send)
            return
        kind = "asked" if scope["method"] in {"GET", "HEAD"} else "uploaded"
        most = self._config.under_way * (_ASKED_AN_UPLOAD if kind == "asked" else 1)
        if self._under_way[kind] >= most:
            raise busy(
                HTTPStatus.SERVICE_UNAVAILABLE,
                f"{most} requests are worked on, and that is as many as may be",
            )
        if kind == "uploaded":
            self._check(scope)
        self._under_way[kind] += 1
        try:
            await self._app(scope, self._bounded(receive), send)
        finally:
            self._under_way[kind] -= 1

    def _check(self, scope: Scope) -> None:
        """Refuse an upload that is too much before anything of it is read. Raises ProblemError."""
        address = (scope.get("client") or ("",))[0]
        wait_s = self._rates.take(address, clock())
        if wait_s:
            detail = f"{self._config.rate:g} requests a second are answered to each address"
            raise busy(HTTPStatus.TOO_MANY_REQUESTS, detail, math.ceil(wait_s))
        length = Headers(scope=scope).get("content-length", "0")
        if not length.isascii() or not length.isdecimal():
            raise bad_request(f"Content-Length is {length[:100]!r}, wanted a number")
        if int(length) > self._config.upload_bytes:
            raise self._too_large()

    def _bounded(self, receive: Receive) -> Receive:
        taken = 0

        async def receive_bounded() -> Message:
            nonlocal taken
            try:
                async with asyncio.timeout(self._config.stall_s):
                    message = await receive()
            except TimeoutError as error:
                raise ProblemError(
                    HTTPStatus.REQUEST_TIMEOUT,
                    "stalled",
                    "The request does not go on",
                    f"Nothing of its body has come for {self._config.stall_s:g} seconds",
                    {"Connection": "close"},
                ) from error
            taken += len(message.get("body", b""))
            if taken > self._config.upload_bytes:
                raise self._too_large()
            return message

        return receive_bounded

    def _too_large(self) -> ProblemError:
        return ProblemError(
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
            "too-large",
            "The upload is too large",
            f"A request may have {self._config.upload_bytes:,} bytes; send fewer or smaller pictures",
            {"Connection": "close"},
        )
