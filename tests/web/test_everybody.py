"""The page works by keyboard, with a screen reader, on a phone, in light and dark, and without motion."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

from tests.conftest import ROOT
from tests.web.conftest import DESKTOP, IMAGES, PHONE, Visit

if TYPE_CHECKING:
    from collections.abc import Callable

    from playwright.sync_api import Page

SECTIONS = ("classify", "compare", "inside", "test", "training")
FILLED = {
    "classify": "#answers .bars",
    "compare": ".cards.narrow > li:last-child .shift-map",
    "inside": ".mattered .legend",
    "test": ".score.is-whole",
    "training": ".chart .line",
}
_LARGEST_PAGE_BYTES = 150_000


def _filled(visit: Visit, section: str) -> Page:
    """Open a section, and fill it."""
    page = visit.open(section)
    if section in {"classify", "compare", "inside"}:
        visit.give(
            IMAGES / "dog.jpg", IMAGES / "SOURCES.md" if section == "classify" else IMAGES / "ship.png"
        )
    expect(page.locator(FILLED[section]).first).to_be_visible()
    expect(page.locator("main .is-busy:visible")).to_have_count(0)
    return page


@pytest.mark.parametrize(
    ("viewport", "scheme"), [(DESKTOP, "light"), (PHONE, "dark")], ids=["desktop-light", "phone-dark"]
)
@pytest.mark.parametrize("section", SECTIONS)
def test_axe_finds_nothing_and_nothing_is_wider_than_the_window(
    visiting: Callable[..., Visit], section: str, viewport: dict[str, int], scheme: str
) -> None:
    page = _filled(visiting(viewport, color_scheme=scheme, reduced_motion="reduce"), section)

    found: dict[str, Any] = Axe().run(page).response

    assert [(each["id"], each["nodes"][0]["html"][:200]) for each in found["violations"]] == []
    assert page.evaluate("document.documentElement.scrollWidth") == viewport["width"]


def test_everything_is_done_by_keyboard(visit: Visit) -> None:
    page = visit.open("classify")
    press = page.keyboard.press

    press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    press("Enter")
    for name in ("Choose pictures", "Use the camera", re.compile("Sample: ")):
        press("Tab")
        expect(page.get_by_role("button", name=name).first).to_be_focused()
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    press("Enter")
    expect(page.locator("#answers .bars")).to_be_visible()

    _go_to(page, "Compare")
    expect(page.locator(".shift-map")).to_have_count(2)
    _tab_to(page, "#shift-x")
    press("ArrowRight")
    press("Tab")
    press("ArrowUp")
    expect(page.locator(".verdict")).to_contain_text(re.compile(r"\(1 px right, 1 px (up|down)\)"))

    _go_to(page, "Look inside")
    expect(page.locator(".mattered .legend")).to_be_visible()
    _tab_to(page, ".layer[aria-label='Layer conv1'] .tiles")
    for key in ("ArrowRight", "ArrowDown", "PageDown"):
        press(key)
    expect(page.locator(".viewer .read")).to_contain_text("conv1, channel 1, row 17, column 16")
    expect(page.locator("#inside-aside .frame")).to_be_visible()
    press("Escape")
    expect(page.locator("#inside-aside .frame")).to_be_hidden()
    _tab_to(page, ".layer summary")
    press("Enter")
    expect(page.get_by_role("application", name="Filters of conv1")).to_be_visible()

    _go_to(page, "Test set")
    _tab_to(page, "#test-mistakes")
    press("Space")
    expect(page.locator(".test-images .is-right")).to_have_count(0)

    _go_to(page, "Training")
    expect(page.locator(".chart .line").first).to_be_visible()
    _tab_to(page, ".plot")
    press("ArrowLeft")
    expect(page.locator(".chart .read").first).to_contain_text(re.compile(r"Epoch \d+: .*top-1 \d"))


def test_a_change_of_section_is_announced_to_screen_readers(visit: Visit) -> None:
    page = visit.open("classify")

    page.get_by_role("link", name="Test set").click()

    expect(page).to_have_title("Test set · cifar10net")
    expect(page.get_by_role("heading", level=1, name="Test set")).to_be_focused()
    expect(page.get_by_role("navigation").locator("[aria-current=page]")).to_have_text("Test set")
    page.go_back()
    expect(page.get_by_role("heading", level=1, name="Classify")).to_be_visible()


def test_a_chosen_colour_scheme_stays(visit: Visit) -> None:
    page = visit.open("classify")
    ground = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(ground)
    page.emulate_media(color_scheme="dark")
    dark = page.evaluate(ground)
    assert dark != light

    page.get_by_role("button", name="Use the light colours").click()

    assert page.evaluate(ground) == light
    page.reload()
    assert page.evaluate(ground) == light
    page.get_by_role("button", name="Use the dark colours").click()
    assert page.evaluate(ground) == dark


def test_nothing_moves_with_reduced_motion(visiting: Callable[..., Visit]) -> None:
    page = visiting(reduced_motion="reduce").open("classify")

    moving = page.evaluate(
        """() => [...document.querySelectorAll("*")].filter((each) => {
            const style = getComputedStyle(each);
            return parseFloat(style.transitionDuration) > 0 || style.animationName !== "none";
        }).length"""
    )

    assert moving == 0


def test_the_page_is_small() -> None:
    files = [file for file in (ROOT / "service/web/page").rglob("*") if file.is_file()]

    assert sum(file.stat().st_size for file in files) < _LARGEST_PAGE_BYTES


def test_every_module_is_preloaded() -> None:
    folder = ROOT / "service/web/page"
    named = re.findall(r'(?:src|href)="page/js/(\w+\.js)"', (folder / "index.html").read_text())

    assert sorted(named) == sorted(file.name for file in (folder / "js").iterdir())


def _go_to(page: Page, section: str) -> None:
    """Go to a section by Tab and Enter alone."""
    page.get_by_role("heading", level=1).focus()
    for _ in range(12):
        page.keyboard.press("Shift+Tab")
        if page.evaluate("document.activeElement.textContent.trim()") == section:
            break
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1, name=section)).to_be_focused()


def _tab_to(page: Page, selector: str) -> None:
    """Press Tab until an element has the focus."""
    for _ in range(60):
        page.keyboard.press("Tab")
        if page.evaluate("selector => document.activeElement.matches(selector)", selector):
            return
    raise AssertionError(f"Tab never reached {selector}")
