"""Which names below a folder, or within an archive, are inputs.

The user selects all pictures, those of a subfolder, one member, or a pattern.
"""

from __future__ import annotations

import re

from service.batch.item import printable
from service.errors import SourceError

PICTURES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".webp")
"""Suffixes of pictures, where the user has not named files."""
_MAGIC = re.compile(r"[*?\[]")
_NAME = r"(?!\.)"  # hidden files have to be named


def is_pattern(text: str) -> bool:
    """Whether a text contains ``*``, ``?`` or ``[``."""
    return _MAGIC.search(text) is not None


def is_picture(name: str) -> bool:
    """Whether a name has the suffix of a picture."""
    return name.lower().endswith(PICTURES)


class Selection:
    """All pictures, those of one folder, one member, or the names that match a pattern."""

    def __init__(self, text: str = "") -> None:
        """Parse what the user selects. Raises SourceError if it is not a valid pattern."""
        self._prefix = f"{text}/" if text else ""
        self._exact = text
        try:
            self._pattern = re.compile(translate(text)) if is_pattern(text) else None
        except re.error as error:
            raise SourceError(f"{printable(text)} is not a valid pattern: {error}") from error
        self.depth = None if self._pattern is None or "**" in text else text.count("/")
        """Most folders above a matching name; None: unlimited."""

    @property
    def prefix(self) -> bytes:
        """Bytes with which every matching name begins, in any encoding; may be empty."""
        is_plain = self._pattern is None and self._exact.isascii()
        return self._exact.encode() if is_plain else b""

    def matches(self, name: str) -> bool:
        """Whether a name, with ``/`` between folders, is selected."""
        if self._pattern is not None:
            return self._pattern.fullmatch(name) is not None
        if name == self._exact:
            return True
        if not name.startswith(self._prefix) or not is_picture(name):
            return False
        inner = name[len(self._prefix) :]
        return not (inner.startswith(".") or "/." in inner)


def translate(pattern: str) -> str:
    """Make a regular expression: ``*`` and ``?`` match within a name, ``**`` matches any folders."""
    parts = pattern.split("/")
    whole = []
    for index, part in enumerate(parts):
        is_last = index == len(parts) - 1
        if part == "**":
            whole.append(rf"(?:{_NAME}[^/]+/)*" + (rf"{_NAME}[^/]+" if is_last else ""))
        else:
            whole.append(_translate_name(part) + ("" if is_last else "/"))
    return "".join(whole)


def _translate_name(part: str) -> str:
    out, position = "" if part.startswith((".", "[")) else _NAME, 0
    while position < len(part):
        char = part[position]
        end = part.find("]", position + 2) if char == "[" else -1
        if end > 0:
            inside = part[position + 1 : end].replace("\\", r"\\").replace("[", r"\[")
            out += f"[^/{inside[1:]}]" if inside.startswith("!") else f"[{inside}]"
            position = end
        else:
            out += {"*": "[^/]*", "?": "[^/]"}.get(char, re.escape(char))
        position += 1
    return out
