"""Everything that can go wrong while asking a server.

* ImageError               one image cannot be read: its own error in the answer, its neighbours are unharmed
* ClientError              a call failed as a whole, with its gRPC ``code``
  * ServerUnavailableError no server answers at the address, even after retries
* ConfigError              a setting is out of its range; the command line exits with 2
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import grpc


class ImageErrorCode(Enum):
    """Kinds of ImageError; names and numbers as in the proto, where each is explained."""

    UNSPECIFIED = 0
    EMPTY = 1
    UNSUPPORTED_FORMAT = 2
    CORRUPT = 3
    TOO_LARGE = 4
    WRONG_SIZE = 5
    UNREADABLE_FILE = -1
    """Found by the client, never on the wire: a path that cannot be read."""


class ImageError(Exception):
    """One image has no prediction; the message says what is wrong with it, for people."""

    def __init__(self, code: ImageErrorCode, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class ConfigError(Exception):
    """A setting is out of its range."""


class ClientError(Exception):
    """A call failed as a whole."""

    def __init__(self, code: grpc.StatusCode, message: str) -> None:
        super().__init__(message)
        self.code = code


class ServerUnavailableError(ClientError):
    """No server answers at the address."""
