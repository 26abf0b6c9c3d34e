"""The access log: one line for each call (``--log-calls``)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from service.observability.observers import Observer
from service.observability.timing import clock

if TYPE_CHECKING:
    from service.observability.observers import ObservedCall

_log = structlog.get_logger(__name__)


class AccessLog(Observer):
    """Logs every call; unlike refusals, these lines are not rate-limited."""

    def on_call(self, call: ObservedCall) -> None:
        """Log a call; a streaming call has one line."""
        _log.info(
            "call",
            method=call.path,
            code=call.code.name,
            ms=round(1_000 * (clock() - call.began_s), 3),
            images=call.images,
            **call.facts(),
        )
