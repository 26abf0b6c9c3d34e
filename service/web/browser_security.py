"""Lets in what was meant for this page, and says with each answer what a browser may make of it.

A page on loopback is reached by every other page that the same browser shows. So a request has to name this
host, lest another site's name be pointed here (DNS rebinding), and what a browser sends from elsewhere is
refused. Knows nothing of what is asked.
"""

from __future__ import annotations

import ipaddress
import re
from http import HTTPStatus
from typing import TYPE_CHECKING

import structlog
from starlette.datastructures import Headers, MutableHeaders

from service.web.problem_details import ProblemError, problem_of

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    "connect-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)
HEADERS = {
    "Content-Security-Policy": _POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(self), geolocation=(), microphone=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
"""Of every answer."""
_HOST = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[^\[\]:/@\s]+)(:\d{1,5})?")
_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
_log = structlog.get_logger(__name__)


class Guard:
    """Stands before an application."""

    def __init__(self, app: ASGIApp, allowed_hosts: tuple[str, ...]) -> None:
        """Let in what names ``localhost``, an IP address or one of some hosts."""
        self._app = app
        self._allowed = frozenset({"localhost", *allowed_hosts})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Take a request, as ASGI has it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        has_begun = False

        async def send_guarded(message: Message) -> None:
            nonlocal has_begun
            if message["type"] == "http.response.start":
                has_begun = True
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        try:
            self._check(scope["method"], Headers(scope=scope))
            await self._app(scope, receive, send_guarded)
        except Exception as error:
            if not isinstance(error, ProblemError):
                _log.exception("request failed", method=scope["method"], path=scope["path"])
            if has_begun:
                raise
            await problem_of(error).as_response()(scope, receive, send_guarded)

    def _check(self, method: str, headers: Headers) -> None:
        """Refuse what was not meant for this page. Raises ProblemError."""
        host = headers.get("host", "")
        if not self._is_ours(host):
            raise ProblemError(
                HTTPStatus.MISDIRECTED_REQUEST,
                "other-host",
                "This page has another name",
                f"The request names the host {host[:100]!r}; --allow-host lets the page be asked by a name",
            )
        if method in _SAFE:
            return
        # Origin is compared without its scheme: a proxy in front may speak TLS where this page does not.
        origin = headers.get("origin")
        is_foreign = origin is not None and origin.partition("://")[2] != host
        if is_foreign or headers.get("sec-fetch-site", "none") not in {"same-origin", "none"}:
            raise ProblemError(
                HTTPStatus.FORBIDDEN,
                "other-site",
                "The request comes from another site",
                f"It was sent by a page of {(origin or 'another site')[:100]!r}, and this is {host[:100]!r}",
            )

    def _is_ours(self, host: str) -> bool:
        match = _HOST.fullmatch(host.lower())
        if match is None:
            return False
        name = match["host"].strip("[]").rstrip(".")
        if name in self._allowed:
            return True
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return True  # no other site has it: names are what can be pointed elsewhere
