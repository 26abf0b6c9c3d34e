"""How calls fail: gRPC's exceptions as sentences, and what a failed stream may do next.

In: exceptions of gRPC, and answers of a stream that are refusals. Out: a ClientError, or how long to wait
before the same is asked again.
"""

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
REPEATED_CODES = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED)
"""Of calls that may be sent again: nobody answered, or the server was busy."""
_CODES = {code.value[0]: code for code in grpc.StatusCode}
_NEVER = -1


@dataclass(frozen=True)
class Failure:
    """How a call ended that was not answered."""

    code: grpc.StatusCode
    details: str
    pushback_ms: int | None = None
    """When the server wants it again; negative: never."""

    @classmethod
    def of(cls, code: grpc.StatusCode, details: str | None, metadata: Iterable[Any] | None) -> Self:
        """Read what gRPC says at the end of a call."""
        sent: Mapping[str, str | bytes] = dict(metadata or ())
        return cls(code, details or "", _pushback_ms(sent.get(RETRY_PUSHBACK)))

    @classmethod
    def raised(cls, error: grpc.RpcError) -> Self:
        """Read it in an exception."""
        return cls.of(error.code(), error.details(), cast("Any", error.trailing_metadata()))

    @property
    def is_final(self) -> bool:
        """Whether the server does not want the same again, though it might be busy."""
        return self.pushback_ms is not None and self.pushback_ms < 0

    def as_error(self, server: str) -> ClientError:
        """Say it in a sentence."""
        if self.code is grpc.StatusCode.UNAVAILABLE:
            return ServerUnavailableError(
                self.code, f"no answer from {server} ({self.details}); is cifar10net serve running there?"
            )
        return ClientError(self.code, f"{server} answered {self.code.name}: {self.details}")


class RefusedError(Exception):
    """An answer of a stream says that its request, or the whole stream, has failed."""

    def __init__(self, number: int, details: str) -> None:
        super().__init__(details)
        self.failure = Failure(_CODES.get(number, grpc.StatusCode.UNKNOWN), details)


class Attempts:
    """Counts the failures of a stream that come one after the other without an answer between them."""

    def __init__(self, server: str, most: int) -> None:
        self._server = server
        self._most = most
        self._failed = 0
        self.has_succeeded = False
        """Whether anything was ever answered: a server that is gone may then be about to come back."""
        self.last: Failure | None = None
        """What has happened since something was answered."""

    def succeed(self) -> None:
        """Begin to count anew: something was answered."""
        self._failed, self.last, self.has_succeeded = 0, None, True

    def pause_s(self, failure: Failure) -> float:
        """Say how long to wait before the next attempt.

        Raises:
            ClientError: there is to be none.
        """
        self._failed += 1
        self.last = failure
        if failure.code not in REPEATED_CODES or failure.is_final or self._failed >= self._most:
            raise failure.as_error(self._server)
        if failure.pushback_ms is not None:
            return failure.pushback_ms / 1_000
        backoff_s = min(LONGEST_BACKOFF_S, FIRST_BACKOFF_S * BACKOFF_FACTOR ** (self._failed - 1))
        return backoff_s * random.uniform(1 - _JITTER, 1 + _JITTER)  # noqa: S311 - nothing is secret


@contextlib.contextmanager
def client_errors(server: str) -> Iterator[None]:
    """Turn gRPC's exception into one with a sentence that says what to do."""
    try:
        yield
    except grpc.RpcError as error:
        raise Failure.raised(error).as_error(server) from error


def _pushback_ms(sent: str | bytes | None) -> int | None:
    """What is no number means never (gRFC A6)."""
    if sent is None:
        return None
    try:
        return int(sent)
    except ValueError:
        return _NEVER
