"""The log tells what failed and holds nothing of what callers sent."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
import structlog

from service.logs import LogFormat, configure

if TYPE_CHECKING:
    from collections.abc import Iterator


def test_lines_of_workers_are_told_apart(capsys: pytest.CaptureFixture[str]) -> None:
    try:
        for is_worker in (True, False):
            configure("json", "info", is_worker=is_worker)
            structlog.get_logger().info("model ready", version="1")
    finally:
        structlog.reset_defaults()

    worker, lone = map(json.loads, capsys.readouterr().err.splitlines())
    assert (worker["event"], worker["version"], worker["pid"]) == ("model ready", "1", os.getpid())
    assert "pid" not in lone


@contextlib.contextmanager
def _logging(log_format: LogFormat) -> Iterator[None]:
    configure(log_format, "info")
    try:
        yield
    finally:
        structlog.reset_defaults()


def _fail(depth: int, reason: str) -> None:
    picture = b"private bytes"
    if not picture or not depth:
        raise RuntimeError(reason)
    _fail(depth - 1, reason)


def _told(depth: int, reason: str, capsys: pytest.CaptureFixture[str], log_format: LogFormat) -> str:
    with _logging(log_format):
        try:
            _fail(depth, reason)
        except RuntimeError:
            structlog.get_logger().exception("call failed")
    return capsys.readouterr().err


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_a_logged_traceback_has_no_local_variables(
    log_format: LogFormat, capsys: pytest.CaptureFixture[str]
) -> None:
    told = _told(3, "the reason", capsys, log_format)

    assert "call failed" in told
    assert "RuntimeError" in told
    assert "the reason" in told
    assert "_fail" in told
    assert "private bytes" not in told.replace('b"private bytes"', "")  # but for the line of the source


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_a_logged_traceback_is_bounded_however_deep_and_wordy(
    log_format: LogFormat, capsys: pytest.CaptureFixture[str]
) -> None:
    told = _told(500, "x" * 1_000_000, capsys, log_format)

    assert "RuntimeError" in told
    assert len(told) < 20_000


def test_a_chain_of_exceptions_is_bounded_too(capsys: pytest.CaptureFixture[str]) -> None:
    with _logging("json"):
        structlog.get_logger().error("call failed", exc_info=ExceptionGroup("all", [_raised(100)] * 100))

    event = json.loads(capsys.readouterr().err)
    [group] = event["exception"]
    assert len(group["exceptions"]) == 5
    assert len(group["exceptions"][0]) == 5


def _raised(number: int) -> Exception:
    """Return an exception that has so many causes."""
    try:
        raise ValueError(f"number {number}") from (_raised(number - 1) if number else None)
    except ValueError as error:
        return error


def test_each_line_is_one_write_so_that_workers_do_not_tear_those_of_others() -> None:
    code = """
from service.logs import configure
import structlog
configure("json", "info")
structlog.get_logger().info("one")
structlog.get_logger().info("two", reason="x" * 3_000)
"""
    reading, writing = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)  # which keeps writes apart
    with reading, writing:
        subprocess.run([sys.executable, "-c", code], stderr=writing.fileno(), check=True)

        written = [reading.recv(8_192) for _ in range(2)]

    assert [json.loads(line)["event"] for line in written] == ["one", "two"]
    assert all(line.endswith(b"\n") for line in written)
