"""Logs refusals and failures, each kind at most once a second: a flood of calls does not flood the log."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import structlog

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_INTERVAL_S = 1.0
_log = structlog.get_logger(__name__)


class RefusalLog:
    """Writes a line for the first refusal of a kind, then at most one a second, which counts the others."""

    def __init__(self) -> None:
        self._logged_s: dict[_Kind, float] = {}
        self._suppressed: dict[_Kind, int] = {}

    def note(  # noqa: PLR0913 - the fields of a line
        self,
        event: str,
        status: str,
        now_s: float,
        facts: Callable[[], Mapping[str, str]],
        *,
        method: str = "",
        error: Exception | None = None,
    ) -> None:
        """Count a refusal, and log it unless its kind was logged within the last second.

        Args:
            event: what was refused or has failed.
            status: the reason, one of few.
            now_s: the time by any monotonic clock.
            facts: returns further fields of the line; called only if one is written.
            method: the method called, if known.
            error: a failure of the server, whose traceback is logged.
        """
        kind = _Kind(event, method, status, "" if error is None else type(error).__name__)
        if now_s - self._logged_s.get(kind, -_INTERVAL_S) < _INTERVAL_S:
            self._suppressed[kind] = self._suppressed.get(kind, 0) + 1
            return
        self._logged_s[kind] = now_s
        more = self._suppressed.pop(kind, 0)
        line = {**kind.facts(), **facts(), **({"more_since_the_last_line": more} if more else {})}
        if error is None:
            _log.info(event, **line)
        else:
            _log.error(event, **line, exc_info=error)

    def flush(self, now_s: float) -> None:
        """Log the counts of kinds that have ceased; to be called about once a second."""
        for kind in [kind for kind in self._suppressed if now_s - self._logged_s[kind] >= _INTERVAL_S]:
            count = self._suppressed.pop(kind)
            _log.info(f"{kind.event}, more of the same", **kind.facts(), count=count)


class _Kind(NamedTuple):
    event: str
    method: str
    status: str
    error: str

    def facts(self) -> dict[str, str]:
        """Return the fields of a line that are set."""
        facts = {"status": self.status, "method": self.method, "error": self.error}
        return {name: value for name, value in facts.items() if value}
