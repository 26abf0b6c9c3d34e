"""Everything that can go wrong while serving or asking, and what becomes of it.

* ImageError               one image cannot be read: its own error in the answer, neighbours unharmed
* ServiceError             a call as a whole fails: sent to the caller with its ``code``
  * InvalidRequestError    INVALID_ARGUMENT: the request breaks a rule of the proto
  * UnknownModelError      NOT_FOUND: no such model or version
  * OverloadedError        RESOURCE_EXHAUSTED: too much is queued, retry later
  * NotServingError        UNAVAILABLE: starting or stopping, safe to retry
* StartupError             the process exits with 1 and this one sentence; nothing is served
  * ConfigError            a setting is out of its range: exit code 2
  * ModelError             a model file is missing, damaged or of another signature
  * ProviderError          the execution provider that was asked for is not active
  * AddressError           the address cannot be listened on
* ClientError              the client's view of a failed call, with its gRPC ``code``
  * ServerUnavailableError nobody answers at the address, also after retries
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, ClassVar

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


class ServiceError(Exception):
    """A call that fails as a whole; the gRPC status named ``code`` and the message go to the caller."""

    # The name alone: the supervisor, which needs this module, is to stay small without grpc.
    code: ClassVar[str] = "INTERNAL"


class InvalidRequestError(ServiceError):
    """The request breaks a rule of the proto."""

    code = "INVALID_ARGUMENT"


class UnknownModelError(ServiceError):
    """The server has no such model or version."""

    code = "NOT_FOUND"


class OverloadedError(ServiceError):
    """More images are waiting than the server is allowed to hold."""

    code = "RESOURCE_EXHAUSTED"


class NotServingError(ServiceError):
    """The server is starting or stopping."""

    code = "UNAVAILABLE"


class StartupError(Exception):
    """The server cannot start; the message is the whole story."""


class ConfigError(StartupError):
    """A setting is out of its range."""


class ModelError(StartupError):
    """A model file is missing, damaged, of another signature, or fails its warm-up."""


class ProviderError(StartupError):
    """The execution provider that was asked for is not active."""


class AddressError(StartupError):
    """The address cannot be listened on."""


class ClientError(Exception):
    """A call failed as a whole."""

    def __init__(self, code: grpc.StatusCode, message: str) -> None:
        super().__init__(message)
        self.code = code


class ServerUnavailableError(ClientError):
    """Nobody answers at the address."""
