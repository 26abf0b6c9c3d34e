"""Failed calls: their errors for callers, and when a failed stream is retried."""

from __future__ import annotations

import contextlib
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self, cast

import grpc

from cifar10net.errors import ClientError, ServerUnavailableError
from cifar10net.protocol import RETRY_PUSHBACK

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

FIRST_BACKOFF_S = 0.2
LONGEST_BACKOFF_S = 2.0
BACKOFF_FACTOR = 2.0
_JITTER = 0.2
RETRYABLE_CODES = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED)
"""The server could not be reached, or was too busy."""
_CODES = {code.value[0]: code for code in grpc.StatusCode}
_NEVER = -1


@dataclass(frozen=True)
class Failure:
    """The status of a call that failed."""

    code: grpc.StatusCode
    details: str
    pushback_ms: int | None = None
    """The server's delay before a retry; negative: do not retry."""

    @classmethod
    def from_status(cls, code: grpc.StatusCode, details: str | None, metadata: Iterable[Any] | None) -> Self:
        """Read the status and the trailing metadata of a call."""
        trailers: Mapping[str, str | bytes] = dict(metadata or ())
        return cls(code, details or "", _pushback_ms(trailers.get(RETRY_PUSHBACK)))

    @classmethod
    def from_error(cls, error: grpc.RpcError) -> Self:
        """Read the status from gRPC's exception."""
        return cls.from_status(error.code(), error.details(), cast("Any", error.trailing_metadata()))

    @property
    def is_final(self) -> bool:
        """Whether the server forbids a retry."""
        return self.pushback_ms is not None and self.pushback_ms < 0

    def as_error(self, server: str) -> ClientError:
        """Return the exception for the caller."""
        if self.code is grpc.StatusCode.UNAVAILABLE:
            return ServerUnavailableError(
                self.code, f"no answer from {server} ({self.details}); is cifar10net serve running there?"
            )
        return ClientError(self.code, f"{server} answered {self.code.name}: {self.details}")


class RefusedError(Exception):
    """The server refused a message of a stream."""

    def __init__(self, number: int, details: str) -> None:
        super().__init__(details)
        self.failure = Failure(_CODES.get(number, grpc.StatusCode.UNKNOWN), details)


class RetryState:
    """Consecutive failures of a stream without an answer in between."""

    def __init__(self, server: str, max_attempts: int) -> None:
        self._server = server
        self._max_attempts = max_attempts
        self._failures = 0
        self.has_succeeded = False
        """Whether the server ever answered; if it then goes away, it may come back."""
        self.last_failure: Failure | None = None
        """The last failure since an answer."""

    def record_success(self) -> None:
        """Reset the count after an answer."""
        self._failures, self.last_failure, self.has_succeeded = 0, None, True

    def delay_s(self, failure: Failure) -> float:
        """Count a failure and return the delay before the next attempt.

        Raises:
            ClientError: the failure cannot be retried, or was the last attempt.
        """
        self._failures += 1
        self.last_failure = failure
        if failure.code not in RETRYABLE_CODES or failure.is_final or self._failures >= self._max_attempts:
            raise failure.as_error(self._server)
        if failure.pushback_ms is not None:
            return failure.pushback_ms / 1_000
        backoff_s = min(LONGEST_BACKOFF_S, FIRST_BACKOFF_S * BACKOFF_FACTOR ** (self._failures - 1))
        return backoff_s * random.uniform(1 - _JITTER, 1 + _JITTER)  # noqa: S311 - not for cryptography


@contextlib.contextmanager
def client_errors(server: str) -> Iterator[None]:
    """Raise gRPC's exceptions as ClientError."""
    try:
        yield
    except grpc.RpcError as error:
        raise Failure.from_error(error).as_error(server) from error


def _pushback_ms(value: str | bytes | None) -> int | None:
    """Parse a pushback; a malformed one forbids retries (gRFC A6)."""
    if value is None:
        return None
    try:
        return int(value)
    except ValueError:
        return _NEVER
