"""Tests of the client's side of HTTP/2, without a network."""

from __future__ import annotations

import asyncio
import struct
from typing import TYPE_CHECKING

import pytest
from hpack import Decoder, Encoder

from benchmarks import http2
from benchmarks.http2 import Connection, HeaderDecoder, Stream, frame, header_block, message, unpad

if TYPE_CHECKING:
    from collections.abc import Callable


class Wire(asyncio.Transport):
    """Collects what a connection writes."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += bytes(data)

    def close(self) -> None:
        pass


class Call(Stream):
    """Records its messages and its end."""

    def __init__(self) -> None:
        super().__init__()
        self.messages: list[bytes] = []
        self.problems: list[str] = []

    def on_message(self, body: bytes) -> None:
        self.messages.append(body)

    def on_end(self, problem: str) -> None:
        self.problems.append(problem)


def _frames(data: bytes) -> list[tuple[int, int, int, bytes]]:
    """Cut bytes into frames: type, flags, stream, payload."""
    found = []
    while data:
        size = int.from_bytes(data[:3], "big")
        found.append((data[3], data[4], int.from_bytes(data[5:9], "big"), data[9 : 9 + size]))
        data = data[9 + size :]
    return found


def _settings(**values: int) -> bytes:
    names = {"max_streams": 3, "window": 4, "max_frame": 5}
    pairs = b"".join(struct.pack(">HL", names[name], value) for name, value in values.items())
    return frame(http2.SETTINGS, 0, 0, pairs)


def _trailers(stream: int, encoder: Encoder, *fields: tuple[str, str]) -> bytes:
    return frame(http2.HEADERS, http2.END_HEADERS | http2.END_STREAM, stream, encoder.encode(fields))


def _with_connection(work: Callable[[Connection, Wire], None], **settings: int) -> None:
    async def connect() -> None:
        connection, wire = Connection(), Wire()
        connection.connection_made(wire)
        connection.data_received(_settings(**settings))
        await connection.connected()
        wire.written = b""
        work(connection, wire)

    asyncio.run(connect())


def _call(connection: Connection, data: bytes) -> Call:
    call = Call()
    connection.open(call, header_block("/a.B/C", "here"))
    connection.send(call, data, end=True)
    connection.flush()
    return call


def test_headers_are_what_grpc_wants_and_index_nothing() -> None:
    block = header_block("/a.B/C", "127.0.0.1:1")
    decoder = Decoder()

    fields = {str(name): str(value) for name, value in decoder.decode(block)}

    assert fields[":path"] == "/a.B/C"
    assert fields[":method"] == "POST"
    assert fields["content-type"] == "application/grpc"
    assert fields["te"] == "trailers"
    assert not decoder.header_table.dynamic_entries


def test_a_header_too_long_for_the_encoder_is_refused() -> None:
    with pytest.raises(ValueError, match="longer"):
        header_block("/" + "a" * 200, "here")


def test_a_repeated_block_is_decoded_from_memory_until_the_table_changes() -> None:
    encoder, decoder = Encoder(), HeaderDecoder()

    for status in ("0", "0", "0", "5", "0", "5"):
        block = encoder.encode([("grpc-status", status), ("x", "y")])
        assert decoder.decode(block)["grpc-status"] == status


def test_padding_is_left_out() -> None:
    assert unpad(http2.PADDED, b"\x03hello\0\0\0") == b"hello"
    assert unpad(0, b"\x03hello") == b"\x03hello"


def test_no_more_is_sent_than_the_windows_allow() -> None:
    def work(connection: Connection, wire: Wire) -> None:
        body = bytes(range(256)) * 1000
        _call(connection, body)
        first = [row for row in _frames(wire.written) if row[0] == http2.DATA]
        assert sum(len(row[3]) for row in first) == 65_535
        assert max(len(row[3]) for row in first) == 16_384
        assert not any(row[1] & http2.END_STREAM for row in first)

        connection.data_received(frame(http2.WINDOW_UPDATE, 0, 1, (1 << 20).to_bytes(4, "big")))
        assert sum(len(row[3]) for row in _frames(wire.written) if row[0] == http2.DATA) == 65_535
        connection.data_received(frame(http2.WINDOW_UPDATE, 0, 0, (1 << 20).to_bytes(4, "big")))
        sent = [row for row in _frames(wire.written) if row[0] == http2.DATA]
        assert b"".join(row[3] for row in sent) == body
        assert [bool(row[1] & http2.END_STREAM) for row in sent] == [False] * (len(sent) - 1) + [True]

    _with_connection(work)


def test_settings_that_change_the_window_change_it_for_open_streams() -> None:
    def work(connection: Connection, wire: Wire) -> None:
        _call(connection, bytes(1000))
        assert sum(len(row[3]) for row in _frames(wire.written) if row[0] == http2.DATA) == 10

        connection.data_received(_settings(window=400))

        assert sum(len(row[3]) for row in _frames(wire.written) if row[0] == http2.DATA) == 400

    _with_connection(work, window=10)


def test_calls_over_the_servers_limit_wait_for_others_to_end() -> None:
    def work(connection: Connection, wire: Wire) -> None:
        _call(connection, b"first")
        _call(connection, b"second")
        assert [row[3] for row in _frames(wire.written) if row[0] == http2.DATA] == [b"first"]

        connection.data_received(_trailers(1, Encoder(), (":status", "200"), ("grpc-status", "0")))

        assert [row[3] for row in _frames(wire.written) if row[0] == http2.DATA] == [b"first", b"second"]

    _with_connection(work, max_streams=1)


def test_an_answer_in_any_pieces_is_taken() -> None:
    def work(connection: Connection, _wire: Wire) -> None:
        call, encoder = _call(connection, b""), Encoder()
        answer = (
            frame(http2.HEADERS, 0, 1, (block := encoder.encode([(":status", "200")]))[:1])
            + frame(http2.CONTINUATION, http2.END_HEADERS, 1, block[1:])
            + frame(http2.DATA, 0, 1, message(b"one")[:4])
            + frame(http2.DATA, http2.PADDED, 1, b"\2" + message(b"one")[4:] + message(b"two") + b"\0\0")
            + frame(250, 0, 1, b"a kind nobody knows")
            + _trailers(1, encoder, ("grpc-status", "0"))
        )

        for at in range(len(answer)):
            connection.data_received(answer[at : at + 1])

        assert (call.messages, call.problems) == ([b"one", b"two"], [""])

    _with_connection(work)


@pytest.mark.parametrize(
    ("ending", "problem"),
    [
        (_trailers(1, Encoder(), ("grpc-status", "8"), ("grpc-message", "full")), "grpc-status 8: full"),
        (_trailers(1, Encoder(), (":status", "503")), "no grpc-status; HTTP status 503"),
        (frame(http2.DATA, http2.END_STREAM, 1), "no status: the stream ended with data"),
        (
            frame(http2.DATA, 0, 1, b"\0") + _trailers(1, Encoder(), ("grpc-status", "0")),
            "the stream ended within a message",
        ),
        (frame(http2.RST_STREAM, 0, 1, b"\0\0\0\x0b"), "reset by the server, HTTP/2 error 11"),
        (frame(http2.GOAWAY, 0, 0, bytes(8)), "refused: the server is going away, HTTP/2 error 0"),
    ],
)
def test_every_bad_end_is_reported(ending: bytes, problem: str) -> None:
    def work(connection: Connection, _wire: Wire) -> None:
        call = _call(connection, b"")
        connection.data_received(ending)
        assert call.problems == [problem]

    _with_connection(work)


def test_a_lost_connection_ends_open_calls_and_those_that_follow() -> None:
    def work(connection: Connection, _wire: Wire) -> None:
        before = _call(connection, b"")
        connection.connection_lost(None)
        after = _call(connection, b"")
        assert before.problems == after.problems == ["connection lost: closed"]

    _with_connection(work)


def test_pings_and_settings_are_acknowledged() -> None:
    def work(connection: Connection, wire: Wire) -> None:
        connection.data_received(frame(http2.PING, 0, 0, b"12345678") + _settings())
        assert _frames(wire.written) == [
            (http2.PING, http2.ACK, 0, b"12345678"),
            (http2.SETTINGS, http2.ACK, 0, b""),
        ]

    _with_connection(work)
