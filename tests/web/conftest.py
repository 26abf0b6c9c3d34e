"""A browser, the page and a gRPC server, all real; errors in the browser fail the test."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Dialog,
    Page,
    Request,
    expect,
    sync_playwright,
)

from docs.showcase import MadeRun, write_test_images
from service.server.spawn import PageProcess, ServerProcess
from tests.conftest import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

PHONE = {"width": 390, "height": 844}
DESKTOP = {"width": 1280, "height": 900}
TIMEOUT_MS = 30_000
MODELS = ("cifar10net", "lenet")
IMAGES = ROOT / "examples" / "images"

expect.set_options(timeout=TIMEOUT_MS)


@dataclass(frozen=True)
class Site:
    """Addresses and folders of a running page."""

    url: str
    address: str
    """Address of the gRPC server."""
    models: Path
    runs: Path


@dataclass
class Visit:
    """A page in a browser window, and its unexpected messages."""

    page: Page
    site: Site
    expected: tuple[str, ...] = ()
    """Parts of console messages that the test expects."""
    complaints: list[str] = field(default_factory=list)

    def open(self, section: str) -> Page:
        """Load a section, and wait until the page has reached the server."""
        self.page.goto(f"{self.site.url}/#{section}")
        expect(self.page.locator("#state")).to_have_attribute("data-state", "serving")
        return self.page

    def give(self, *files: Any) -> None:
        """Choose files as a user does in the file dialog."""
        self.page.set_input_files("#files", list(files))


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """Start the system's Chromium, with a camera that shows a test card, for the tests of this folder."""
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        pytest.skip("no Chromium here: on Debian, apt-get install chromium")
    camera = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
    with sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=path, args=["--no-sandbox", *camera])
        yield started
        started.close()


@pytest.fixture(scope="package")
def site(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:  # noqa: ARG001 - no server without a browser
    """Run a gRPC server and the page's server, with made-up test images and runs."""
    folder = tmp_path_factory.mktemp("site")
    for name in MODELS:
        shutil.copytree(ROOT / "exported_models" / name, folder / "models" / name)
    write_test_images(folder / "images", of_each=6)
    MadeRun(folder / "runs" / "first", "cifar10net", 8, best=0.79, pace=0.2).go_on(8)
    MadeRun(folder / "runs" / "second", "lenet", 30, best=0.68, pace=0.1).go_on(5)
    log = folder / "log"
    with (
        ServerProcess("--models", str(folder / "models"), "--threads", "1", log=log) as server,
        PageProcess(
            *("--server", server.address, "--models", str(folder / "models")),
            *("--data", str(folder / "images"), "--runs", str(folder / "runs")),
            log=log,
        ) as web,
    ):
        yield Site(web.address.rstrip("/"), server.address, folder / "models", folder / "runs")


@pytest.fixture
def visiting(browser: Browser, site: Site) -> Iterator[Callable[..., Visit]]:
    """Return a function that opens a window; unexpected messages of any window fail the test at its end."""
    contexts: list[BrowserContext] = []
    visits: list[Visit] = []

    def begin(viewport: dict[str, int] | None = None, **options: Any) -> Visit:
        context = browser.new_context(viewport=viewport or DESKTOP, **options)  # type: ignore[arg-type]
        context.set_default_timeout(TIMEOUT_MS)
        contexts.append(context)
        visit = Visit(context.new_page(), site)
        visits.append(visit)
        _watch(visit)
        return visit

    yield begin
    for context in contexts:
        context.close()
    for visit in visits:
        left = [each for each in visit.complaints if not any(part in each for part in visit.expected)]
        assert left == []


@pytest.fixture
def visit(visiting: Callable[..., Visit]) -> Visit:
    return visiting()


def _watch(visit: Visit) -> None:
    """Record console errors, CSP violations among them, dialogs and requests to other hosts."""

    def on_console(message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:
            visit.complaints.append(f"console: {message.text}")

    def on_request(request: Request) -> None:
        parts = urlsplit(request.url)
        if parts.scheme not in {"blob", "data"} and parts.netloc != urlsplit(visit.site.url).netloc:
            visit.complaints.append(f"request: {request.url}")

    def on_dialog(dialog: Dialog) -> None:
        visit.complaints.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    visit.page.on("console", on_console)
    visit.page.on("dialog", on_dialog)
    visit.page.on("pageerror", lambda error: visit.complaints.append(f"error: {error}"))
    visit.page.on("request", on_request)
