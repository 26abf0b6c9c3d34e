"""A self-contained HTML page: figures are inlined, and there are no scripts and no requests."""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from html import escape
from itertools import groupby
from typing import TYPE_CHECKING

from PIL import Image

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_STYLE = """
:root { color-scheme: light dark; --text: #1a1a1a; --quiet: #555; --ground: #fff; --line: #ccc;
  --link: #0b5394; }
@media (prefers-color-scheme: dark) {
  :root { --text: #e8e8e8; --quiet: #b0b0b0; --ground: #16181b; --line: #454a50; --link: #8ab8f0; }
}
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1rem 1.25rem 4rem; max-width: 78rem; color: var(--text);
  background: var(--ground); font: 1rem/1.5 system-ui, sans-serif; }
h1 { font-size: 1.7rem; } h2 { font-size: 1.35rem; margin-top: 3rem; border-top: 1px solid var(--line);
  padding-top: 1rem; } h3 { font-size: 1.05rem; margin-bottom: .5rem; }
a { color: var(--link); } p, li, dd, figcaption { max-width: 46rem; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .15rem 1.25rem; }
dt { color: var(--quiet); } dd { margin: 0; overflow-wrap: anywhere; }
figure { margin: 0 0 2rem; } figcaption { color: var(--quiet); margin-top: .4rem; }
img { max-width: 100%; height: auto; background: #fff; border-radius: 4px; }
table { border-collapse: collapse; } caption { text-align: left; color: var(--quiet); padding-bottom: .4rem; }
th, td { padding: .15rem .8rem .15rem 0; text-align: right; border-bottom: 1px solid var(--line); }
th:first-child, td:first-child { text-align: left; }
.wide { overflow-x: auto; }
"""


_ABSENT = "What is not shown, and why"


@dataclass(frozen=True)
class ReportFigure:
    """A PNG file with its texts."""

    section: str
    heading: str
    file: str
    """Its name in the folder of the report."""
    alt: str
    """What it shows, for people who cannot see it."""
    caption: str
    """How to read it."""


@dataclass(frozen=True)
class ReportTable:
    """Numbers of a figure as text."""

    section: str
    caption: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass
class Report:
    """The content of the page, in reading order."""

    title: str
    facts: list[tuple[str, str]] = field(default_factory=list)
    figures: list[ReportFigure] = field(default_factory=list)
    tables: list[ReportTable] = field(default_factory=list)
    absent: list[tuple[str, str]] = field(default_factory=list)
    """Figures that do not apply to this model, and why."""


def render_page(report: Report, folder: Path) -> str:
    """Render the page; the figures' files are in ``folder``."""
    sections = [(name, list(group)) for name, group in groupby(report.figures, lambda each: each.section)]
    parts = [_head(report.title), f"<h1>{escape(report.title)}</h1>", _facts(report.facts)]
    parts.append(_contents([*(name for name, _ in sections), *([_ABSENT] if report.absent else [])]))
    for number, (name, figures) in enumerate(sections, start=1):
        parts.append(f'<section aria-labelledby="s{number}"><h2 id="s{number}">{escape(name)}</h2>')
        parts += [_figure(each, folder) for each in figures]
        parts += [_table(each) for each in report.tables if each.section == name]
        parts.append("</section>")
    if report.absent:
        number = len(sections) + 1
        parts.append(f'<section aria-labelledby="s{number}"><h2 id="s{number}">{_ABSENT}</h2><ul>')
        parts += [f"<li><strong>{escape(what)}</strong>: {escape(why)}.</li>" for what, why in report.absent]
        parts.append("</ul></section>")
    return "\n".join([*parts, "</main></body></html>", ""])


def _head(title: str) -> str:
    # With this policy the browser loads nothing from outside the file.
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style></head>\n<body><main>"
    )


def _facts(facts: Sequence[tuple[str, str]]) -> str:
    items = (f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in facts)
    return f"<dl>{''.join(items)}</dl>"


def _contents(titles: Sequence[str]) -> str:
    lines = (f'<li><a href="#s{number}">{escape(title)}</a></li>' for number, title in enumerate(titles, 1))
    return f'<nav aria-label="Contents"><ol>{"".join(lines)}</ol></nav>'


def _figure(figure: ReportFigure, folder: Path) -> str:
    content = (folder / figure.file).read_bytes()
    with Image.open(folder / figure.file) as image:
        width, height = image.size
    encoded = base64.b64encode(content).decode()
    return (
        f"<h3>{escape(figure.heading)}</h3>\n<figure>"
        f'<img alt="{escape(figure.alt)}" width="{width}" height="{height}" '
        f'src="data:image/png;base64,{encoded}">\n'
        f"<figcaption>{escape(figure.caption)} File: <code>{escape(figure.file)}</code></figcaption></figure>"
    )


def _table(table: ReportTable) -> str:
    head = "".join(f'<th scope="col">{escape(each)}</th>' for each in table.head)
    rows = "".join(
        f'<tr><th scope="row">{escape(first)}</th>{"".join(f"<td>{escape(each)}</td>" for each in rest)}</tr>'
        for first, *rest in table.rows
    )
    return (
        f'<div class="wide"><table><caption>{escape(table.caption)}</caption>'
        f"<thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>"
    )
