"""One HTML page that needs nothing beside it: pictures inlined, no script, no request to anywhere.

In: what is to be told, and the PNG files. Out: the page as text. Knows nothing of networks.
"""

from __future__ import annotations

import base64
import html
from dataclasses import dataclass, field
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


@dataclass(frozen=True)
class Picture:
    """A PNG file and what is said of it."""

    section: str
    heading: str
    file: str
    """Its name in the folder of the report."""
    alt: str
    """What can be seen, for those who do not see it."""
    caption: str
    """How to read it."""


@dataclass(frozen=True)
class Table:
    """Numbers that a picture shows, in words."""

    section: str
    caption: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass
class Report:
    """Everything on the page, in the order of reading."""

    title: str
    facts: list[tuple[str, str]] = field(default_factory=list)
    pictures: list[Picture] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    absent: list[tuple[str, str]] = field(default_factory=list)
    """Pictures that do not apply to this model, and why."""


def page(report: Report, folder: Path) -> str:
    """Write the page of pictures that lie in ``folder``."""
    sections = [(name, list(group)) for name, group in groupby(report.pictures, lambda each: each.section)]
    parts = [_head(report.title), f"<h1>{_text(report.title)}</h1>", _facts(report.facts)]
    parts.append(_contents(sections, has_absent=bool(report.absent)))
    for number, (name, pictures) in enumerate(sections, start=1):
        parts.append(f'<section aria-labelledby="s{number}"><h2 id="s{number}">{_text(name)}</h2>')
        parts += [_figure(each, folder) for each in pictures]
        parts += [_table(each) for each in report.tables if each.section == name]
        parts.append("</section>")
    if report.absent:
        parts.append('<section aria-labelledby="absent"><h2 id="absent">What is not here, and why</h2><ul>')
        parts += [f"<li><strong>{_text(what)}</strong>: {_text(why)}.</li>" for what, why in report.absent]
        parts.append("</ul></section>")
    return "\n".join([*parts, "</main></body></html>", ""])


def _head(title: str) -> str:
    # The policy has the browser refuse whatever is not in the file itself.
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{_text(title)}</title>\n<style>{_STYLE}</style></head>\n<body><main>"
    )


def _facts(facts: Sequence[tuple[str, str]]) -> str:
    return "<dl>" + "".join(f"<dt>{_text(name)}</dt><dd>{_text(told)}</dd>" for name, told in facts) + "</dl>"


def _contents(sections: Sequence[tuple[str, list[Picture]]], *, has_absent: bool) -> str:
    lines = [
        f'<li><a href="#s{number}">{_text(name)}</a></li>' for number, (name, _) in enumerate(sections, 1)
    ]
    if has_absent:
        lines.append('<li><a href="#absent">What is not here, and why</a></li>')
    return f'<nav aria-label="Contents"><ol>{"".join(lines)}</ol></nav>'


def _figure(picture: Picture, folder: Path) -> str:
    content = (folder / picture.file).read_bytes()
    with Image.open(folder / picture.file) as image:
        width, height = image.size
    encoded = base64.b64encode(content).decode()
    return (
        f"<h3>{_text(picture.heading)}</h3>\n<figure>"
        f'<img alt="{_text(picture.alt)}" width="{width}" height="{height}" '
        f'src="data:image/png;base64,{encoded}">\n'
        f"<figcaption>{_text(picture.caption)} File: <code>{_text(picture.file)}</code></figcaption></figure>"
    )


def _table(table: Table) -> str:
    head = "".join(f'<th scope="col">{_text(each)}</th>' for each in table.head)
    rows = "".join(
        f'<tr><th scope="row">{_text(first)}</th>{"".join(f"<td>{_text(each)}</td>" for each in rest)}</tr>'
        for first, *rest in table.rows
    )
    return (
        f'<div class="wide"><table><caption>{_text(table.caption)}</caption>'
        f"<thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>"
    )


def _text(text: str) -> str:
    return html.escape(text)
