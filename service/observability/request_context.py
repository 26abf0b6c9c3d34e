"""What a caller calls its call: its request id, and the trace that the call is a part of.

In: a call's metadata. Out: the names in it that make sense; what is malformed counts as not sent. Knows
nothing of logs and traces.
"""

from __future__ import annotations

import random
import re
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

REQUEST_ID = "x-request-id"
"""Metadata that names a call in the server's log; it comes back in the trailing metadata."""
REQUEST_ID_KEY = REQUEST_ID.encode()
_TRACEPARENT_KEY = b"traceparent"
_REQUEST_ID = re.compile(rb"[ -~]{1,128}")
# W3C Trace Context, section 3.2: version 00 ends with the flags, later ones may go on behind them.
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
    """16 of them: the caller's own span."""
    is_sampled: bool
    """Whether the caller records it."""


def sent_request_id(metadata: Mapping[bytes, bytes]) -> str | None:
    """Find the request id that a caller gave: 1 to 128 printable characters of ASCII."""
    sent = metadata.get(REQUEST_ID_KEY)
    return None if sent is None or not _REQUEST_ID.fullmatch(sent) else sent.decode("ascii")


def new_request_id() -> str:
    """Make one up: 16 hexadecimal digits."""
    return f"{random.getrandbits(64):016x}"  # a name, no secret


def sent_trace_parent(metadata: Mapping[bytes, bytes]) -> TraceParent | None:
    """Find the caller's span, in ``traceparent``."""
    sent = metadata.get(_TRACEPARENT_KEY)
    if sent is None:
        return None
    match = _TRACEPARENT.fullmatch(sent)
    if match is None or (match[1] == b"00" and match[5] is not None):
        return None
    return TraceParent(match[2].decode(), match[3].decode(), bool(int(match[4], 16) & _SAMPLED))


def is_in_unsampled_trace(metadata: Mapping[bytes, bytes]) -> bool:
    """Whether a caller does not record its trace, and says no more of it: quicker than reading all of it."""
    sent = metadata.get(_TRACEPARENT_KEY)
    return sent is not None and _UNSAMPLED.fullmatch(sent) is not None


def sent_names(metadata: Mapping[bytes, bytes], **more: str) -> dict[str, str]:
    """Say what a line of the log is to tell of them: ``request_id`` and ``trace_id``, as far as sent."""
    request_id, parent = sent_request_id(metadata), sent_trace_parent(metadata)
    if request_id is not None:
        more["request_id"] = request_id
    if parent is not None:
        more["trace_id"] = parent.trace_id
    return more
