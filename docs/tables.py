"""The tables of docs/operations.md, made from the code that they tell of.

In: the command line, the settings, the errors and the metrics, as they are. Out: Markdown. Knows nothing of
the page around them.
"""

from __future__ import annotations

import ast
import inspect
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cifar10net.errors import ConfigError
from service import errors
from service.cli import cli
from service.config import ImageLimits, ServerConfig
from service.errors import Code, ServiceError, StartupError
from service.http2.connection import MAX_UNSENT_BYTES
from service.http2.headers import MAX_HEADER_LIST_BYTES
from service.http2.stream import STREAM_WINDOW
from service.http2.timeouts import Timeouts
from service.images.decode import MOST_BYTES_A_PIXEL
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
    Code.CANCELLED: ("the client gave up, or its connection ended; only log and metrics know", ""),
    Code.INVALID_ARGUMENT: ("", "mend the request; the message says what is wrong, with the image's index"),
    Code.DEADLINE_EXCEEDED: ("", "wait longer, or send less; more of the same makes it worse"),
    Code.NOT_FOUND: ("", "the message names what there is"),
    Code.ALREADY_EXISTS: ("", "unregister it first"),
    Code.PERMISSION_DENIED: ("", "ask for a key with that right"),
    Code.RESOURCE_EXHAUSTED: ("", "come again after `grpc-retry-pushback-ms`; never, if that is -1"),
    Code.FAILED_PRECONDITION: ("", "not before something has changed on the server"),
    Code.ABORTED: ("", "repeat it"),
    Code.UNIMPLEMENTED: (
        "no such method, or a compression that the server does not know",
        "do not repeat it",
    ),
    Code.INTERNAL: (
        "a fault of the server, or a model that fails on these images",
        "look up the answer's `x-request-id` in the log, at `call failed`",
    ),
    Code.UNAVAILABLE: ("", "repeat it; clients of gRPC do so by themselves where that is safe"),
    Code.UNAUTHENTICATED: ("", "send a key that is valid"),
}
"""What else a status comes from than the errors that have it, and what its receiver should do."""


def options() -> str:
    """Make a table of each command's options."""
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
    """Name the environment variable that sets an option."""
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
    """Make a table of the settings that are numbers, with what they may be."""
    rows = []
    for config in (ServerConfig, ImageLimits):
        for name, meaning in _field_docstrings(config).items():
            found = _range(config, name)
            if found is not None:
                rows.append((*found, _plain(meaning)))
    return _table(("setting", "range", "of what"), rows)


def _range(config: type[Any], name: str) -> tuple[str, str] | None:
    """Return the option's name and the bounds of a setting, as its refusal tells them."""
    try:
        config(**{name: -1})
    except ConfigError as error:
        match = re.fullmatch(r"(\w+) is -1, wanted (\S+) to (\S+)", str(error))
        if match is not None:
            smallest, largest = (f"{int(bound):,}" for bound in match.groups()[1:])
            return f"`--{match[1].replace('_', '-')}`", f"{smallest} to {largest}"
    return None


def _field_docstrings(config: type[Any]) -> dict[str, str]:
    [body] = ast.parse(inspect.getsource(config)).body
    fields: dict[str, str] = {}
    name = None
    for statement in body.body if isinstance(body, ast.ClassDef) else []:
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
            name = statement.target.id
            fields[name] = ""
        elif isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant) and name:
            fields[name] = str(statement.value.value)
            name = None
    return fields


def fixed_limits() -> str:
    """Make a table of the limits that no option sets."""
    timeouts = Timeouts()
    rows = (
        ("metadata of a call", f"{MAX_HEADER_LIST_BYTES >> 10} KiB", "RESOURCE_EXHAUSTED"),
        ("request id", "128 printable characters", "it counts as none"),
        ("from a connection to its first HTTP/2", _seconds(timeouts.handshake_s), "the connection is ended"),
        (
            "silence of a connection",
            _seconds(timeouts.keepalive_s),
            "it is asked by a PING whether it is there",
        ),
        ("reply to that", _seconds(timeouts.keepalive_timeout_s), "the connection is ended"),
        (
            "a request that does not go on, an answer that is not read",
            _seconds(timeouts.stall_s),
            "DEADLINE_EXCEEDED, or the end of the connection",
        ),
        ("unanswered bytes of a stream", f"{STREAM_WINDOW >> 20} MiB", "the client has to wait"),
        (
            "answers of a connection that its client does not read",
            f"{MAX_UNSENT_BYTES >> 20} MiB",
            "RESOURCE_EXHAUSTED, or the stream is refused",
        ),
        (
            "memory for pictures that are being decoded",
            f"{MOST_BYTES_A_PIXEL} bytes for each of `--max-image-pixels`",
            "further pictures wait",
        ),
        ("message of a status", f"{status._LONGEST_MESSAGE:,} characters", "the rest is cut off"),
        ("images in `contents`, Open Inference", f"{MOST_CONTENTS_IMAGES:,}", "INVALID_ARGUMENT"),
        ("regions of shared memory", f"{MOST_REGIONS:,}", "RESOURCE_EXHAUSTED"),
        (
            "scrapes at a time",
            f"{endpoint._MOST_CONNECTIONS}, of {_seconds(endpoint._PATIENCE_S)} each",
            "the oldest is ended",
        ),
        (
            "lines of a kind in the log, about refusals and failures",
            f"one in {_seconds(refusals._INTERVAL_S)}",
            "they are counted, and told by the next",
        ),
    )
    return _table(("what", "at most", "beyond that"), rows)


def _seconds(value: float) -> str:
    return f"{value:g} s"


def statuses() -> str:
    """Make a table of the status codes that the server gives, from the errors that have them."""
    told = dict(error_tree())
    rows = []
    for code in Code:
        causes = [
            told[error.__name__].removeprefix(f"{code.name}: ")
            for error in _descendants(ServiceError)
            if error.code is code
        ]
        also, advice = _ADVICE[code]
        rows.append(
            (f"{code.name} ({code.value})", "<br>".join([*causes, *([also] if also else [])]), advice)
        )
    return _table(("status", "because", "what to do"), rows)


def startup_errors() -> str:
    """Make a table of what keeps the server from starting."""
    told = dict(error_tree())
    rows = [("`ConfigError`", "2", "a setting is out of its range")]
    rows += [(f"`{error.__name__}`", "1", told[error.__name__]) for error in _descendants(StartupError)]
    return _table(("error", "exit code", "because"), rows)


def error_tree() -> Iterator[tuple[str, str]]:
    """Read the tree in the docstring of service.errors: each error's name, and what is said of it."""
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
    """Make a table of the metrics."""
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
    return f"{table}\nBuckets of times end at {seconds} seconds, those of batch sizes at {images} images.\n"


def _plain(text: str) -> str:
    """Keep Markdown from taking ``<model>`` for HTML, but for what stands in backquotes."""
    parts = text.replace("``", "`").split("`")
    return "`".join(part if index % 2 else part.replace("<", "&lt;") for index, part in enumerate(parts))


def _table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    cells = ([cell.replace("|", r"\|") for cell in line] for line in (titles, ["---"] * len(titles), *rows))
    return "".join(f"| {' | '.join(line)} |\n" for line in cells)
