"""Runs h2load, nghttp2's load generator, against a unary method, and reads its measurements.

h2load does not see gRPC's status, so a run counts only if it received exactly as many bytes as that number of
expected answers has. ``check_call`` checks an answer itself, before and after a run.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import grpc

from benchmarks.answers import Answers
from benchmarks.generator import CLASSIFY, Target
from benchmarks.http2 import message
from benchmarks.load import Load, LoadError, summarize

if TYPE_CHECKING:
    from collections.abc import Iterable

INSTALL = "h2load is not installed; it is in nghttp2-client (apt-get install nghttp2-client)"
_REQUESTS = re.compile(r"(\d+) total, \d+ started, (\d+) done, (\d+) succeeded, (\d+) failed, (\d+) errored")
_DATA = re.compile(r"traffic: .*\((\d+)\) data")
_PREFIX_BYTES = 5  # gRPC's, before each message
_TIMEOUT_S = 60
_OK = 200


@dataclass(frozen=True)
class Totals:
    """What h2load prints about a run."""

    calls: int
    succeeded: int
    data_bytes: int


def is_installed() -> bool:
    """Whether h2load can be run."""
    return shutil.which("h2load") is not None


def release() -> str:
    """Version of h2load, such as ``nghttp2/1.52.0``."""
    done = subprocess.run(["h2load", "--version"], capture_output=True, text=True, check=True)  # noqa: S607
    return done.stdout.split()[-1]


def run(target: Target, callers: int, calls: int, *, prefix: Iterable[str] = ()) -> Load:
    """Make a number of calls, ``callers`` at a time over all connections.

    Args:
        target: the server and the request; ``callers`` are divided among its connections.
        callers: calls in flight.
        calls: how many in all.
        prefix: a command that runs h2load, such as ``("nice", "-n", "19")``.

    Raises:
        LoadError: a call failed, or the answers are not as long as the expected ones.
    """
    with tempfile.TemporaryDirectory() as folder:
        body, log = Path(folder) / "body", Path(folder) / "log"
        body.write_bytes(message(target.request))
        command = [*prefix, *_command(target, callers, max(calls, callers), body), f"--log-file={log}"]
        done = subprocess.run(  # noqa: S603 - made of numbers, our paths and our address
            command, capture_output=True, text=True, check=False, timeout=_TIMEOUT_S
        )
        if done.returncode != 0:
            raise LoadError(f"h2load ended with {done.returncode}: {done.stderr.strip()}")
        load = read_log(log.read_text())
    check_totals(read_totals(done.stdout), load.calls, len(target.expected))
    return load


def check_call(target: Target) -> None:
    """Make one call with grpcio, and check its status and answer.

    Raises:
        LoadError: the answer is not the expected one.
    """
    if not Answers(target.expected).agrees(ask(target.address, target.request)):
        raise LoadError(f"{target.address} does not answer as expected")


def ask(address: str, request: bytes) -> bytes:
    """Make one call with grpcio, and return the serialized answer.

    Raises:
        LoadError: it failed.
    """
    with grpc.insecure_channel(address) as channel:
        call: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(CLASSIFY)
        try:
            return call(request, timeout=_TIMEOUT_S)
        except grpc.RpcError as error:
            raise LoadError(f"{address} answers {error.code().name}: {error.details()}") from error


def read_totals(printed: str) -> Totals:
    """Read h2load's own summary.

    Raises:
        LoadError: it has another form than that of the h2load versions we know.
    """
    requests, data = _REQUESTS.search(printed), _DATA.search(printed)
    if requests is None or data is None:
        raise LoadError(f"h2load did not print its summary: {printed[-300:]!r}")
    total, _done, succeeded, _failed, _errored = (int(number) for number in requests.groups())
    return Totals(total, succeeded, int(data[1]))


def read_log(text: str) -> Load:
    """Read h2load's log: a line a call, its start in µs, its HTTP status, how long it took in µs.

    Raises:
        LoadError: a call has no status 200.
    """
    rows = [tuple(int(value) for value in line.split("\t")[:3]) for line in text.splitlines()]
    failed = sum(status != _OK for _, status, _ in rows)
    if failed or not rows:
        raise LoadError(f"{failed} of {len(rows)} calls have an HTTP status other than 200")
    seconds = (max(start + took for start, _, took in rows) - min(start for start, _, _ in rows)) / 1e6
    return summarize([took / 1e6 for _, _, took in rows], seconds)


def check_totals(totals: Totals, logged: int, answer_bytes: int) -> None:
    """Check that every call succeeded and that the answers are exactly as long as the expected ones.

    Raises:
        LoadError: a call failed, or an answer has another length.
    """
    if not totals.calls == totals.succeeded == logged:
        raise LoadError(f"of {totals.calls} calls {totals.succeeded} succeeded and {logged} were logged")
    wanted = totals.calls * (_PREFIX_BYTES + answer_bytes)
    if totals.data_bytes != wanted:
        raise LoadError(
            f"{totals.calls} answers have {totals.data_bytes} bytes in all, wanted {wanted}; "
            "some were errors, or other answers"
        )


def _command(target: Target, callers: int, calls: int, body: Path) -> list[str]:
    streams, rest = divmod(callers, target.connections)
    if rest:
        raise LoadError(f"{callers} callers cannot be divided among {target.connections} connections")
    return [
        "h2load",
        f"--requests={calls}",
        f"--clients={target.connections}",
        f"--max-concurrent-streams={streams}",
        f"--data={body}",
        "--header=content-type: application/grpc",
        "--header=te: trailers",
        f"http://{target.address}{CLASSIFY}",
    ]
