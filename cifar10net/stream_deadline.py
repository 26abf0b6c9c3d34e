"""How long a stream waits for its next answer: what a deadline is to a call.

In: a backlog. Out: how much time is left, and the error when none is. A deadline of gRPC's would be the whole
stream's, however many images it has.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import grpc

from cifar10net.errors import ClientError
from cifar10net.failures import Failure

if TYPE_CHECKING:
    from cifar10net.backlog import Backlog


def left_s(backlog: Backlog, patience_s: float) -> float | None:
    """Say how long the next answer may still take; None if nothing is waited for."""
    if not backlog.unanswered:
        return None
    return backlog.waits_since_s + patience_s - time.monotonic()


def late(server: str, patience_s: float, backlog: Backlog, failure: Failure | None) -> ClientError:
    """Say that it has taken too long: since the server went away, if it did, and has not come back."""
    if failure is not None:
        return failure.as_error(server)
    return ClientError(
        grpc.StatusCode.DEADLINE_EXCEEDED,
        f"{server} has answered nothing for {patience_s:g} seconds, with {backlog.unanswered} images waiting",
    )


def unfinished(backlog: Backlog) -> Failure | None:
    """Say what is wrong with a stream that ended well, if images of it are unanswered."""
    if not backlog.unanswered:
        return None
    return Failure(grpc.StatusCode.UNAVAILABLE, "the stream ended before every image was answered")
