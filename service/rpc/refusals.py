"""The log's view of refused calls and broken connections: each kind once a second, and how many more.

A flood of calls must not become a flood of lines.
"""

from __future__ import annotations

import structlog

_EVERY_S = 1.0
_log = structlog.get_logger(__name__)


class RefusalLog:
    """Writes a line for the first refusal of a kind, then at most one a second."""

    def __init__(self) -> None:
        self._said_s: dict[tuple[str, str, str], float] = {}
        self._unsaid: dict[tuple[str, str, str], int] = {}

    def note(self, event: str, status: str, now_s: float, **facts: str) -> None:
        """Count a refusal, and say so if it is time; ``now_s`` is any clock that goes on."""
        kind = (event, facts.get("method", ""), status)
        if now_s - self._said_s.get(kind, -_EVERY_S) < _EVERY_S:
            self._unsaid[kind] = self._unsaid.get(kind, 0) + 1
            return
        self._said_s[kind] = now_s
        more = self._unsaid.pop(kind, 0)
        _log.info(event, status=status, **facts, **({"more_since_the_last_line": more} if more else {}))

    def say_rest(self, now_s: float) -> None:
        """Say how many there were of kinds that have ceased; to be called about once a second."""
        for kind in [kind for kind in self._unsaid if now_s - self._said_s[kind] >= _EVERY_S]:
            event, method, status = kind
            _log.info(
                f"{event}, more of the same", method=method, status=status, count=self._unsaid.pop(kind)
            )
