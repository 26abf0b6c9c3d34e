"""The API description matches the routes, and ``cifar10net web`` starts, fails and ends properly."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest
from starlette.routing import Mount, Route
from structlog.testing import capture_logs

from service.web.app import make_app
from service.web.browser_security import BrowserSecurity
from service.web.local_backend import repositories
from service.web.settings import WebConfig
from tests.commands import run
from tests.service.web.pages import Page

if TYPE_CHECKING:
    from pathlib import Path


def _operations(description: dict[str, Any]) -> set[tuple[str, str]]:
    return {(method.upper(), path) for path, methods in description["paths"].items() for method in methods}


def test_exactly_the_described_routes_exist(page: Page) -> None:
    app = make_app(WebConfig(), backend=None)  # type: ignore[arg-type]
    routes = {
        (method, route.path.replace(":int}", "}"))
        for route in app.routes
        if isinstance(route, Route)
        for method in route.methods or ()
        if method != "HEAD" and route.path != "/"
    }

    assert routes == _operations(page.description)
    assert [route.path for route in app.routes if isinstance(route, Mount)] == ["/page"]


def test_the_description_is_valid(page: Page) -> None:
    description = page.description

    assert description["openapi"] == "3.1.0"
    assert description["info"]["version"] == version("cifar10net")
    for schema in description["components"]["schemas"].values():
        jsonschema.Draft202012Validator.check_schema(schema)
    operations = [each for methods in description["paths"].values() for each in methods.values()]
    names = [operation["operationId"] for operation in operations]
    assert len(names) == len(set(names))
    for path, methods in description["paths"].items():
        for operation in methods.values():
            in_path = {p["name"] for p in operation.get("parameters", ()) if p["in"] == "path"}
            assert in_path == {part.split("}")[0] for part in path.split("{")[1:]}


def test_it_ends_at_sigterm_and_logs_nothing(answering: str) -> None:
    page = Page("--server", answering)

    assert page.get("").status == 200
    assert page.stop() == (0, "")


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (("--server", "nowhere"), 2, "server is 'nowhere', wanted HOST:PORT"),
        (("--server", "127.0.0.1:1", "--model", "x.onnx"), 2, "give one of the two"),
        (("--model", "none.onnx"), 2, "no model at none.onnx"),
        (("--data", "none.zip"), 2, "no test set at none.zip"),
        (("--max-pictures", "0"), 2, "max_pictures is 0, wanted 1 to 1024"),
        (("--host", "192.0.2.1"), 1, "cannot listen on 192.0.2.1:8000"),
    ],
)
def test_a_failed_start_prints_one_sentence(arguments: tuple[str, ...], code: int, sentence: str) -> None:
    done = run("web", *arguments)

    assert (done.returncode, done.stdout) == (code, "")
    assert sentence in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_bug_is_logged_and_its_reason_kept_from_the_client() -> None:
    async def fails(_scope: Any, _receive: Any, _send: Any) -> None:
        raise RuntimeError("secret")

    async def nothing() -> Any:
        return {"type": "http.request"}

    sent: list[dict[str, Any]] = []

    async def send(message: Any) -> None:
        sent.append(message)

    headers = [(b"host", b"localhost")]
    scope = {"type": "http", "method": "GET", "path": "/v1/models", "headers": headers}
    with capture_logs() as log:
        asyncio.run(BrowserSecurity(fails, ())(scope, nothing, send))

    assert sent[0]["status"] == 500
    assert json.loads(sent[1]["body"])["code"] == "failed"
    assert b"secret" not in sent[1]["body"]
    assert [(line["event"], line["path"]) for line in log] == [("request failed", "/v1/models")]


def test_listening_beyond_loopback_is_logged(answering: str) -> None:
    page = Page("--server", answering, "--host", "0.0.0.0")  # noqa: S104 - to be warned

    code, log = page.stop()

    assert code == 0
    assert json.loads(log)["event"] == "others can reach the page"


def test_repositories_are_found_from_models(models: Path) -> None:
    for place in (
        models,
        models / "lenet",
        models / "lenet" / "1",
        models / "lenet" / "1" / "model.onnx",
    ):
        assert repositories([str(place)]) == (models.resolve(),)
    assert repositories([str(models / "lenet"), str(models)]) == (models.resolve(),)


def test_the_url_is_printed_on_standard_output(answering: str) -> None:
    command = [sys.executable, "-m", "service.cli", "web", "--server", answering, "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        process.terminate()

    assert line.startswith("page on http://127.0.0.1:")
