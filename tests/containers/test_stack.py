"""The stack of docker-compose.yml: called by real clients, stopped, broken and repaired."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import shutil
from typing import TYPE_CHECKING
from urllib.request import Request, urlopen

import pytest

from cifar10net.config import Access, ClientConfig
from tests.containers.asking import PHOTOGRAPHS, Caller, all_go_on, answers, at_work, until
from tests.containers.conftest import SERVER, TLS, serves
from tests.containers.engine import ROOT

if TYPE_CHECKING:
    from pathlib import Path

    from tests.containers.engine import Engine

PAGE = "http://127.0.0.1:8000/"
LONG_CALL = 8
"""Times the photographs in a call that takes a while."""


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    """Make a repository whose only model is damaged."""
    models = tmp_path / "models"
    shutil.copytree(ROOT / "exported_models" / "cifar10net", models / "cifar10net")
    (models / "cifar10net/1/model.onnx").write_bytes(b"no model")
    return models


def test_it_answers_from_outside(stack: Engine) -> None:
    found = dict(zip((path.stem for path in PHOTOGRAPHS), answers(SERVER), strict=True))

    assert found["airplane"][0] == "airplane"
    assert found["horse"][0] == "horse"
    assert stack.state(stack.container("server"))["Health"]["Status"] == "healthy"


@pytest.mark.usefixtures("stack")
def test_with_tls_it_answers_those_who_trust_its_authority() -> None:
    access = Access(ca=ROOT / "deploy" / "tls" / "made" / "ca.crt")

    assert answers(TLS, ClientConfig(access=access)) == answers(SERVER)


@pytest.mark.usefixtures("stack")
def test_the_page_shows_what_the_server_answers() -> None:
    with urlopen(PAGE, timeout=10) as page:
        assert "cifar10net" in page.read().decode()
    upload = Request(f"{PAGE}v1/classify", PHOTOGRAPHS[0].read_bytes())  # noqa: S310
    with urlopen(upload, timeout=10) as answer:  # noqa: S310
        (result,) = json.load(answer)["results"]
    with urlopen(f"{PAGE}v1/models/cifar10net/layers", timeout=10) as answer:  # noqa: S310
        layers = json.load(answer)

    label, probability = answers(SERVER)[0]
    assert (result["top"][0]["label"], result["error"]) == (label, None)
    assert result["top"][0]["probability"] == pytest.approx(probability, abs=1e-3)
    assert layers["totals"]["parameters"] == 22_466


def test_a_batch_job_over_a_mounted_folder_has_a_row_for_each_image(stack: Engine) -> None:
    table = stack.compose("run", "--rm", "--no-deps", "batch")

    rows = list(csv.DictReader(io.StringIO(table)))
    assert {row["source"].rpartition("/")[2] for row in rows} >= {path.name for path in PHOTOGRAPHS}


def test_a_stop_under_load_loses_no_call_that_was_begun(stack: Engine) -> None:
    server = stack.container("server")
    expected = answers(SERVER)

    async def main() -> tuple[list[Caller], float]:
        callers = [
            Caller(SERVER, expected, repeats=repeats, attempts=1) for repeats in (1, 1, LONG_CALL, LONG_CALL)
        ]
        async with at_work(callers):
            await all_go_on(callers, 1)
            stopped = asyncio.get_running_loop().time()
            await asyncio.to_thread(stack.compose, "stop", "server")
        return callers, stopped

    callers, stopped = asyncio.run(main())
    code = stack.state(server)["ExitCode"]
    stack.compose("up", "--detach", "--wait", "--wait-timeout", "60", "--no-deps", "server")

    assert code == 0
    for caller in callers:
        assert caller.losses == []
        assert [why for began, why in caller.refused if began < stopped] == []
        assert caller.refused  # after the stop
    assert answers(SERVER) == expected


def test_a_broken_model_in_the_volume_is_unhealthy_and_says_why_once_a_start(
    stack: Engine, broken: Path
) -> None:
    up = ("up", "--detach", "--wait", "--no-deps")
    stack.compose(*up, "--wait-timeout", "10", "server", code=1, CIFAR10NET_MODELS=str(broken))
    container = stack.container("server")
    health = stack.state(container)["Health"]["Status"]
    sentences = {line for line in stack.logs(container).splitlines() if not line.startswith("{")}
    events = {event["level"] for event in stack.events(container)}
    stack.compose(*up, "--wait-timeout", "60", "server")

    assert health != "healthy"
    assert events <= {"info"}
    (sentence,) = sentences  # of however many starts
    assert sentence.startswith("error: no model of /models answers: cifar10net version 1: ")
    assert "/models/cifar10net/1/model.onnx has 8 bytes" in sentence
    assert serves(SERVER)
    assert stack.state(stack.container("server"))["Health"]["Status"] == "healthy"


def test_a_new_version_in_the_volume_takes_over_without_a_restart(stack: Engine, tmp_path: Path) -> None:
    models = tmp_path / "models"
    shutil.copytree(ROOT / "exported_models" / "cifar10net", models / "cifar10net")
    up = ("up", "--detach", "--wait", "--wait-timeout", "60", "--no-deps", "server")
    stack.compose(*up, CIFAR10NET_MODELS=str(models))
    shutil.copytree(models / "cifar10net/1", models / ".new")
    (models / ".new").rename(models / "cifar10net/2")

    def ready() -> list[int]:
        container = stack.container("server")
        return [event["version"] for event in stack.events(container) if event["event"] == "model ready"]

    asyncio.run(until(lambda: 2 in ready(), "version 2"))
    started = ready()
    stack.compose(*up)

    assert started[-1] == 2


def test_ports_are_published_on_loopback_alone(stack: Engine) -> None:
    rows = [json.loads(line) for line in stack.compose("ps", "--format", "json").splitlines()]
    published = {
        publisher["URL"]
        for row in rows
        for publisher in row.get("Publishers") or []
        if publisher["PublishedPort"]
    }

    assert published == {"127.0.0.1"}
