"""Errors that callers of the client see.

* ImageError               one image cannot be classified; the others are unaffected
* ClientError              a whole call failed, with its gRPC ``code``
  * ServerUnavailableError no server answers at the address, even after retries
* ConfigError              a setting is invalid; the command line exits with 2
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import grpc


class ImageErrorCode(Enum):
    """Kinds of ImageError; names and numbers as in the proto, which explains each."""

    UNSPECIFIED = 0
    EMPTY = 1
    UNSUPPORTED_FORMAT = 2
    CORRUPT = 3
    TOO_LARGE = 4
    WRONG_SIZE = 5
    UNREADABLE_FILE = -1
    """A path that the client cannot read; never on the wire."""


class ImageError(Exception):
    """One image cannot be classified; the message says why, for people."""

    def __init__(self, code: ImageErrorCode, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class ConfigError(Exception):
    """A setting is invalid."""


class ClientError(Exception):
    """A whole call failed."""

    def __init__(self, code: grpc.StatusCode, message: str) -> None:
        super().__init__(message)
        self.code = code


class ServerUnavailableError(ClientError):
    """No server answers at the address."""
