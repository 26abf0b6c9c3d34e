"""Refuses requests that other sites cause, and adds security headers to every response.

Any site in the same browser can reach a page on loopback. So requests must name this host, which defeats DNS
rebinding, and requests that change or upload something must not come from another origin.
"""

from __future__ import annotations

import ipaddress
import re
from http import HTTPStatus
from typing import TYPE_CHECKING

import structlog
from starlette.datastructures import Headers, MutableHeaders

from service.web.problem_details import ProblemError, to_problem

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
"""Headers of every response."""
_HOST = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[^\[\]:/@\s]+)(:\d{1,5})?")
_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
_log = structlog.get_logger(__name__)


class BrowserSecurity:
    """ASGI middleware."""

    def __init__(self, app: ASGIApp, allowed_hosts: tuple[str, ...]) -> None:
        """Accept requests to ``localhost``, to IP addresses and to ``allowed_hosts``."""
        self._app = app
        self._allowed = frozenset({"localhost", *allowed_hosts})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Check a request and pass it on; answer with problem details if anything fails."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        has_begun = False

        async def send_secured(message: Message) -> None:
            nonlocal has_begun
            if message["type"] == "http.response.start":
                has_begun = True
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        try:
            self._check(scope["method"], Headers(scope=scope))
            await self._app(scope, receive, send_secured)
        except Exception as error:
            if not isinstance(error, ProblemError):
                _log.exception("request failed", method=scope["method"], path=scope["path"])
            if has_begun:
                raise
            await to_problem(error).as_response()(scope, receive, send_secured)

    def _check(self, method: str, headers: Headers) -> None:
        """Raise ProblemError for another host or origin."""
        host = headers.get("host", "")
        if not self._is_ours(host):
            raise ProblemError(
                HTTPStatus.MISDIRECTED_REQUEST,
                "other-host",
                "The host name is not allowed",
                f"The request names the host {host[:100]!r}; --allow-host NAME allows a name",
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
                f"It was sent from {(origin or 'another site')[:100]!r}, wanted the origin {host[:100]!r}",
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
        return True  # DNS rebinding needs a name
