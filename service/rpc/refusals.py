"""The log's view of calls and connections that went wrong: each kind once a second, and how many more.

A flood of calls must not become a flood of lines.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import structlog

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_EVERY_S = 1.0
_log = structlog.get_logger(__name__)


class RefusalLog:
    """Writes a line for the first refusal of a kind, then at most one a second."""

    def __init__(self) -> None:
        self._said_s: dict[_Kind, float] = {}
        self._unsaid: dict[_Kind, int] = {}

    def note(  # noqa: PLR0913 - what is in a line
        self,
        event: str,
        status: str,
        now_s: float,
        facts: Callable[[], Mapping[str, str]],
        *,
        method: str = "",
        error: Exception | None = None,
    ) -> None:
        """Count a refusal, and say so if it is time.

        Args:
            event: what was refused, or has failed.
            status: why, in a word of few.
            now_s: by any clock that goes on.
            facts: what else a line is to say; called only if there is one.
            method: which was called, if that is known.
            error: of ours, whose traceback goes into the line.
        """
        kind = _Kind(event, method, status, "" if error is None else type(error).__name__)
        if now_s - self._said_s.get(kind, -_EVERY_S) < _EVERY_S:
            self._unsaid[kind] = self._unsaid.get(kind, 0) + 1
            return
        self._said_s[kind] = now_s
        more = self._unsaid.pop(kind, 0)
        line = {**kind.facts(), **facts(), **({"more_since_the_last_line": more} if more else {})}
        if error is None:
            _log.info(event, **line)
        else:
            _log.error(event, **line, exc_info=error)

    def say_rest(self, now_s: float) -> None:
        """Say how many there were of kinds that have ceased; to be called about once a second."""
        for kind in [kind for kind in self._unsaid if now_s - self._said_s[kind] >= _EVERY_S]:
            count = self._unsaid.pop(kind)
            _log.info(f"{kind.event}, more of the same", **kind.facts(), count=count)


class _Kind(NamedTuple):
    event: str
    method: str
    status: str
    error: str

    def facts(self) -> dict[str, str]:
        """Leave out what does not apply."""
        facts = {"status": self.status, "method": self.method, "error": self.error}
        return {name: value for name, value in facts.items() if value}
