"""API keys: who has one, what it may be used for, until when.

In: the lines of a file, which hold hashes and no key. Out: the key that a caller shows, found by its hash.

A key is 256 random bits, made by ``cifar10net key``, so that one round of SHA-256 keeps it secret: there is
nothing to guess, and hashes that are slow on purpose protect only what people choose.
"""

from __future__ import annotations

import hashlib
import hmac
import math
import re
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from service.errors import ApiKeysError
from service.security.pem_files import read

if TYPE_CHECKING:
    from pathlib import Path

PREFIX = "c10n_"
"""Begins every key, so that people and scanners know one when they see it."""
HASH = "sha256:"
"""Begins the hash of a line."""
_NAME = re.compile(r"[\w.@-]{1,64}")
_RIGHT = re.compile(r"[\w.*]+(/[\w*]+)?")
_LINE_FORM = "NAME sha256:HASH RIGHTS [UNTIL]"
_NOBODY = bytes(32)


@dataclass(frozen=True)
class ApiKey:
    """What is known of a key."""

    name: str
    digest: bytes
    """SHA-256 of the whole key."""
    rights: tuple[str, ...]
    """Patterns of ``package.Service/Method``; one without a slash is of all methods of the service."""
    until_s: float
    """Since the epoch: from then on it is refused."""

    def allows(self, method: str) -> bool:
        """Whether it may be used for ``package.Service/Method``."""
        return any(fnmatchcase(method, right if "/" in right else f"{right}/*") for right in self.rights)

    @property
    def has_expired(self) -> bool:
        """Whether its time is over."""
        return time.time() >= self.until_s


class Keys:
    """Those of one file."""

    def __init__(self, keys: tuple[ApiKey, ...]) -> None:
        self._by_digest = {key.digest: key for key in keys}

    def next_expiry_s(self) -> float:
        """Since the epoch: when the next of them expires."""
        left = (key.until_s for key in self._by_digest.values() if not key.has_expired)
        return min(left, default=math.inf)

    def find(self, shown: bytes) -> ApiKey | None:
        """Find the key that a caller shows.

        What the time of a look-up by hash tells is about the hash of what was shown, and whoever could choose
        that at will need not measure. The comparison that decides takes the same time for all.
        """
        digest = hashlib.sha256(shown).digest()
        found = self._by_digest.get(digest)
        is_it = hmac.compare_digest(_NOBODY if found is None else found.digest, digest)
        return found if is_it else None


def load_keys(path: Path) -> Keys:
    """Read a file of keys: each line ``NAME sha256:HASH RIGHTS [UNTIL]``, or a comment that begins with #.

    Raises:
        ApiKeysError: it cannot be read, has no key, or a line of it makes no sense.
    """
    try:
        text = read(path, ApiKeysError, is_secret=True).decode()
    except UnicodeDecodeError as error:
        raise ApiKeysError(f"{path} is no text in UTF-8") from error
    keys: dict[str, ApiKey] = {}
    hashes: set[bytes] = set()
    for number, line in enumerate(text.splitlines(), start=1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        try:
            if PREFIX in line:
                raise ValueError("holds a key itself, wanted its hash; take it for known, and make another")
            key = parse(words)
        except ValueError as error:
            raise ApiKeysError(f"{path}, line {number}: {error}") from error
        if key.name in keys or key.digest in hashes:
            raise ApiKeysError(f"{path}, line {number}: {key.name!r} or its hash has a line already")
        keys[key.name] = key
        hashes.add(key.digest)
    if not keys:
        raise ApiKeysError(f"{path} has no key; `cifar10net key NAME` makes one, and its line")
    return Keys(tuple(keys.values()))


def parse(words: list[str]) -> ApiKey:
    """Read the words of a line. Raises ValueError, whose message is a sentence."""
    if not 3 <= len(words) <= 4:  # noqa: PLR2004 - the words of the form
        raise ValueError(f"has {len(words)} words, wanted {_LINE_FORM}")
    name, hashed, rights = words[:3]
    if not _NAME.fullmatch(name):
        raise ValueError("its name is none: wanted up to 64 letters, digits, and . _ @ -")
    if not re.fullmatch(HASH + "[0-9a-f]{64}", hashed):
        raise ValueError(f"the hash of {name!r} is none: wanted {HASH} and 64 hexadecimal digits")
    patterns = tuple(rights.split(","))
    for pattern in patterns:
        if not _RIGHT.fullmatch(pattern):
            raise ValueError(
                f"the right {pattern!r} of {name!r} is none: wanted a service such as "
                "cifar10net.v1.Classifier, or package.Service/Method; * stands for anything"
            )
    until_s = _read_time(name, words[3]) if len(words) > 3 else math.inf  # noqa: PLR2004
    return ApiKey(name, bytes.fromhex(hashed.removeprefix(HASH)), patterns, until_s)


def _read_time(name: str, text: str) -> float:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(
            f"{name!r} expires {text!r}, wanted a date such as 2027-01-31, or a time such as "
            "2027-01-31T12:00:00Z"
        ) from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
