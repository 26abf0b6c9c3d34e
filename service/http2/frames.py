"""HTTP/2 frames as bytes (RFC 9113, sections 4 and 6)."""

from __future__ import annotations

import struct
from enum import IntEnum

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
HEADER = struct.Struct(">HBBBL")
"""Upper 16 and lower 8 bits of the payload's length, type, flags, stream."""
HEADER_BYTES = HEADER.size
LARGEST_STREAM_ID = LARGEST_WINDOW = 2**31 - 1
DEFAULT_WINDOW = 65_535
MAX_FRAME_BYTES = 16_384
"""The default, used in both directions."""

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = (
    range(10)
)

END_STREAM = ACK = 0x1
END_HEADERS = 0x4
PADDED = 0x8
WITH_PRIORITY = 0x20

_SETTING = struct.Struct(">HL")
_UINT32 = struct.Struct(">L")
_TWO_UINT32 = struct.Struct(">LL")


class Setting(IntEnum):
    """Parameters of SETTINGS (section 6.5.2)."""

    HEADER_TABLE_SIZE = 1
    ENABLE_PUSH = 2
    MAX_CONCURRENT_STREAMS = 3
    INITIAL_WINDOW_SIZE = 4
    MAX_FRAME_SIZE = 5
    MAX_HEADER_LIST_SIZE = 6


class ErrorCode(IntEnum):
    """Why a stream or a connection ends (section 7)."""

    NO_ERROR = 0
    PROTOCOL_ERROR = 1
    INTERNAL_ERROR = 2
    FLOW_CONTROL_ERROR = 3
    SETTINGS_TIMEOUT = 4
    STREAM_CLOSED = 5
    FRAME_SIZE_ERROR = 6
    REFUSED_STREAM = 7
    CANCEL = 8
    COMPRESSION_ERROR = 9
    CONNECT_ERROR = 10
    ENHANCE_YOUR_CALM = 11


def frame(kind: int, flags: int, stream_id: int, payload: bytes) -> bytes:
    """Encode any frame."""
    size = len(payload)
    return HEADER.pack(size >> 8, size & 0xFF, kind, flags, stream_id) + payload


def response(stream_id: int, head: bytes, data: bytes, trailers: bytes) -> bytes:
    """Encode the three frames of a whole answer: HEADERS, DATA, and the HEADERS that end the stream."""
    size = len(data)
    last = END_HEADERS | END_STREAM
    return b"".join(
        (
            HEADER.pack(len(head) >> 8, len(head) & 0xFF, HEADERS, END_HEADERS, stream_id),
            head,
            HEADER.pack(size >> 8, size & 0xFF, DATA, 0, stream_id),
            data,
            HEADER.pack(len(trailers) >> 8, len(trailers) & 0xFF, HEADERS, last, stream_id),
            trailers,
        )
    )


def settings(values: dict[Setting, int]) -> bytes:
    """Encode SETTINGS."""
    return frame(SETTINGS, 0, 0, b"".join(_SETTING.pack(key, value) for key, value in values.items()))


def read_settings(payload: bytes) -> list[tuple[int, int]]:
    """Decode the payload of SETTINGS, a multiple of six bytes, into parameters and values."""
    return list(_SETTING.iter_unpack(payload))


def read_uint31(payload: bytes) -> int:
    """Read a stream id or a window's increment; the reserved bit is ignored."""
    value: int = _UINT32.unpack_from(payload)[0]
    return value & LARGEST_WINDOW


def reset(stream_id: int, code: ErrorCode) -> bytes:
    """Encode RST_STREAM, which ends a stream at once."""
    return frame(RST_STREAM, 0, stream_id, _UINT32.pack(code))


def window_update(stream_id: int, increment: int) -> bytes:
    """Encode WINDOW_UPDATE, which lets the peer send more; stream 0 is the connection."""
    return frame(WINDOW_UPDATE, 0, stream_id, _UINT32.pack(increment))


def go_away(last_stream_id: int, code: ErrorCode, reason: bytes = b"") -> bytes:
    """Encode GOAWAY, after which streams above ``last_stream_id`` are not answered."""
    return frame(GOAWAY, 0, 0, _TWO_UINT32.pack(last_stream_id, code) + reason)
