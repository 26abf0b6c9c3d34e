"""``make web``: one command starts a server and the page, and ends both."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.request
from typing import TYPE_CHECKING, Any

import pytest

from service.server.health_check import check_health

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_page_and_its_server_end_together(root: Path, number: signal.Signals) -> None:
    command = [sys.executable, str(root / "examples" / "page.py"), "--port", "0", "--json"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, cwd=root, start_new_session=True
    ) as process:
        assert process.stdout is not None
        url = json.loads(process.stdout.readline())["url"]
        with urllib.request.urlopen(f"{url}v1/models") as answer:  # noqa: S310 - ours
            response: dict[str, Any] = json.load(answer)
        server = response["server"]
        # To the whole process group, as a terminal does at Ctrl-C.
        if number == signal.SIGINT:
            os.killpg(process.pid, number)
        else:
            process.send_signal(number)
        code = process.wait(60)

    assert server["state"] == "serving"
    assert "resnet" in {model["name"] for model in response["models"]}
    assert code == 0
    assert check_health(server["address"], 0.2) == "DEADLINE_EXCEEDED"
