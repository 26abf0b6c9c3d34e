"""Sets up structured logging on standard error: as JSON for programs, or for a terminal."""

from __future__ import annotations

import logging
import os
import sys
from traceback import TracebackException
from typing import TYPE_CHECKING, Any, Literal

import structlog
from structlog.tracebacks import ExceptionDictTransformer

from service.observability.timing import clock

if TYPE_CHECKING:
    from typing import TextIO

    from structlog.typing import EventDict, ExcInfo, WrappedLogger

LogFormat = Literal["auto", "console", "json"]
_MAX_FRAMES = 20
"""Of an exception."""
_MAX_EXCEPTIONS = 5
"""Of a chain, or of a group."""
_MAX_MESSAGE = 1_000
"""Characters of an exception's message, which may quote what a caller sent."""
_MAX_TRACEBACK = 16_384
"""Characters of a traceback on a console."""
_LIBRARIES_EVERY_S = 1.0


def configure(log_format: LogFormat, level: str, *, is_worker: bool = False) -> None:
    """Set up structlog for this process; called once, by the command line.

    Args:
        log_format: ``json`` is a JSON object a line; ``auto`` is console on a terminal, else JSON.
        level: ``debug``, ``info``, ``warning`` or ``error``.
        is_worker: whether to add ``pid`` to each line, to tell several workers apart.
    """
    processors: list[structlog.typing.Processor] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    if is_worker:
        processors.append(_add_pid)
    if log_format == "json" or (log_format == "auto" and not sys.stderr.isatty()):
        processors += [
            structlog.processors.ExceptionRenderer(_as_objects),
            structlog.processors.JSONRenderer(),
        ]
    else:
        colors = sys.stderr.isatty() and not os.environ.get("NO_COLOR")
        processors.append(structlog.dev.ConsoleRenderer(colors=colors, exception_formatter=_write_traceback))
    structlog.configure(
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        # Not PrintLogger, which writes the newline separately: lines of several workers would mix.
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    # Libraries' own log records, such as asyncio's of a failed task, would be unstructured lines.
    root = logging.getLogger()
    others = [handler for handler in root.handlers if not isinstance(handler, LibraryLog)]
    root.handlers = [*others, LibraryLog("a library complains", _LIBRARIES_EVERY_S)]


class LibraryLog(logging.Handler):
    """Logs libraries' warnings and errors as structured events, each message at most once in a period."""

    def __init__(self, event: str, every_s: float) -> None:
        """Log as ``event``, the same message at most every ``every_s`` seconds."""
        super().__init__(logging.WARNING)
        self.is_silent = False
        self._event = event
        self._every_s = every_s
        self._logged_s: dict[str, float] = {}
        self._suppressed: dict[str, int] = {}

    def emit(self, record: logging.LogRecord) -> None:
        """Log or count a record; called by any thread, one at a time."""
        if self.is_silent:
            return
        kind, now_s = str(record.msg), clock()
        if now_s - self._logged_s.get(kind, -self._every_s) < self._every_s:
            self._suppressed[kind] = self._suppressed.get(kind, 0) + 1
            return
        self._logged_s[kind] = now_s
        more = self._suppressed.pop(kind, 0)
        facts: dict[str, str | int] = {"more_since_the_last_line": more} if more else {}
        reason = record.getMessage()[:_MAX_MESSAGE]
        log = structlog.get_logger(record.name)
        write = log.error if record.levelno >= logging.ERROR else log.warning
        write(self._event, library=record.name, reason=reason, exc_info=record.exc_info, **facts)


def _add_pid(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    event["pid"] = os.getpid()
    return event


# Tracebacks never show local variables, which hold callers' pictures and keys.

_extract = ExceptionDictTransformer(show_locals=False, max_frames=_MAX_FRAMES)


def _as_objects(exc_info: ExcInfo) -> list[dict[str, Any]]:
    return _cut(_extract(exc_info))


def _cut(stacks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Bound the number of exceptions and the length of their messages."""
    for stack in stacks[:_MAX_EXCEPTIONS]:
        stack["exc_value"] = stack["exc_value"][:_MAX_MESSAGE]
        stack["exc_notes"] = [note[:_MAX_MESSAGE] for note in stack["exc_notes"][:_MAX_EXCEPTIONS]]
        stack["exceptions"] = [_cut(stacks) for stacks in stack["exceptions"][:_MAX_EXCEPTIONS]]
    return stacks[:_MAX_EXCEPTIONS]


def _write_traceback(out: TextIO, exc_info: ExcInfo) -> None:
    kind, error, frames = exc_info
    exception = TracebackException(
        kind, error, frames, limit=-_MAX_FRAMES, max_group_width=_MAX_EXCEPTIONS, max_group_depth=2
    )
    text = "\n".join(part.rstrip("\n")[:_MAX_MESSAGE] for part in exception.format())
    out.write(f"\n{text[-_MAX_TRACEBACK:]}")
