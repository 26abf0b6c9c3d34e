"""Makes API keys, and the lines that make servers take them."""

from __future__ import annotations

import hashlib
import os
import secrets
from typing import TYPE_CHECKING

from service.errors import ApiKeysError
from service.security.api_keys import HASH, PREFIX, parse
from service.security.pem_files import read

if TYPE_CHECKING:
    from pathlib import Path

_RANDOM_BYTES = 32


def make_key(name: str, rights: str = "*", until: str | None = None) -> tuple[str, str]:
    """Make a key.

    Args:
        name: of whoever gets it.
        rights: patterns, separated by commas.
        until: when it expires, a date or a time in ISO 8601; None for never.

    Returns:
        The key, and its line for a file of keys.

    Raises:
        ApiKeysError: name, rights or time are none.
    """
    key = PREFIX + secrets.token_urlsafe(_RANDOM_BYTES)
    words = [name, HASH + hashlib.sha256(key.encode()).hexdigest(), rights]
    if until is not None:
        words.append(until)
    try:
        parse(words)
    except ValueError as error:
        raise ApiKeysError(str(error)) from error
    return key, " ".join(words)


def add_line(path: Path, line: str) -> None:
    """Add a line to a file of keys, or begin one that only its owner can read.

    Raises:
        ApiKeysError: the file cannot be read or written, or has a line of that name.
    """
    name = line.split(maxsplit=1)[0]
    text = read(path, ApiKeysError).decode(errors="replace") if path.exists() else ""
    if any(words[:1] == [name] for words in map(str.split, text.splitlines())):
        raise ApiKeysError(f"{path} has a line for {name!r} already; remove it first, or take another name")
    separator = "" if text.endswith("\n") or not text else "\n"
    try:
        # One write: a server that reads at the same time finds all of the line or nothing of it.
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600), "w") as file:
            file.write(f"{separator}{line}\n")
    except OSError as error:
        raise ApiKeysError(f"{path} cannot be written: {error.strerror}") from error
