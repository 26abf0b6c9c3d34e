"""Reads request id and trace context from a call's metadata; malformed ones count as absent."""

from __future__ import annotations

import random
import re
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

REQUEST_ID = "x-request-id"
"""Metadata key of the id that log lines have; it is returned in the trailing metadata."""
REQUEST_ID_KEY = REQUEST_ID.encode()
_TRACEPARENT_KEY = b"traceparent"
_REQUEST_ID = re.compile(rb"[ -~]{1,128}")
# W3C Trace Context, section 3.2: version 00 ends with the flags, later versions may append to them.
_TRACEPARENT = re.compile(
    rb"(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.DOTALL
)
_SAMPLED = 1
_UNSAMPLED = re.compile(rb"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f][02468ace]")


class TraceParent(NamedTuple):
    """The caller's place in a trace (W3C Trace Context)."""

    trace_id: str
    """32 hexadecimal digits."""
    span_id: str
    """16 hexadecimal digits: the caller's own span."""
    is_sampled: bool
    """Whether the caller records the trace."""


def sent_request_id(metadata: Mapping[bytes, bytes]) -> str | None:
    """Return the caller's request id, 1 to 128 printable ASCII characters."""
    sent = metadata.get(REQUEST_ID_KEY)
    return None if sent is None or not _REQUEST_ID.fullmatch(sent) else sent.decode("ascii")


def new_request_id() -> str:
    """Return a random request id, 16 hexadecimal digits."""
    return f"{random.getrandbits(64):016x}"  # not a secret


def sent_trace_parent(metadata: Mapping[bytes, bytes]) -> TraceParent | None:
    """Return the caller's span from ``traceparent``."""
    sent = metadata.get(_TRACEPARENT_KEY)
    if sent is None:
        return None
    match = _TRACEPARENT.fullmatch(sent)
    if match is None or (match[1] == b"00" and match[5] is not None):
        return None
    return TraceParent(match[2].decode(), match[3].decode(), bool(int(match[4], 16) & _SAMPLED))


def is_in_unsampled_trace(metadata: Mapping[bytes, bytes]) -> bool:
    """Whether there is a ``traceparent`` that is not sampled; faster than ``sent_trace_parent``."""
    sent = metadata.get(_TRACEPARENT_KEY)
    return sent is not None and _UNSAMPLED.fullmatch(sent) is not None


def sent_names(metadata: Mapping[bytes, bytes], **more: str) -> dict[str, str]:
    """Return ``more`` with the log fields ``request_id`` and ``trace_id``, as far as they were sent."""
    request_id, parent = sent_request_id(metadata), sent_trace_parent(metadata)
    if request_id is not None:
        more["request_id"] = request_id
    if parent is not None:
        more["trace_id"] = parent.trace_id
    return more
