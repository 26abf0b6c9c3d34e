"""Parses pages of Markdown: code blocks, and the commands in shell blocks."""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_OPERATOR = re.compile(r"[();<>|&]+")
_ASSIGNMENT = re.compile(r"[A-Za-z_]\w*=")


def blocks(page: str, language: str) -> list[str]:
    """Return the fenced blocks of a language."""
    return re.findall(rf"(?ms)^```{language}\n(.*?)^```$", page)


def prose(page: str) -> Iterator[tuple[int, str]]:
    """Yield the number and text of each line that is no code, no row of a table and no title."""
    fenced = False
    for number, line in enumerate(page.splitlines(), 1):
        if line.startswith("```"):
            fenced = not fenced
        elif not fenced and not line.startswith(("|", "#", "    ")):
            yield number, line


def commands(page: str) -> list[list[str]]:
    """Return the words of each command in a page's shell blocks, those in ``$(...)`` and behind ``|`` too."""
    lines = (line for block in blocks(page, "sh") for line in block.replace("\\\n", " ").splitlines())
    return [words for line in lines for words in _commands(line)]


def _commands(line: str) -> Iterator[list[str]]:
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    words: list[str] = []
    for token in [*lexer, ";"]:
        if not _OPERATOR.fullmatch(token):
            inner = re.search(r"\$\((.*)\)", token)
            if inner is not None:
                yield from _commands(inner[1])
            if words or not _ASSIGNMENT.match(token):
                words.append(token)
        elif words:
            yield words
            words = []
