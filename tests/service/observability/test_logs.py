"""The log says what failed, and holds no data of callers."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
import structlog
from structlog.testing import capture_logs

from service.observability import logs
from service.observability.logs import LibraryLog, LogFormat, configure

if TYPE_CHECKING:
    from collections.abc import Iterator


def test_lines_of_workers_can_be_distinguished(capsys: pytest.CaptureFixture[str]) -> None:
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
    root = logging.getLogger()
    before = root.handlers
    configure(log_format, "info")
    try:
        yield
    finally:
        root.handlers = before
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


def test_what_libraries_log_has_our_form(capsys: pytest.CaptureFixture[str]) -> None:
    with _logging("json"):
        try:
            _fail(0, "the reason")
        except RuntimeError:
            logging.getLogger("asyncio").exception("Task exception was never %s", "retrieved")

    event = json.loads(capsys.readouterr().err)
    assert (event["event"], event["level"], event["library"]) == ("a library complains", "error", "asyncio")
    assert event["reason"] == "Task exception was never retrieved"
    assert event["exception"][0]["exc_value"] == "the reason"


def test_repeated_messages_of_a_library_are_logged_once_in_a_while_and_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now_s = 1_000.0
    monkeypatch.setattr(logs, "clock", lambda: now_s)
    handler = LibraryLog("in trouble", 60.0)
    library = logging.getLogger("a library")
    monkeypatch.setattr(library, "handlers", [handler])
    monkeypatch.setattr(library, "propagate", False)

    with capture_logs() as lines:
        for number in range(100):
            now_s += 0.5
            library.warning("no answer for the %dth time", number)
            library.error("queue full")
        library.info("all is well")
        now_s += 60
        library.error("queue full")
        handler.is_silent = True
        library.error("something else")

    told = [(line["log_level"], line["reason"], line.get("more_since_the_last_line")) for line in lines]
    assert told == [
        ("warning", "no answer for the 0th time", None),
        ("error", "queue full", None),
        ("error", "queue full", 99),
    ]


def test_each_line_is_one_write_so_that_lines_of_workers_do_not_mix() -> None:
    code = """
from service.observability.logs import configure
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
