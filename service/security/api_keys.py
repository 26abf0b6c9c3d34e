"""API keys: made, stored as hashes in a file, and looked up.

A key is 256 random bits, made by ``cifar10net key``. There is nothing to guess, so one round of SHA-256 keeps
it secret; hashes that are slow on purpose protect only what people choose.
"""

from __future__ import annotations

import hashlib
import hmac
import math
import os
import re
import secrets
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from service.errors import ApiKeysError
from service.security.credential_files import read

if TYPE_CHECKING:
    from pathlib import Path

PREFIX = "c10n_"
"""Prefix of every key, so that people and secret scanners recognise one."""
_HASH = "sha256:"
_RANDOM_BYTES = 32
_NAME = re.compile(r"[\w.@-]{1,64}")
_RIGHT = re.compile(r"[\w.*]+(/[\w*]+)?")
_LINE_FORM = "NAME sha256:HASH RIGHTS [UNTIL]"
_NOBODY = bytes(32)


@dataclass(frozen=True)
class ApiKey:
    """One line of the file."""

    name: str
    digest: bytes
    """SHA-256 of the whole key."""
    rights: tuple[str, ...]
    """Patterns of ``package.Service/Method``; one without a slash allows all methods of the service."""
    until_s: float
    """Expiry, since the epoch."""

    def allows(self, method: str) -> bool:
        """Return whether the key may be used for ``package.Service/Method``."""
        return any(fnmatchcase(method, right if "/" in right else f"{right}/*") for right in self.rights)

    @property
    def has_expired(self) -> bool:
        """Whether the key has expired."""
        return time.time() >= self.until_s


class ApiKeys:
    """The keys of one file."""

    def __init__(self, keys: tuple[ApiKey, ...]) -> None:
        self._by_digest = {key.digest: key for key in keys}

    def next_expiry_s(self) -> float:
        """Return when the next key expires, since the epoch."""
        left = (key.until_s for key in self._by_digest.values() if not key.has_expired)
        return min(left, default=math.inf)

    def find(self, presented: bytes) -> ApiKey | None:
        """Find the key that a caller presents.

        Timing reveals nothing of use: the look-up depends on the digest of what was presented, which nobody
        can choose at will, and the comparison that decides takes constant time.
        """
        digest = hashlib.sha256(presented).digest()
        found = self._by_digest.get(digest)
        is_it = hmac.compare_digest(_NOBODY if found is None else found.digest, digest)
        return found if is_it else None


def make_key(name: str, rights: str = "*", until: str | None = None) -> tuple[str, str]:
    """Make a key.

    Args:
        name: the holder's name.
        rights: patterns, separated by commas.
        until: expiry, a date or time in ISO 8601; None for never.

    Returns:
        The key, and its line for a file of keys.

    Raises:
        ApiKeysError: the name, a right or the time is invalid.
    """
    key = PREFIX + secrets.token_urlsafe(_RANDOM_BYTES)
    words = [name, _HASH + hashlib.sha256(key.encode()).hexdigest(), rights]
    if until is not None:
        words.append(until)
    try:
        _parse(words)
    except ValueError as error:
        raise ApiKeysError(str(error)) from error
    return key, " ".join(words)


def add_line(path: Path, line: str) -> None:
    """Append a line to a file of keys; a new file is readable by its owner alone.

    Raises ApiKeysError if the file cannot be read or written, or has a line with that name.
    """
    name = line.split(maxsplit=1)[0]
    text = read(path, ApiKeysError).decode(errors="replace") if path.exists() else ""
    if any(words[:1] == [name] for words in map(str.split, text.splitlines())):
        raise ApiKeysError(f"{path} has a line for {name!r} already; remove it first, or use another name")
    separator = "" if text.endswith("\n") or not text else "\n"
    try:
        # One write: a server that reads meanwhile finds the whole line or none of it.
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600), "w") as file:
            file.write(f"{separator}{line}\n")
    except OSError as error:
        raise ApiKeysError(f"{path} cannot be written: {error.strerror}") from error


def load_api_keys(path: Path) -> ApiKeys:
    """Read a file of keys: lines of ``NAME sha256:HASH RIGHTS [UNTIL]``, comments that begin with #.

    Raises ApiKeysError if the file cannot be read or has no key, or a line is invalid.
    """
    try:
        text = read(path, ApiKeysError, is_secret=True).decode()
    except UnicodeDecodeError as error:
        raise ApiKeysError(f"{path} is not UTF-8 text") from error
    keys: dict[str, ApiKey] = {}
    hashes: set[bytes] = set()
    for number, line in enumerate(text.splitlines(), start=1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        try:
            if PREFIX in line:
                raise ValueError("holds a key itself, wanted its hash; the key is compromised, make another")
            key = _parse(words)
        except ValueError as error:
            raise ApiKeysError(f"{path}, line {number}: {error}") from error
        if key.name in keys or key.digest in hashes:
            raise ApiKeysError(f"{path}, line {number}: {key.name!r} or its hash has a line already")
        keys[key.name] = key
        hashes.add(key.digest)
    if not keys:
        raise ApiKeysError(f"{path} has no key; `cifar10net key NAME` makes one, and its line")
    return ApiKeys(tuple(keys.values()))


def _parse(words: list[str]) -> ApiKey:
    """Parse the words of a line. Raises ValueError with a sentence."""
    if not 3 <= len(words) <= 4:  # noqa: PLR2004 - the words of the form
        raise ValueError(f"has {len(words)} words, wanted {_LINE_FORM}")
    name, hashed, rights = words[:3]
    if not _NAME.fullmatch(name):
        raise ValueError("its name is invalid: wanted up to 64 letters, digits, and . _ @ -")
    if not re.fullmatch(_HASH + "[0-9a-f]{64}", hashed):
        raise ValueError(f"the hash of {name!r} is invalid: wanted {_HASH} and 64 hexadecimal digits")
    patterns = tuple(rights.split(","))
    for pattern in patterns:
        if not _RIGHT.fullmatch(pattern):
            raise ValueError(
                f"the right {pattern!r} of {name!r} is invalid: wanted a service such as "
                "cifar10net.v1.Classifier, or package.Service/Method; * stands for anything"
            )
    until_s = _read_time(name, words[3]) if len(words) > 3 else math.inf  # noqa: PLR2004
    return ApiKey(name, bytes.fromhex(hashed.removeprefix(_HASH)), patterns, until_s)


def _read_time(name: str, text: str) -> float:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(
            f"{name!r} expires {text!r}, wanted a date such as 2027-01-31, or a time such as "
            "2027-01-31T12:00:00Z"
        ) from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
