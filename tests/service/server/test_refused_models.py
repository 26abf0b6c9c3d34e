"""A real server with a good, a truncated and a saturating model serves the good one, and says why."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from cifar10net import Client
from service.server.health_check import check_health
from service.server.spawn import ServerProcess
from tests.service.colours import colour_model
from tests.service.int8_models import int8_manifest, int8_model
from tests.service.manifests import manifest, publish
from tests.service.observability.metrics.scraper import scrape, url_of, value

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import numpy as np

GOOD, SATURATING = colour_model(), int8_model()


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("mixed")
    publish(root, GOOD, manifest(GOOD), "good")
    publish(root, GOOD[:-1], manifest(GOOD), "truncated")
    publish(root, SATURATING, int8_manifest(SATURATING, saturated=True), "saturating")
    return root


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("log") / "server.log"


@pytest.fixture(scope="module")
def server(mixed: Path, log: Path) -> Iterator[str]:
    options = ("--metrics-port", "0", "--log-format", "json")
    with ServerProcess("--models", str(mixed), *options, log=log) as process:
        yield process.address


def test_the_good_model_answers(server: str, coloured: np.ndarray) -> None:
    with Client(server) as client:
        results = client.classify(coloured[:3])

    assert [result.classes[0].label for result in results] == ["red", "green", "blue"]


def test_the_others_are_unavailable_with_a_reason(server: str) -> None:
    with Client(server) as client:
        versions = {each.name: each for each in client.versions()}

    assert {name: each.state for name, each in versions.items()} == {
        "good": "READY",
        "saturating": "UNAVAILABLE",
        "truncated": "UNAVAILABLE",
    }
    assert "it is incomplete" in versions["truncated"].reason
    assert "golden image 0" in versions["saturating"].reason


def test_health_is_reported_for_each_model(server: str) -> None:
    assert check_health(server, 10) == "SERVING"
    assert check_health(server, 10, "good") == "SERVING"
    assert check_health(server, 10, "truncated") == "NOT_SERVING"
    assert check_health(server, 10, "saturating") == "NOT_SERVING"


def test_the_command_lists_them(server: str) -> None:
    command = [sys.executable, "-m", "service.cli", "models", "--server", server, "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)

    models = {each["name"]: each for each in map(json.loads, done.stdout.splitlines())}
    assert models["truncated"]["state"] == "UNAVAILABLE"
    assert "it is incomplete" in models["truncated"]["reason"]


def test_each_has_one_line_in_the_log_and_a_metric(server: str, log: Path) -> None:  # noqa: ARG001 - it serves
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    samples = scrape(url_of(log))

    refused = [line["model"] for line in lines if line["event"] == "model refused"]
    assert refused == ["saturating", "truncated"]
    for model in refused:
        assert value(samples, "model_events_total", model=model, event="refused") == 1


@pytest.mark.parametrize(
    "options", [["--strict-models"], ["--default-model", "truncated"], ["--require-model", "truncated"]]
)
def test_the_start_fails_where_that_is_asked_for(mixed: Path, options: list[str]) -> None:
    command = [sys.executable, "-m", "service.cli", "serve", "--port", "0", "--models", str(mixed), *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)

    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
