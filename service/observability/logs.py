"""Sets up the server's log: key-value events on standard error, for people or for programs."""

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
_MOST_FRAMES = 20
"""Of an exception."""
_MOST_EXCEPTIONS = 5
"""Of those that led to one another, or came together."""
_LONGEST_MESSAGE = 1_000
"""Characters of an exception's message, which may quote what a caller sent."""
_LONGEST_TRACEBACK = 16_384
"""Characters."""
_LIBRARIES_EVERY_S = 1.0


def configure(log_format: LogFormat, level: str, *, is_worker: bool = False) -> None:
    """Set up structlog for this process; called once, by the command line.

    Args:
        log_format: ``json`` is a JSON object a line; ``auto`` is console on a terminal, else JSON.
        level: ``debug``, ``info``, ``warning`` or ``error``.
        is_worker: whether this is one of several, whose lines are told apart by their ``pid``.
    """
    as_json = log_format == "json" or (log_format == "auto" and not sys.stderr.isatty())
    with_colours = sys.stderr.isatty() and not os.environ.get("NO_COLOR")
    shared: list[structlog.typing.Processor] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    if is_worker:
        shared.append(_add_pid)
    rendering: list[structlog.typing.Processor] = [
        structlog.dev.ConsoleRenderer(colors=with_colours, exception_formatter=_write_traceback)
    ]
    if as_json:
        rendering = [
            structlog.processors.ExceptionRenderer(_as_objects),
            structlog.processors.JSONRenderer(),
        ]
    structlog.configure(
        processors=[*shared, *rendering],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        # Not PrintLogger, which writes the end of a line apart: those of many workers would be torn.
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    # What libraries log, such as asyncio of a task that has failed, would be lines without a form.
    root = logging.getLogger()
    others = [handler for handler in root.handlers if not isinstance(handler, LibraryLog)]
    root.handlers = [*others, LibraryLog("a library complains", _LIBRARIES_EVERY_S)]


class LibraryLog(logging.Handler):
    """Takes what libraries log by Python's logging: each kind once in a while, and how many more."""

    def __init__(self, event: str, every_s: float) -> None:
        """Say it as ``event``, from warnings on."""
        super().__init__(logging.WARNING)
        self.is_silent = False
        self._event = event
        self._every_s = every_s
        self._said_s: dict[str, float] = {}
        self._unsaid: dict[str, int] = {}

    def emit(self, record: logging.LogRecord) -> None:
        """Say it, or count it; called by any thread, one at a time."""
        if self.is_silent:
            return
        kind, now_s = str(record.msg), clock()
        if now_s - self._said_s.get(kind, -self._every_s) < self._every_s:
            self._unsaid[kind] = self._unsaid.get(kind, 0) + 1
            return
        self._said_s[kind] = now_s
        more = self._unsaid.pop(kind, 0)
        facts: dict[str, str | int] = {"more_since_the_last_line": more} if more else {}
        reason = record.getMessage()[:_LONGEST_MESSAGE]
        log = structlog.get_logger(record.name)
        say = log.error if record.levelno >= logging.ERROR else log.warning
        say(self._event, library=record.name, reason=reason, exc_info=record.exc_info, **facts)


def _add_pid(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    event["pid"] = os.getpid()
    return event


# Tracebacks never have local variables, in either format: they hold the callers' pictures and keys.

_extract = ExceptionDictTransformer(show_locals=False, max_frames=_MOST_FRAMES)


def _as_objects(exc_info: ExcInfo) -> list[dict[str, Any]]:
    return _cut(_extract(exc_info))


def _cut(stacks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Keep exceptions within bounds, however many led to one another and whatever they quote."""
    for stack in stacks[:_MOST_EXCEPTIONS]:
        stack["exc_value"] = stack["exc_value"][:_LONGEST_MESSAGE]
        stack["exc_notes"] = [note[:_LONGEST_MESSAGE] for note in stack["exc_notes"][:_MOST_EXCEPTIONS]]
        stack["exceptions"] = [_cut(stacks) for stacks in stack["exceptions"][:_MOST_EXCEPTIONS]]
    return stacks[:_MOST_EXCEPTIONS]


def _write_traceback(out: TextIO, exc_info: ExcInfo) -> None:
    kind, error, frames = exc_info
    told = TracebackException(
        kind, error, frames, limit=-_MOST_FRAMES, max_group_width=_MOST_EXCEPTIONS, max_group_depth=2
    )
    text = "\n".join(part.rstrip("\n")[:_LONGEST_MESSAGE] for part in told.format())
    out.write(f"\n{text[-_LONGEST_TRACEBACK:]}")
