"""The log's view of refused calls: each kind once a second, and how many more there were.

A flood of calls must not become a flood of lines.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

if TYPE_CHECKING:
    from service.rpc.status import Status

_EVERY_S = 1.0
_log = structlog.get_logger(__name__)


class RefusalLog:
    """Writes a line for the first refusal of a kind, then at most one a second."""

    def __init__(self) -> None:
        self._said_s: dict[tuple[str, str], float] = {}
        self._unsaid: dict[tuple[str, str], int] = {}

    def note(self, method: str, status: Status, now_s: float) -> None:
        """Count a refusal, and say so if it is time; ``now_s`` is any clock that goes on."""
        kind = (method, status.code.name)
        if now_s - self._said_s.get(kind, -_EVERY_S) < _EVERY_S:
            self._unsaid[kind] = self._unsaid.get(kind, 0) + 1
            return
        self._said_s[kind] = now_s
        more = self._unsaid.pop(kind, 0)
        _log.info(
            "call refused",
            method=method,
            status=status.code.name,
            reason=status.message,
            **({"more_since_the_last_line": more} if more else {}),
        )
