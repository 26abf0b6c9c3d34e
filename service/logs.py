"""Sets up the server's log: key-value events on standard error, for people or for programs."""

from __future__ import annotations

import logging
import os
import sys
from typing import TYPE_CHECKING, Literal

import structlog

if TYPE_CHECKING:
    from structlog.typing import EventDict, WrappedLogger

# Without local variables: they hold the callers' pictures.
_PLAIN_TRACEBACKS = structlog.processors.ExceptionRenderer(
    structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
)
LogFormat = Literal["auto", "console", "json"]


def configure(log_format: LogFormat, level: str, *, is_worker: bool = False) -> None:
    """Set up structlog for this process; called once, by the command line.

    Args:
        log_format: ``json`` is a JSON object a line; ``auto`` is console on a terminal, else JSON.
        level: ``debug``, ``info``, ``warning`` or ``error``.
        is_worker: whether this is one of several, whose lines are told apart by their ``pid``.
    """
    as_json = log_format == "json" or (log_format == "auto" and not sys.stderr.isatty())
    shared: list[structlog.typing.Processor] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    if is_worker:
        shared.append(_add_pid)
    rendering: list[structlog.typing.Processor] = [structlog.dev.ConsoleRenderer()]
    if as_json:
        rendering = [_PLAIN_TRACEBACKS, structlog.processors.JSONRenderer()]
    structlog.configure(
        processors=[*shared, *rendering],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        # Not PrintLogger, which writes the end of a line apart: those of many workers would be torn.
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )


def _add_pid(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    event["pid"] = os.getpid()
    return event
