"""What OpenTelemetry says of itself gets into the server's log, and not as often as it is said."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from structlog.testing import capture_logs

from service.tracing import export
from service.tracing.export import SdkLog

if TYPE_CHECKING:
    import pytest


def test_trouble_is_told_once_a_minute_and_kind_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = 1_000.0
    monkeypatch.setattr(export, "clock", lambda: now_s)
    handler = SdkLog()
    sdk = logging.getLogger("an exporter")
    monkeypatch.setattr(sdk, "handlers", [handler])

    with capture_logs() as lines:
        for number in range(100):
            now_s += 0.5
            sdk.warning("no answer for the %dth time", number)
            sdk.error("queue full")
        sdk.info("all is well")
        now_s += 60
        sdk.error("queue full")
        handler.is_silent = True
        sdk.error("something else")

    told = [(line["reason"], line.get("more_since_the_last_line")) for line in lines]
    assert told == [("no answer for the 0th time", None), ("queue full", None), ("queue full", 99)]
