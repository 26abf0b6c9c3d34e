"""The log tells what failed and holds nothing of what callers sent."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

import structlog

from service.logs import configure

if TYPE_CHECKING:
    import pytest


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


def test_a_logged_traceback_has_no_local_variables(capsys: pytest.CaptureFixture[str]) -> None:
    configure("json", "info")
    try:
        picture = b"private bytes"
        raise RuntimeError("the reason" if picture else "")
    except RuntimeError:
        structlog.get_logger().exception("call failed")
    finally:
        structlog.reset_defaults()

    event = json.loads(capsys.readouterr().err)
    assert (event["event"], event["level"]) == ("call failed", "error")
    assert event["exception"][0]["exc_value"] == "the reason"
    assert "private bytes" not in json.dumps(event)


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
