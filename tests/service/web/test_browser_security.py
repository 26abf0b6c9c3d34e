"""Other sites cannot use a page on loopback, and browsers run nothing but the page's files."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from service.web.browser_security import HEADERS
from tests.service.web.pages import Page

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="module")
def named(answering: str) -> Iterator[Page]:
    with Page("--server", answering, "--allow-host", "pictures.example.org") as running:
        yield running


def _port(page: Page) -> str:
    return page.host.rpartition(":")[2]


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "[::1]", "192.0.2.7", "LOCALHOST", "localhost."])
def test_addresses_and_localhost_are_answered(page: Page, host: str) -> None:
    for name in (host, f"{host}:{_port(page)}"):
        assert page.get("", Host=name).status == 200


@pytest.mark.parametrize(
    "host",
    [
        "example.org",
        "localhost.example.org",
        "127.0.0.1.example.org",
        "user@localhost",
        "",
        "localhost:x",
        "[",
    ],
)
def test_another_host_name_is_refused_against_dns_rebinding(page: Page, named: Page, host: str) -> None:
    for running in (page, named):
        assert running.get("", Host=host).status == 421
    assert page.problem(421, "v1/models", None, {"Host": host})["code"] == "other-host"


def test_an_allowed_host_name_is_answered(named: Page, page: Page, dog: bytes) -> None:
    host = f"pictures.example.org:{_port(named)}"

    assert named.get("", Host=host).status == 200
    named.json("v1/classify", dog, {"Host": host, "Origin": f"https://{host}"})
    assert page.get("", Host=host).status == 421


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://example.org"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:1"},
        {"Origin": "http://localhost"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
def test_uploads_from_another_site_are_refused(page: Page, dog: bytes, headers: dict[str, str]) -> None:
    assert page.problem(403, "v1/classify", dog, headers)["code"] == "other-site"


def test_uploads_from_the_page_itself_are_answered(page: Page, dog: bytes) -> None:
    page.json("v1/classify", dog, {"Origin": f"http://{page.host}", "Sec-Fetch-Site": "same-origin"})
    page.json("v1/classify", dog, {"Sec-Fetch-Site": "none"})


def test_every_response_has_the_security_headers(page: Page) -> None:
    for path, status in (("", 200), ("page/index.html", 200), ("v1/models", 200), ("none", 404)):
        reply = page.get(path)
        assert reply.status == status
        for name, value in HEADERS.items():
            assert reply.headers[name.lower()] == value
    refused = page.get("", Host="example.org")
    assert refused.headers["content-security-policy"] == HEADERS["Content-Security-Policy"]


def test_only_scripts_and_styles_of_the_pages_files_run() -> None:
    policy = dict(
        directive.strip().partition(" ")[::2] for directive in HEADERS["Content-Security-Policy"].split(";")
    )

    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    assert policy["frame-ancestors"] == "'none'"
    assert "unsafe" not in HEADERS["Content-Security-Policy"]
    assert "http" not in HEADERS["Content-Security-Policy"]


def test_browsers_revalidate_the_pages_files(page: Page) -> None:
    first = page.get("")
    again = page.get("", **{"If-None-Match": first.headers["etag"]})

    assert first.headers["content-type"] == "text/html; charset=utf-8"
    assert first.headers["cache-control"] == again.headers["cache-control"] == "no-cache"
    assert (again.status, again.body) == (304, b"")
    assert page.get("page/index.html").body == first.body


@pytest.mark.parametrize(
    "path",
    [
        "page",
        "page/",
        "page/../app.py",
        "page/..%2fapp.py",
        "page/%2e%2e/app.py",
        "page//etc/passwd",
        "v1",
        "v1/",
    ],
)
def test_only_the_pages_files_are_sent(page: Page, root: Path, path: str) -> None:
    reply = page.get(path)

    assert reply.status in {307, 404}
    assert b"Starlette" not in reply.body
    assert (root / "service" / "web" / "app.py").exists()


def test_other_methods_are_refused(page: Page) -> None:
    for method, path in (
        ("DELETE", "v1/models"),
        ("POST", ""),
        ("PUT", "v1/classify"),
        ("GET", "v1/classify"),
    ):
        reply = page.ask(method, path)
        assert reply.status == 405
        assert reply.json["code"] == "method-not-allowed"
        assert reply.headers["allow"]
