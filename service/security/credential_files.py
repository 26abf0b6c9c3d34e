"""Reads files of certificates and keys."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import structlog

if TYPE_CHECKING:
    from pathlib import Path

    from service.errors import StartupError

_READABLE_BY_OTHERS = 0o044
_log = structlog.get_logger(__name__)


def read(path: Path, error_type: type[StartupError], *, is_secret: bool = False) -> bytes:
    """Read a file, or raise ``error_type``; warn if it is secret and others than its owner can read it."""
    try:
        with path.open("rb") as file:
            if is_secret and os.fstat(file.fileno()).st_mode & _READABLE_BY_OTHERS:
                _log.warning("a secret file can be read by others", path=str(path), wanted="mode 600")
            return file.read()
    except OSError as error:
        raise error_type(f"{path} cannot be read: {error.strerror}") from error
