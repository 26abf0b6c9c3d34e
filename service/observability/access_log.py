"""A line of the log for each call, for those who ask for it.

In: calls as they end. Out: which, how it ended, how long it took, about how many images, for whom. Knows
nothing of requests and models.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from service.observability.observers import Observer
from service.observability.timing import clock

if TYPE_CHECKING:
    from service.observability.observers import ObservedCall

_log = structlog.get_logger(__name__)


class AccessLog(Observer):
    """Writes them; unlike lines of refusals they are never left out."""

    def on_call(self, call: ObservedCall) -> None:
        """Write a line; a call of a stream has one as a whole."""
        _log.info(
            "call",
            method=call.path,
            code=call.code.name,
            ms=round(1_000 * (clock() - call.began_s), 3),
            images=call.images,
            **call.facts(),
        )
