"""Errors are shown and pass by themselves; hostile names and metadata stay text."""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from playwright.sync_api import Error, Route, expect

from service.server.spawn import PageProcess, ServerProcess
from tests.web.conftest import IMAGES, Site, Visit

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

MARKUP = "<img src=x onerror=alert(1)><script>alert(2)</script>"
_AWAY = ("Failed to load resource", "net::ERR_")
_LONGEST_MS = 10_000
"""Longest pause between two polls of a server that is away."""


def _hostile(form: str) -> bytes:
    """Make a picture with markup in its metadata."""
    file = io.BytesIO()
    picture = Image.open(IMAGES / "ship.png").convert("RGB")
    if form == "PNG":
        notes = PngInfo()
        for key in ("Title", "Comment", "Author"):
            notes.add_text(key, MARKUP)
        picture.save(file, "PNG", pnginfo=notes)
    else:
        exif = Image.Exif()
        exif[0x010E] = exif[0x013B] = MARKUP  # description and artist
        picture.save(file, "JPEG", exif=exif, comment=MARKUP.encode())
    return file.getvalue()


@pytest.mark.parametrize("form", ["PNG", "JPEG"])
def test_names_and_metadata_of_pictures_stay_text(visit: Visit, form: str) -> None:
    page = visit.open("classify")
    elements = "document.querySelectorAll('script, [onerror]').length"
    before = page.evaluate(elements)

    visit.give({"name": f"{MARKUP}.png", "mimeType": "image/png", "buffer": _hostile(form)})

    title = page.locator("#answers h2")
    expect(title).to_have_text(f"{MARKUP}.png")
    expect(page.locator("#answers .bars li").first).to_contain_text("ship")
    page.get_by_role("link", name="Compare").click()
    expect(page.locator(".shift-map")).to_have_count(2)
    page.get_by_role("link", name="Look inside").click()
    expect(page.locator(".mattered .legend")).to_be_visible()
    assert page.evaluate(elements) == before


def test_the_content_security_policy_blocks_foreign_content(visit: Visit) -> None:
    """The browser refuses it, and the message would fail a test that does not expect it."""
    page = visit.open("classify")

    page.evaluate(
        """() => {
            const made = (tag, given) => Object.assign(document.createElement(tag), given);
            const add = (...given) => document.body.append(made(...given));
            add("img", { src: "http://127.0.0.1:1/x.png" });
            add("style", { textContent: "h1 { display: none }" });
        }"""
    )
    with pytest.raises(Error, match="TrustedHTML"):
        page.evaluate("document.body.innerHTML = '<b>x</b>'")

    expect(page.locator("h1").first).to_be_visible()
    messages = " ".join(visit.complaints)
    visit.complaints.clear()
    assert all(part in messages for part in ("http://127.0.0.1:1/x.png", "style-src 'self'", "TrustedHTML"))


def test_a_stopped_server_is_reported_and_work_resumes_by_itself(
    visiting: Callable[..., Visit], site: Site, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    arguments = ("--models", str(site.models), "--threads", "1")
    with ServerProcess(*arguments, log=log) as server:
        port = int(server.address.rpartition(":")[2])
        with PageProcess("--server", server.address, log=log) as web:
            visit = visiting()
            visit.site = Site(web.address.rstrip("/"), server.address, site.models, site.runs)
            visit.expected = _AWAY
            visit.page.clock.install()
            page = visit.open("classify")

            server.stop()
            visit.give(IMAGES / "dog.jpg")
            expect(page.get_by_role("status").filter(has_text="does not answer").first).to_contain_text(
                server.address
            )
            expect(page.locator("#state")).to_have_attribute("data-state", "unavailable")
            expect(page.locator("#answers .waiting")).to_contain_text("Trying again")

            with ServerProcess(*arguments, port=port, log=log):
                page.clock.fast_forward(_LONGEST_MS)
                expect(page.locator("#answers .bars li").first).to_be_visible()
                expect(page.locator("#banner")).to_be_hidden()

                web.stop()
                visit.give(IMAGES / "ship.png")
                expect(page.locator("#banner")).to_contain_text("The server of this page does not answer.")
                expect(page.locator("#answers .bars")).to_have_count(1)  # earlier answers stay
                with PageProcess(
                    "--server", server.address, port=int(web.address.rstrip("/").rpartition(":")[2]), log=log
                ):
                    page.clock.fast_forward(_LONGEST_MS)
                    expect(page.locator("#answers .bars")).to_have_count(2)
                    expect(page.locator("#banner")).to_be_hidden()


def test_overload_is_shown_and_retried(visit: Visit) -> None:
    page = visit.open("classify")
    visit.expected = _AWAY
    refusals = [429, 503]

    def refuse_first(route: Route) -> None:
        if refusals:
            problem = '{"title": "Too many requests", "detail": "Too much waits here."}'
            route.fulfill(
                status=refusals.pop(0),
                headers={"Retry-After": "1"},
                content_type="application/problem+json",
                body=problem,
            )
        else:
            route.continue_()

    page.route("**/v1/classify*", refuse_first)
    visit.give(IMAGES / "dog.jpg")

    expect(page.locator("#answers .waiting")).to_have_text("Too much waits here. Trying again")
    expect(page.locator("#answers .bars")).to_be_visible()
    assert refusals == []


def test_samples_are_fetched_once_the_server_is_back(visit: Visit) -> None:
    visit.expected = _AWAY
    for path in ("samples", "models"):
        visit.page.route(f"**/v1/{path}", lambda route: route.abort(), times=1)

    visit.open("classify")

    expect(visit.page.get_by_role("group", name="Samples").get_by_role("button").first).to_be_visible()


def test_a_late_sample_does_not_replace_a_given_picture(visit: Visit) -> None:
    """A first sample is fetched where there is no picture yet; the user may give one meanwhile."""
    late: list[Route] = []

    def hold(route: Route) -> None:
        if route.request.resource_type == "fetch":
            late.append(route)
        else:
            route.continue_()

    visit.page.route("**/v1/samples/*", hold)
    page = visit.open("inside")
    while not late:
        page.wait_for_timeout(10)
    visit.give(IMAGES / "ship.png")
    expect(page.locator(".mattered")).to_contain_text("% ship")

    with page.expect_response("**/v1/samples/*"):
        late[0].continue_()
    page.wait_for_load_state("networkidle")

    expect(page.locator(".mattered")).to_contain_text("% ship")
    expect(page.get_by_role("group", name="Which picture")).to_be_hidden()  # there is one alone


def test_a_file_that_is_too_large_is_not_sent(visit: Visit, tmp_path: Path) -> None:
    page = visit.open("classify")
    limit = int(
        page.evaluate(
            "fetch('v1/models').then(answer => answer.json()).then(body => body.limits.upload_bytes)"
        )
    )

    with (tmp_path / "large.png").open("wb") as file:
        file.truncate(limit + 1)

    visit.give(tmp_path / "large.png")

    expect(page.locator("#answers .trouble")).to_contain_text(
        re.compile(r"The file has .*; this server accepts at most .*\.")
    )
