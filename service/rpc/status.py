"""gRPC statuses, and the one place where an exception becomes one."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from service.errors import Code, ServiceError

if TYPE_CHECKING:
    from collections.abc import Mapping

_INTERNAL_SENTENCE = "the server failed to answer; its log says why"
_LONGEST_MESSAGE = 1_000
"""Characters. Messages may quote what a caller sent; percent-encoded, this many fit into one frame and into
the metadata that clients accept by default."""


@dataclass(frozen=True)
class Status:
    """A status other than OK."""

    code: Code
    message: str
    metadata: Mapping[str, str] = field(default_factory=dict)
    """Trailing metadata, ASCII."""
    failure: Exception | None = field(default=None, compare=False)
    """The cause of INTERNAL, for the log alone; it is not sent to the caller."""

    def with_metadata(self, name: str, value: str) -> Status:
        """Return a copy with one more entry of trailing metadata."""
        return replace(self, metadata={**self.metadata, name: value})


def status_of(error: Exception) -> Status:
    """Return the status of a call that ends with an exception.

    Anything but a ServiceError is INTERNAL with a fixed sentence; the exception itself is for the log.
    """
    if isinstance(error, ServiceError):
        return Status(error.code, str(error)[:_LONGEST_MESSAGE], error.metadata)
    return Status(Code.INTERNAL, _INTERNAL_SENTENCE, failure=error)
