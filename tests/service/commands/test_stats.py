"""``cifar10net stats`` as its users run it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest

from cifar10net import Client
from service.server.spawn import ServerProcess
from tests.commands import run

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="module")
def address(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Return the address of a server that was asked about 90 images in one call."""
    log = tmp_path_factory.mktemp("log") / "log"
    with ServerProcess("--models", str(repository), "--threads", "1", log=log) as server:
        with Client(server.address) as client:
            client.classify(np.zeros((90, 32, 32, 3), np.uint8))
        yield server.address


def test_people_get_tables(address: str) -> None:
    done = run("stats", "--server", address)

    assert (done.returncode, done.stderr) == (0, "")
    rows = [line.split() for line in done.stdout.splitlines() if line.startswith(" colours")]
    assert rows[0] == ["colours", "1", "90", "0", "1", "0", "2", "45.0"]
    assert rows[1][:3] == ["colours", "1", "-"]  # nothing was decoded
    assert all(float(mean_ms) > 0 for mean_ms in rows[1][3:])
    assert "1 workers (0 restarts)" in done.stdout
    assert all(len(line) <= 80 for line in done.stdout.splitlines())


def test_programs_get_an_object(address: str) -> None:
    found = json.loads(run("stats", "--server", address, "--json").stdout)

    [colours] = [each for each in found["versions"] if each["model"] == "colours"]
    assert colours["images"] == {"ok": 90, "bad_image": 0}
    assert colours["batches"] == 2
    assert colours["compute"]["count"] == 1
    assert colours["compute"]["seconds"] > 0
    assert found["workers"] == 1


def test_a_server_that_is_not_there_is_exit_code_2() -> None:
    done = run("stats", "--server", "127.0.0.1:1")

    assert done.returncode == 2
    assert done.stderr.startswith("error: no answer from 127.0.0.1:1")
