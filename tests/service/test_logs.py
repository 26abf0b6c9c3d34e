"""The log tells what failed and holds nothing of what callers sent."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import structlog

from service.logs import configure

if TYPE_CHECKING:
    import pytest


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
