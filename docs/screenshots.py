"""``make screenshots``: takes screenshots of the page's sections, for desktop and phone, light and dark.

Writes them into ``screenshots/``, and the one of the README into ``docs/page.png``. They may be
redistributed: they show the sample photographs, and what ``docs.showcase`` makes up.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image
from playwright.sync_api import expect, sync_playwright

from docs.showcase import SAMPLES, MadeRun, write_test_images
from service.server.spawn import PageProcess, ServerProcess

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

ROOT = Path(__file__).parent.parent
OUT = ROOT / "screenshots"
README_PICTURE = ROOT / "docs" / "page.png"
_SIZES = {"desktop": {"width": 1280, "height": 900}, "phone": {"width": 390, "height": 844}}
_SCHEMES = ("light", "dark")
_DENSITY = 2
_LOOKS = 2  # at the height of a page, which may grow in a higher window
_COLOURS = 256
_PHOTOGRAPHS = ("dog.jpg", "ship.png", "cat-kitten.jpg", "bird-kingfisher.webp", "horse.jpg", "SOURCES.md")


def main() -> None:
    """Start a server and the page, take the screenshots, and stop both."""
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        sys.exit("no Chromium here: on Debian, apt-get install chromium")
    OUT.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        made = Path(name)
        write_test_images(made / "images", of_each=40)
        MadeRun(made / "runs" / "lenet", "lenet", 60, best=0.69, pace=0.11).go_on(60)
        MadeRun(made / "runs" / "cifar10net-30", "cifar10net", 30, best=0.775, pace=0.2).go_on(30)
        best = MadeRun(made / "runs" / "cifar10net-best", "cifar10net", 60, best=0.81, pace=0.16).go_on(41)
        with (
            best.running(),
            ServerProcess("--models", str(ROOT / "exported_models"), log=made / "log") as server,
            PageProcess(
                *("--server", server.address, "--models", str(ROOT / "exported_models")),
                *("--data", str(made / "images"), "--runs", str(made / "runs")),
                log=made / "log",
            ) as web,
            sync_playwright() as driver,
        ):
            browser = driver.chromium.launch(executable_path=path, args=["--no-sandbox"])
            for size in _SIZES:
                for scheme in _SCHEMES:
                    _photograph(browser, web.address.rstrip("/"), size, scheme)
            browser.close()
    _shrink(OUT / "classify-one-desktop-light.png", README_PICTURE)


def _photograph(browser: Browser, url: str, size: str, scheme: str) -> None:
    context = browser.new_context(
        viewport=_SIZES[size],  # type: ignore[arg-type]
        color_scheme=scheme,  # type: ignore[arg-type]
        device_scale_factor=_DENSITY,
        has_touch=size == "phone",
        is_mobile=size == "phone",
        reduced_motion="reduce",
    )
    page = context.new_page()

    def take(name: str, shown: str, section: str | None = None) -> None:
        page.goto(f"{url}/#{section or name}")
        expect(page.locator(shown).first).to_be_visible(timeout=60_000)
        expect(page.locator("main .is-busy:visible")).to_have_count(0, timeout=60_000)
        _whole(page, OUT / f"{name}-{size}-{scheme}.png", size)

    page.goto(f"{url}/#classify")
    loaded_ms = page.evaluate("performance.getEntriesByType('navigation')[0].loadEventEnd")
    page.set_input_files("#files", [SAMPLES / name for name in _PHOTOGRAPHS])
    take("classify", "#answers .bars")
    page.get_by_role("button", name="Remove all").click()
    page.set_input_files("#files", SAMPLES / "bird-kingfisher.webp")
    take("classify-one", "#answers .bars", "classify")
    page.get_by_role("button", name="Remove all").click()
    page.set_input_files("#files", [SAMPLES / name for name in _PHOTOGRAPHS])
    take("compare", ".cards.narrow > li:last-child .shift-map")
    take("inside", ".mattered .legend")
    take("test", ".score.is-whole")
    take("training", ".films section:nth-child(3) canvas")
    context.close()
    print(f"{OUT.name}/: {size}, {scheme}; loaded in {loaded_ms / 1000:.2f} s")  # noqa: T201 - for who waits


def _whole(page: Page, path: Path, size: str) -> None:
    """Take a screenshot of a whole page, in a window as high as the page."""
    page.evaluate("scrollTo(0, 0)")
    for _ in range(_LOOKS):
        height = int(page.evaluate("document.documentElement.scrollHeight"))
        page.set_viewport_size({"width": _SIZES[size]["width"], "height": height})
        page.wait_for_load_state("networkidle")
    page.screenshot(path=path)
    page.set_viewport_size(_SIZES[size])  # type: ignore[arg-type]


def _shrink(source: Path, target: Path) -> None:
    """Save with a palette: a page has few colours."""
    with Image.open(source) as picture:
        small = picture.convert("RGB").resize(
            (picture.width * 3 // 4, picture.height * 3 // 4), Image.Resampling.LANCZOS
        )
    small.quantize(_COLOURS, dither=Image.Dither.NONE).save(target, optimize=True)


if __name__ == "__main__":
    main()
