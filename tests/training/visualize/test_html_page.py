"""The page is self-contained and accessible."""

from __future__ import annotations

import base64
import re
from html.parser import HTMLParser
from typing import TYPE_CHECKING

import pytest
from PIL import Image

from training.visualize.html_page import Report, ReportFigure, ReportTable, render_page

if TYPE_CHECKING:
    from pathlib import Path

VOID = {"meta", "img", "link", "br"}


class Page(HTMLParser):
    """Collects tags and text as a browser would; an unbalanced tag is an error."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words = ""
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture
def report(tmp_path: Path) -> Report:
    made = Report("A look inside <net>")
    made.facts = [("Model", "a & b.onnx")]
    for number, section in enumerate(("First", "First", "Second")):
        Image.new("RGB", (3 + number, 2), "red").save(tmp_path / f"{number}.png")
        made.figures.append(
            ReportFigure(
                section, f"Figure {number}", f"{number}.png", f'says "{number}"', f"caption {number}"
            )
        )
    made.tables.append(ReportTable("First", "numbers", ["class", "right"], [["cat", "65%"]]))
    made.absent.append(("Curves", "they need a run"))
    return made


def test_every_picture_is_inlined_named_and_described(report: Report, tmp_path: Path) -> None:
    read = Page(render_page(report, tmp_path))

    images = read.all("img")
    assert [each["alt"] for each in images] == ['says "0"', 'says "1"', 'says "2"']
    assert [(each["width"], each["height"]) for each in images] == [("3", "2"), ("4", "2"), ("5", "2")]
    for number, each in enumerate(images):
        kind, _, content = str(each["src"]).partition(",")
        assert kind == "data:image/png;base64"
        assert base64.b64decode(content) == (tmp_path / f"{number}.png").read_bytes()
        assert f"File: {number}.png" in read.words
        assert f"caption {number}" in read.words


def test_nothing_is_fetched(report: Report, tmp_path: Path) -> None:
    text = render_page(report, tmp_path)
    read = Page(text)

    assert not re.search(r"https?:|//[a-z]|url\(|@import", re.sub(r'base64,[^"]*', "", text))
    assert not read.all("script")
    assert not read.all("link")
    sources = [str(each[name]) for _, each in read.tags for name in ("src", "href") if name in each]
    assert all(source.startswith(("data:image/png;base64,", "#")) for source in sources)
    policy = next(each for each in read.all("meta") if each.get("http-equiv") == "Content-Security-Policy")
    assert str(policy["content"]).startswith("default-src 'none'")


def test_headings_language_and_links_lead_through_the_page(report: Report, tmp_path: Path) -> None:
    text = render_page(report, tmp_path)
    read = Page(text)

    assert text.startswith("<!DOCTYPE html>")
    assert read.all("html")[0]["lang"] == "en"
    levels = [int(tag[1]) for tag, _ in read.tags if re.fullmatch(r"h\d", tag)]
    assert levels == [1, 2, 3, 3, 2, 3, 2]  # none is skipped
    ids = {each["id"] for _, each in read.tags if "id" in each}
    assert {str(each["href"])[1:] for each in read.all("a")} == ids
    assert all(each["scope"] in {"row", "col"} for each in read.all("th"))
    assert "prefers-color-scheme: dark" in text


def test_text_is_escaped_and_what_is_missing_is_explained(report: Report, tmp_path: Path) -> None:
    text = render_page(report, tmp_path)

    assert "<net>" not in text
    assert "A look inside &lt;net&gt;" in text
    assert "a &amp; b.onnx" in text
    assert "What is not shown, and why" in text
    assert "<strong>Curves</strong>: they need a run." in text
    report.absent.clear()
    assert "What is not shown" not in render_page(report, tmp_path)
