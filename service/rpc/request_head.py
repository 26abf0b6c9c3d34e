"""Request heads: the method, deadline and encoding that the header fields of a request name.

Whitespace around values and content-length are not checked: neither means anything to gRPC.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from service.errors import Code, MessageTooLargeError
from service.http2.headers import MAX_HEADER_LIST_BYTES, encode, list_bytes
from service.http2.stream import TRAILERS
from service.rpc.response_headers import trailers_only
from service.rpc.status import Status, status_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from service.http2.headers import Fields
    from service.http2.stream import Trailers
    from service.rpc.method import Method

ENCODINGS = (b"identity", b"deflate", b"gzip")
_CONTENT_TYPE = re.compile(rb"application/grpc(\+proto)?(;.*)?")
_NAME = re.compile(rb"[0-9a-z!#$%&'*+.^_`|~-]+")
_FORBIDDEN = re.compile(rb"[\x00\r\n]")
_TIMEOUT = re.compile(rb"(\d{1,8})([HMSmun])")
_UNITS_S = {b"H": 3600.0, b"M": 60.0, b"S": 1.0, b"m": 1e-3, b"u": 1e-6, b"n": 1e-9}
_PSEUDO_FIELDS = {b":method", b":scheme", b":path", b":authority"}
_REQUIRED_FIELDS = (b":method", b":scheme", b":path")
_TE = b"trailers"
_CONNECTION_FIELDS = {b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade"}


@dataclass(frozen=True, slots=True)
class RequestHead:
    """The head of a request."""

    method: Method | None
    timeout_s: float | None
    encoding: bytes
    refusal: bytes | None
    """The whole answer, one header block, if the request is refused."""
    reason: str = ""
    """Why it is refused, for the log."""
    metadata: Mapping[bytes, bytes] = field(default_factory=dict)
    """All header fields, pseudo-fields included; repeated ones are joined by commas."""


def read_head(fields: Fields, methods: Mapping[bytes, Method]) -> RequestHead | Trailers | None:
    """Read the fields of a header block.

    Returns:
        A request head, which may carry a refusal; TRAILERS for the fields that end a request; None for
        malformed ones (RFC 9113, section 8.1.1).
    """
    found: dict[bytes, bytes] = {}
    regular_began = False
    for name, value in fields:
        if name[:1] == b":":
            is_valid = not regular_began and name not in found and name in _PSEUDO_FIELDS
        else:
            regular_began = True
            is_valid = name not in _CONNECTION_FIELDS and _NAME.fullmatch(name) is not None
        if not is_valid or _FORBIDDEN.search(value):
            return None
        # Joined, as gRPC specifies, so that a proxy cannot have checked another value than is used here.
        found[name] = value if name not in found else found[name] + b"," + value
    if not found.keys() & _PSEUDO_FIELDS:
        return TRAILERS
    if not all(found.get(name) for name in _REQUIRED_FIELDS) or found.get(b"te", _TE).lower() != _TE:
        return None
    size = list_bytes(fields)
    if size > MAX_HEADER_LIST_BYTES:
        error = MessageTooLargeError(
            f"the metadata has {size:,} bytes, more than the {MAX_HEADER_LIST_BYTES:,} that this server takes"
        )
        return _refused(trailers_only(status_of(error)), str(error))
    head = _read(found, methods)
    return head if head.refusal is None else replace(head, metadata=found)


def _read(found: dict[bytes, bytes], methods: Mapping[bytes, Method]) -> RequestHead:
    if found[b":method"] != b"POST":
        return _refused(encode(((b":status", b"405"), (b"allow", b"POST"))), "its method is not POST")
    if not _CONTENT_TYPE.fullmatch(found.get(b"content-type", b"")):
        return _refused(
            encode(((b":status", b"415"), (b"accept", b"application/grpc"))), "its type is not gRPC"
        )
    method = methods.get(found[b":path"])
    if method is None:
        return _refused_as(Code.UNIMPLEMENTED, f"there is no method {_quoted(found[b':path'])}")
    encoding = found.get(b"grpc-encoding", b"identity")
    if encoding not in ENCODINGS:
        return _refused_as(
            Code.UNIMPLEMENTED,
            f"grpc-encoding is {_quoted(encoding)}, wanted identity, deflate or gzip",
            {"grpc-accept-encoding": b",".join(ENCODINGS).decode()},
        )
    timeout_s = None
    if b"grpc-timeout" in found:
        match = _TIMEOUT.fullmatch(found[b"grpc-timeout"])
        if match is None:
            return _refused_as(
                Code.INVALID_ARGUMENT,
                f"grpc-timeout is {_quoted(found[b'grpc-timeout'])}, wanted up to 8 digits and one of "
                "H, M, S, m, u, n",
            )
        timeout_s = int(match[1]) * _UNITS_S[match[2]]
    return RequestHead(method, timeout_s, encoding, None, metadata=found)


def _refused(answer: bytes, reason: str) -> RequestHead:
    return RequestHead(None, None, b"identity", answer, reason)


def _refused_as(code: Code, message: str, metadata: Mapping[str, str] | None = None) -> RequestHead:
    return _refused(trailers_only(Status(code, message, metadata or {})), message)


def _quoted(value: bytes) -> str:
    return repr(value.decode("utf-8", "replace")[:200])
