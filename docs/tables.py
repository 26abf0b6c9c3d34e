"""The tables of docs/operations.md as Markdown, from options, settings, errors and metrics in the code."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from benchmarks.page import wrapped
from service import errors
from service.cli import cli
from service.config import ImageLimits, ServerConfig, settings
from service.errors import Code, ServiceError, StartupError
from service.http2.connection import MAX_UNSENT_BYTES
from service.http2.headers import MAX_HEADER_LIST_BYTES
from service.http2.stream import STREAM_WINDOW
from service.http2.timeouts import Timeouts
from service.images.decode import MAX_SCANS, MAX_SCANS_AT_MOST_PIXELS, MOST_BYTES_A_PIXEL
from service.observability.metrics import endpoint
from service.observability.metrics.table import IMAGES_BOUNDS, METRICS, SECONDS_BOUNDS
from service.rpc import refusals, status
from service.servicers.inference.regions import MOST_REGIONS
from service.servicers.inference.requests import MOST_CONTENTS_IMAGES

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

_COMMANDS = ("serve", "classify", "web", "models", "stats", "health", "doctor", "key", "completion")
_ADVICE = {
    Code.OK: ("answered", "look at each image's outcome: one may have an `error` of its own"),
    Code.CANCELLED: ("the client gave up, or its connection ended; only the log and the metrics show it", ""),
    Code.INVALID_ARGUMENT: (
        "",
        "correct the request; the message says what is wrong, with the image's index",
    ),
    Code.DEADLINE_EXCEEDED: ("", "set a longer deadline or send less; retrying at once makes it worse"),
    Code.NOT_FOUND: ("", "choose one that exists; the message names them"),
    Code.ALREADY_EXISTS: ("", "unregister it first"),
    Code.PERMISSION_DENIED: ("", "ask for a key with that right"),
    Code.RESOURCE_EXHAUSTED: ("", "retry after `grpc-retry-pushback-ms`; do not, if that is -1"),
    Code.FAILED_PRECONDITION: ("", "retry only after something has changed on the server"),
    Code.ABORTED: ("", "retry"),
    Code.UNIMPLEMENTED: ("no such method, or a compression that the server does not know", "do not retry"),
    Code.INTERNAL: (
        "a fault of the server, or a model that fails on these images",
        "look for the response's `x-request-id` in the log, at `call failed`",
    ),
    Code.UNAVAILABLE: ("", "retry; gRPC clients do so by themselves where that is safe"),
    Code.UNAUTHENTICATED: ("", "send a valid key"),
}
"""By status: a cause that is no error class, and what the caller should do."""


def options() -> str:
    """Return a table of options for each command."""
    root = click.Context(cli, info_name="cifar10net", auto_envvar_prefix="CIFAR10NET")
    return "\n".join(_command(cli.commands[name], root) for name in _COMMANDS)


def _command(command: click.Command, root: click.Context) -> str:
    context = click.Context(command, parent=root, info_name=command.name)
    summary = inspect.cleandoc(command.help or "").split("\n\n")[0].replace("\n", " ")
    shown = (each for each in command.params if isinstance(each, click.Option) and not each.hidden)
    rows = [
        (
            f"`{_name(option)}`",
            f"`{variable(option, context)}`",
            _default(option, context),
            _plain(option.help or ""),
        )
        for option in shown
    ]
    table = _table(("option", "environment", "default", "meaning"), rows) if rows else ""
    return f"### `cifar10net {command.name}`\n\n{summary}\n\n{table}"


def _name(option: click.Option) -> str:
    if option.is_flag:
        return option.opts[0]
    kind = (
        "|".join(map(str, option.type.choices)) if isinstance(option.type, click.Choice) else option.metavar
    )
    return f"{option.opts[0]} {kind or option.type.name.upper()}"


def variable(option: click.Option, context: click.Context) -> str:
    """Return the environment variable that sets an option."""
    if isinstance(option.envvar, str):
        return option.envvar
    return f"{context.auto_envvar_prefix}_{str(option.name).upper()}"


def _default(option: click.Option, context: click.Context) -> str:
    default = option.get_default(context)
    if option.is_flag:
        return "off"
    if option.multiple or not isinstance(default, (int, float, str, Path)) or default == "":
        return ""
    return f"`{default:g}`" if isinstance(default, float) else f"`{default}`"


def limits() -> str:
    """Return the table of the ranges of the server's settings."""
    rows = [
        (f"`{shown.option}`", "{:,} to {:,}".format(*shown.bounds), _plain(shown.help))
        for config in (ServerConfig, ImageLimits)
        for _, shown in settings(config)
        if shown.bounds is not None
    ]
    return _table(("setting", "range", "meaning"), rows)


def fixed_limits() -> str:
    """Return the table of the limits that no option sets."""
    timeouts = Timeouts()
    rows = (
        ("metadata of a call", f"{MAX_HEADER_LIST_BYTES >> 10} KiB", "RESOURCE_EXHAUSTED"),
        ("request id", "128 printable characters", "it is ignored"),
        (
            "time from connecting to the HTTP/2 preface",
            _seconds(timeouts.handshake_s),
            "the connection is closed",
        ),
        ("silence of a connection", _seconds(timeouts.keepalive_s), "the server sends a PING"),
        (
            "time until the reply to that PING",
            _seconds(timeouts.keepalive_timeout_s),
            "the connection is closed",
        ),
        (
            "a request that stalls, or a response that is not read",
            _seconds(timeouts.stall_s),
            "DEADLINE_EXCEEDED, or the connection is closed",
        ),
        ("flow-control window of a stream", f"{STREAM_WINDOW >> 20} MiB", "the client has to wait"),
        (
            "responses that a client does not read, per connection",
            f"{MAX_UNSENT_BYTES >> 20} MiB",
            "RESOURCE_EXHAUSTED, or the stream is refused",
        ),
        (
            "memory for decoding pictures",
            f"{MOST_BYTES_A_PIXEL} bytes for each of `--max-image-pixels`",
            "further pictures wait",
        ),
        (
            "scans of a JPEG",
            f"{MAX_SCANS}, and {MAX_SCANS_AT_MOST_PIXELS} with the most pixels",
            "the image's error is TOO_LARGE",
        ),
        ("message of a status", f"{status._LONGEST_MESSAGE:,} characters", "the rest is cut off"),
        ("images in `contents`, Open Inference", f"{MOST_CONTENTS_IMAGES:,}", "INVALID_ARGUMENT"),
        ("shared-memory regions", f"{MOST_REGIONS:,}", "RESOURCE_EXHAUSTED"),
        (
            "concurrent scrapes",
            f"{endpoint.MAX_CONNECTIONS}, of {_seconds(endpoint.TIMEOUT_S)} each",
            "the oldest is closed",
        ),
        (
            "log lines of one kind, about refusals and failures",
            f"one in {_seconds(refusals._INTERVAL_S)}",
            "the next line has their number",
        ),
    )
    return _table(("what", "at most", "beyond that"), rows)


def _seconds(value: float) -> str:
    return f"{value:g} s"


def statuses() -> str:
    """Return the table of status codes, with the errors that have them."""
    meanings = dict(error_tree())
    rows = []
    for code in Code:
        causes = [
            meanings[error.__name__].removeprefix(f"{code.name}: ")
            for error in _descendants(ServiceError)
            if error.code is code
        ]
        also, advice = _ADVICE[code]
        rows.append(
            (f"{code.name} ({code.value})", "<br>".join([*causes, *([also] if also else [])]), advice)
        )
    return _table(("status", "because", "what to do"), rows)


def startup_errors() -> str:
    """Return the table of errors that keep the server from starting."""
    meanings = dict(error_tree())
    rows = [("`ConfigError`", "2", "a setting is out of its range")]
    rows += [(f"`{error.__name__}`", "1", meanings[error.__name__]) for error in _descendants(StartupError)]
    return _table(("error", "exit code", "because"), rows)


def error_tree() -> Iterator[tuple[str, str]]:
    """Yield each error's name and meaning, from the tree in the docstring of service.errors."""
    for line in (errors.__doc__ or "").splitlines():
        match = re.fullmatch(r" *\* (\w+) +(.+)", line)
        if match:
            yield match[1], match[2]


def _descendants(error: type[Any]) -> Iterator[type[Any]]:
    for each in error.__subclasses__():
        if each.__module__ == errors.__name__:
            yield each
            yield from _descendants(each)


def metrics() -> str:
    """Return the table of metrics."""
    rows = [
        (
            f"`{metric.full_name}`",
            metric.kind.value,
            ", ".join(f"`{label}`" for label in metric.labels),
            _plain(metric.help),
        )
        for metric in METRICS
    ]
    table = _table(("metric", "kind", "labels", "meaning"), rows)
    seconds, images = (
        ", ".join(f"{bound:g}" for bound in bounds) for bounds in (SECONDS_BOUNDS, IMAGES_BOUNDS)
    )
    buckets = f"Histogram buckets: {seconds} seconds; for batch sizes {images} images.\n"
    return f"{table}\n{wrapped(buckets)}"


def _plain(text: str) -> str:
    """Escape ``<model>`` for Markdown, except in backquotes."""
    parts = text.replace("``", "`").split("`")
    return "`".join(part if index % 2 else part.replace("<", "&lt;") for index, part in enumerate(parts))


def _table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    cells = ([cell.replace("|", r"\|") for cell in line] for line in (titles, ["---"] * len(titles), *rows))
    return "".join(f"| {' | '.join(line)} |\n" for line in cells)
