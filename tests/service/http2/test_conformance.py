"""RFC 9113, section by section: what a client sends, and how a real server reacts.

Whatever one connection does, another one's calls are answered. Where the server deviates from the RFC the
case says so.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from h2.errors import ErrorCodes as Code
from hyperframe.frame import (
    ContinuationFrame,
    DataFrame,
    GoAwayFrame,
    PingFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)

from cifar10net.pb import classifier_pb2 as pb
from tests.service.raw_client import (
    CLASSIFY,
    EMPTY_MESSAGE,
    LIST_MODELS,
    PREFACE,
    WATCH,
    Peer,
    Wire,
    framed,
    head,
    raw_frame,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = (
    range(10)
)
END_STREAM, END_HEADERS, PADDED, WITH_PRIORITY = 1, 4, 8, 32
LARGEST_WINDOW = 2**31 - 1
LITERAL = b"\x00"


@dataclass(frozen=True)
class Case:
    """What is sent, and what becomes of it: the connection ends, stream 1 ends, or nothing happens."""

    name: str
    send: Callable[[Wire], None]
    goodbye: Code | None = None
    reset: Code | None = None


def _raw(kind: int, flags: int, stream_id: int, payload: bytes = b"") -> Callable[[Wire], None]:
    return lambda wire: wire.send(raw_frame(kind, flags, stream_id, payload))


def _headers(flags: int, payload: Callable[[Wire], bytes]) -> Callable[[Wire], None]:
    return lambda wire: wire.send(raw_frame(HEADERS, flags, 1, payload(wire)))


def _block(wire: Wire) -> bytes:
    return wire.encoder.encode(head())


def _then(*steps: Callable[[Wire], None]) -> Callable[[Wire], None]:
    def send(wire: Wire) -> None:
        for step in steps:
            step(wire)

    return send


def _open(stream_id: int = 1, path: str = LIST_MODELS, *, ended: bool = False) -> Callable[[Wire], None]:
    return lambda wire: wire.open(stream_id, head(path), ended=ended)


def _watch(wire: Wire) -> None:
    """Leave stream 1 half-closed: its request has ended, its answer goes on."""
    wire.open(1, head(WATCH))
    wire.data(1, EMPTY_MESSAGE, ended=True)
    wire.read_until(lambda _: bool(wire.so_far(1).data))


def _ask(wire: Wire) -> None:
    """Leave stream 1 closed."""
    assert wire.ask(1).status == 0


def _fields(*fields: tuple[str, str]) -> Callable[[Wire], None]:
    return lambda wire: wire.open(1, list(fields), ended=True)


def _also(name: str, value: str) -> Callable[[Wire], None]:
    return lambda wire: wire.open(1, head(LIST_MODELS, (name, value)), ended=True)


def _without(name: str) -> Callable[[Wire], None]:
    return lambda wire: wire.open(1, head(without=[name]), ended=True)


def _settings(key: int, value: int) -> Callable[[Wire], None]:
    return lambda wire: wire.send(SettingsFrame(0, settings={key: value}))


def _literal_fields(*fields: tuple[bytes, bytes]) -> Callable[[Wire], bytes]:
    return lambda _: b"".join(
        LITERAL + bytes([len(name)]) + name + bytes([len(value)]) + value for name, value in fields
    )


BROKEN_PREFACES = [
    ("junk", b"\x00" * 40),
    ("a preface that goes wrong at its end", PREFACE[:-1] + b"!" + SettingsFrame(0).serialize()),
    ("a preface without SETTINGS", PREFACE + PingFrame(0, b"12345678").serialize()),
    ("a preface with a reply to SETTINGS", PREFACE + SettingsFrame(0, flags=["ACK"]).serialize()),
]

CASES = [
    # 4.1, 5.5: what is unknown
    Case("frames of unknown types are ignored", _raw(0xEE, 0xFF, 7, b"what?")),
    Case("unknown flags are ignored", _raw(PING, 0xFE, 0, b"12345678")),
    Case("the reserved bit is ignored", _raw(PING, 0, 1 << 31, b"12345678")),
    Case("unknown settings are ignored", _settings(0x99, 7)),
    # 4.2: frame sizes
    Case(
        "DATA over the frame size",
        _then(_open(), _raw(DATA, 0, 1, bytes(16_385))),
        goodbye=Code.FRAME_SIZE_ERROR,
    ),
    Case("HEADERS over the frame size", _raw(HEADERS, 4, 1, bytes(16_385)), goodbye=Code.FRAME_SIZE_ERROR),
    Case("an unknown frame over the size", _raw(0xEE, 0, 1, bytes(16_385)), goodbye=Code.FRAME_SIZE_ERROR),
    # 4.3: header blocks
    Case("a damaged block", _raw(HEADERS, 5, 1, b"\xff" * 9), goodbye=Code.COMPRESSION_ERROR),
    Case("a block that is cut off", _raw(HEADERS, 5, 1, b"\x00\x05te"), goodbye=Code.COMPRESSION_ERROR),
    Case("an index of nothing", _raw(HEADERS, 5, 1, b"\x80"), goodbye=Code.COMPRESSION_ERROR),
    Case("an index beyond the table", _raw(HEADERS, 5, 1, b"\xbe"), goodbye=Code.COMPRESSION_ERROR),
    Case("damaged Huffman coding", _raw(HEADERS, 5, 1, b"\x00\x84\xff\xff\xff\xff"), Code.COMPRESSION_ERROR),
    Case("a table over its size", _raw(HEADERS, 5, 1, b"\x3f\xe2\x1f"), goodbye=Code.COMPRESSION_ERROR),
    Case("a table's change after a field", _raw(HEADERS, 5, 1, b"\x82\x20"), goodbye=Code.COMPRESSION_ERROR),
    Case(
        "a block interrupted by a frame",
        _then(_headers(0, _block), _raw(PING, 0, 0, bytes(8))),
        goodbye=Code.PROTOCOL_ERROR,
    ),
    Case(
        "a block interrupted by an unknown frame",
        _then(_headers(0, _block), _raw(0xEE, 0, 1)),
        goodbye=Code.PROTOCOL_ERROR,
    ),
    Case(
        "a block interrupted by another stream's",
        _then(_headers(0, _block), _open(3)),
        goodbye=Code.PROTOCOL_ERROR,
    ),
    # 5.1: streams that are idle
    Case("DATA of an idle stream", _raw(DATA, 0, 1, b"1"), goodbye=Code.PROTOCOL_ERROR),
    Case("RST_STREAM of an idle stream", _raw(RST_STREAM, 0, 1, bytes(4)), goodbye=Code.PROTOCOL_ERROR),
    Case(
        "WINDOW_UPDATE of an idle stream", _raw(WINDOW_UPDATE, 0, 1, b"\0\0\0\1"), goodbye=Code.PROTOCOL_ERROR
    ),
    Case(
        "WINDOW_UPDATE of a stream of the server's",
        _then(_ask, _raw(WINDOW_UPDATE, 0, 2, b"\0\0\0\1"), _raw(WINDOW_UPDATE, 0, 4, b"\0\0\0\1")),
        goodbye=Code.PROTOCOL_ERROR,
    ),
    Case("PRIORITY of an idle stream is ignored", _raw(PRIORITY, 0, 1, bytes(5))),
    # half-closed
    Case("DATA behind the request", _then(_watch, _raw(DATA, 0, 1, b"1")), reset=Code.STREAM_CLOSED),
    Case("HEADERS behind the request", _then(_watch, _open(ended=True)), reset=Code.STREAM_CLOSED),
    Case("WINDOW_UPDATE behind the request", _then(_watch, _raw(WINDOW_UPDATE, 0, 1, b"\0\0\0\1"))),
    # closed: the server forgets a stream with its end, and takes what comes then for what was on its way
    Case("DATA of a closed stream is ignored (deviation)", _then(_ask, _raw(DATA, 0, 1, b"1"))),
    Case("trailers of a closed stream are ignored (deviation)", _then(_ask, _fields(("a", "b")))),
    Case("RST_STREAM of a closed stream is ignored", _then(_ask, _raw(RST_STREAM, 0, 1, bytes(4)))),
    Case("WINDOW_UPDATE of a closed stream is ignored", _then(_ask, _raw(WINDOW_UPDATE, 0, 1, b"\0\0\0\1"))),
    Case("PRIORITY of a closed stream is ignored", _then(_ask, _raw(PRIORITY, 0, 1, bytes(5)))),
    Case(
        "a stream is opened twice (PROTOCOL_ERROR for STREAM_CLOSED)",
        _then(_ask, _open()),
        goodbye=Code.PROTOCOL_ERROR,
    ),
    # 5.1.1: stream identifiers
    Case("a client opens an even stream", _open(2, ended=True), goodbye=Code.PROTOCOL_ERROR),
    Case(
        "a stream below one that was open", _then(_open(5), _open(3, ended=True)), goodbye=Code.PROTOCOL_ERROR
    ),
    # 5.3: priorities mean nothing any more
    Case("a stream may depend on itself", _raw(PRIORITY, 0, 1, b"\0\0\0\1\x10")),
    # 6.1
    Case("DATA of stream 0", _raw(DATA, 0, 0, b"1"), goodbye=Code.PROTOCOL_ERROR),
    Case(
        "more padding than DATA",
        _then(_open(), _raw(DATA, PADDED, 1, b"\x06hello")),
        goodbye=Code.PROTOCOL_ERROR,
    ),
    Case("padded DATA without a length", _then(_open(), _raw(DATA, PADDED, 1)), goodbye=Code.PROTOCOL_ERROR),
    # 6.2
    Case("HEADERS of stream 0", _raw(HEADERS, 5, 0, b"\x83\x86\x84"), goodbye=Code.PROTOCOL_ERROR),
    Case("more padding than HEADERS", _raw(HEADERS, 5 | PADDED, 1, b"\x09\x83"), goodbye=Code.PROTOCOL_ERROR),
    Case(
        "HEADERS without their priority",
        _raw(HEADERS, 5 | WITH_PRIORITY, 1, b"\x83"),
        goodbye=Code.FRAME_SIZE_ERROR,
    ),
    # 6.3
    Case("PRIORITY of stream 0", _raw(PRIORITY, 0, 0, bytes(5)), goodbye=Code.PROTOCOL_ERROR),
    Case(
        "PRIORITY of 4 bytes (the connection's error, not the stream's)",
        _raw(PRIORITY, 0, 1, bytes(4)),
        goodbye=Code.FRAME_SIZE_ERROR,
    ),
    # 6.4
    Case("RST_STREAM of stream 0", _raw(RST_STREAM, 0, 0, bytes(4)), goodbye=Code.PROTOCOL_ERROR),
    Case("RST_STREAM of 3 bytes", _then(_open(), _raw(RST_STREAM, 0, 1, bytes(3))), Code.FRAME_SIZE_ERROR),
    # 6.5
    Case("a reply to SETTINGS with a payload", _raw(SETTINGS, 1, 0, bytes(6)), Code.FRAME_SIZE_ERROR),
    Case("SETTINGS of a stream", _raw(SETTINGS, 0, 1), goodbye=Code.PROTOCOL_ERROR),
    Case("SETTINGS of 5 bytes", _raw(SETTINGS, 0, 0, bytes(5)), goodbye=Code.FRAME_SIZE_ERROR),
    Case("ENABLE_PUSH of 2", _settings(2, 2), goodbye=Code.PROTOCOL_ERROR),
    Case("INITIAL_WINDOW_SIZE of 2^31", _settings(4, 1 << 31), goodbye=Code.FLOW_CONTROL_ERROR),
    Case("MAX_FRAME_SIZE of 16,383", _settings(5, 16_383), goodbye=Code.PROTOCOL_ERROR),
    Case("MAX_FRAME_SIZE of 2^24", _settings(5, 1 << 24), goodbye=Code.PROTOCOL_ERROR),
    # 6.6
    Case("PUSH_PROMISE by a client", _raw(PUSH_PROMISE, 4, 1, bytes(5)), goodbye=Code.PROTOCOL_ERROR),
    # 6.7
    Case("PING of a stream", _raw(PING, 0, 1, bytes(8)), goodbye=Code.PROTOCOL_ERROR),
    Case("PING of 6 bytes", _raw(PING, 0, 0, bytes(6)), goodbye=Code.FRAME_SIZE_ERROR),
    Case("a reply to no PING is ignored", _raw(PING, 1, 0, b"goodbye?")),
    # 6.8
    Case("GOAWAY of a stream", _raw(GOAWAY, 0, 1, bytes(8)), goodbye=Code.PROTOCOL_ERROR),
    Case("GOAWAY of 7 bytes", _raw(GOAWAY, 0, 0, bytes(7)), goodbye=Code.FRAME_SIZE_ERROR),
    # 6.9
    Case("the connection's window by 0", _raw(WINDOW_UPDATE, 0, 0, bytes(4)), goodbye=Code.PROTOCOL_ERROR),
    Case(
        "a stream's window by 0",
        _then(_open(), _raw(WINDOW_UPDATE, 0, 1, bytes(4))),
        reset=Code.PROTOCOL_ERROR,
    ),
    Case("WINDOW_UPDATE of 3 bytes", _raw(WINDOW_UPDATE, 0, 0, bytes(3)), goodbye=Code.FRAME_SIZE_ERROR),
    Case(
        "the connection's window overflows",
        lambda wire: wire.send(WindowUpdateFrame(0, LARGEST_WINDOW)),
        goodbye=Code.FLOW_CONTROL_ERROR,
    ),
    Case(
        "a stream's window overflows",
        _then(_open(), lambda wire: wire.send(WindowUpdateFrame(1, LARGEST_WINDOW))),
        reset=Code.FLOW_CONTROL_ERROR,
    ),
    Case(
        "a stream's window overflows by SETTINGS",
        _then(_open(), lambda wire: wire.send(WindowUpdateFrame(1, 1)), _settings(4, LARGEST_WINDOW)),
        goodbye=Code.FLOW_CONTROL_ERROR,
    ),
    # 6.10
    Case("CONTINUATION of nothing", _raw(CONTINUATION, 4, 1, b"\x83"), goodbye=Code.PROTOCOL_ERROR),
    Case(
        "CONTINUATION of a whole block",
        _then(_open(), _raw(CONTINUATION, 4, 1, b"\x83")),
        goodbye=Code.PROTOCOL_ERROR,
    ),
    Case(
        "CONTINUATION of another stream's block",
        _then(_headers(0, _block), _raw(CONTINUATION, 4, 3, b"\x83")),
        goodbye=Code.PROTOCOL_ERROR,
    ),
    Case(
        "CONTINUATION without anything, which could go on for ever",
        _then(_headers(0, _block), _raw(CONTINUATION, 0, 1)),
        goodbye=Code.ENHANCE_YOUR_CALM,
    ),
    Case(
        "a block over its limit",
        _then(_headers(0, _block), *[_raw(CONTINUATION, 0, 1, bytes(16_000))] * 9),
        goodbye=Code.ENHANCE_YOUR_CALM,
    ),
    # 8.1 to 8.3: malformed requests
    Case("an upper-case name", _headers(5, _literal_fields((b"X", b"y"))), reset=Code.PROTOCOL_ERROR),
    Case("a name of nothing", _also("", "y"), reset=Code.PROTOCOL_ERROR),
    Case("a name with a space", _also("a b", "y"), reset=Code.PROTOCOL_ERROR),
    Case("a value with a line's end", _also("a", "b\r\nc"), reset=Code.PROTOCOL_ERROR),
    Case("a value with a zero", _also("a", "b\0c"), reset=Code.PROTOCOL_ERROR),
    Case(
        "an unknown pseudo-field",
        lambda wire: wire.open(1, [(":a", "b"), *head()]),
        reset=Code.PROTOCOL_ERROR,
    ),
    Case(
        "a response's field",
        lambda wire: wire.open(1, [(":status", "200"), *head()]),
        reset=Code.PROTOCOL_ERROR,
    ),
    Case("a pseudo-field behind the others", _also(":path", "/"), reset=Code.PROTOCOL_ERROR),
    Case(
        "a pseudo-field twice",
        lambda wire: wire.open(1, [(":path", "/"), *head()]),
        reset=Code.PROTOCOL_ERROR,
    ),
    Case("no method", _without(":method"), reset=Code.PROTOCOL_ERROR),
    Case("no scheme", _without(":scheme"), reset=Code.PROTOCOL_ERROR),
    Case("no path", _without(":path"), reset=Code.PROTOCOL_ERROR),
    Case("an empty path", lambda wire: wire.open(1, head(""), ended=True), reset=Code.PROTOCOL_ERROR),
    Case("no pseudo-field at all", _fields(("a", "b")), reset=Code.PROTOCOL_ERROR),
    Case("a connection's field", _also("connection", "close"), reset=Code.PROTOCOL_ERROR),
    Case("a transfer encoding", _also("transfer-encoding", "chunked"), reset=Code.PROTOCOL_ERROR),
    Case(
        "te other than trailers",
        lambda wire: wire.open(1, head(LIST_MODELS, ("te", "gzip"), without=["te"])),
        reset=Code.PROTOCOL_ERROR,
    ),
    Case(
        "trailers that do not end the request",
        _then(_open(), lambda wire: wire.open(1, [("a", "b")])),
        reset=Code.PROTOCOL_ERROR,
    ),
    Case(
        "trailers with a pseudo-field",
        _then(_open(), lambda wire: wire.open(1, [(":path", "/")], ended=True)),
        reset=Code.PROTOCOL_ERROR,
    ),
    Case("trailers like a request", _then(_open(), _open(ended=True)), reset=Code.PROTOCOL_ERROR),
]


@pytest.fixture
def wire(server: str) -> Iterator[Wire]:
    with Wire(server) as wire:
        yield wire


@pytest.fixture(scope="module")
def bystander(server: str) -> Iterator[Peer]:
    """Another client, whose calls are answered whatever happens."""
    with Peer(server) as peer:
        yield peer


def _is_answered(peer: Peer) -> bool:
    return peer.answer(peer.begin(LIST_MODELS, EMPTY_MESSAGE)).status == 0


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_server_reacts_to_what_a_client_sends(wire: Wire, bystander: Peer, case: Case) -> None:
    case.send(wire)

    if case.goodbye is not None:
        assert wire.goodbye().error_code == case.goodbye
    else:
        if case.reset is not None:
            assert wire.answer(1).reset == case.reset
        assert wire.ask(101).status == 0
        assert not [frame for frame in wire.frames if isinstance(frame, GoAwayFrame)]
    assert _is_answered(bystander)


@pytest.mark.parametrize(("name", "data"), BROKEN_PREFACES)
def test_a_broken_preface_ends_the_connection(server: str, bystander: Peer, name: str, data: bytes) -> None:
    with Wire(server, preface=False) as wire:
        wire.send(data)

        assert wire.goodbye().error_code == Code.PROTOCOL_ERROR, name
    assert _is_answered(bystander)


def test_http_1_is_answered_in_http_1(server: str) -> None:
    with Wire(server, preface=False) as wire:
        wire.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")

        answer = b""
        while data := wire.socket.recv(4096):
            answer += data

    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"gRPC" in answer


def test_the_server_begins_with_settings_and_acknowledges_the_clients(wire: Wire) -> None:
    wire.send(SettingsFrame(0))
    wire.fence()

    first, *others = wire.frames
    assert isinstance(first, SettingsFrame)
    assert first.settings[SettingsFrame.MAX_CONCURRENT_STREAMS] > 100
    replies = [frame for frame in others if isinstance(frame, SettingsFrame) and "ACK" in frame.flags]
    assert len(replies) == 2


def test_a_ping_comes_back_with_its_own_bytes(wire: Wire) -> None:
    wire.send(PingFrame(0, b"8 bytes!"))

    wire.read_until(lambda frame: isinstance(frame, PingFrame))

    assert isinstance(wire.frames[-1], PingFrame)
    assert (wire.frames[-1].opaque_data, set(wire.frames[-1].flags)) == (b"8 bytes!", {"ACK"})


def test_a_client_that_goes_away_still_gets_its_answers(wire: Wire) -> None:
    wire.send(GoAwayFrame(0))

    assert wire.ask(1).status == 0


def test_streams_beyond_the_limit_are_refused(wire: Wire) -> None:
    most = 1_024
    for stream_id in range(1, 2 * most + 2, 2):
        wire.open(stream_id, head(WATCH))

    assert wire.answer(2 * most + 1).reset == Code.REFUSED_STREAM

    wire.send(RstStreamFrame(1, Code.CANCEL))
    assert wire.ask(2 * most + 3).status == 0


def test_padding_priority_and_continuation_change_nothing(wire: Wire) -> None:
    block = wire.encoder.encode(head())
    wire.send(
        raw_frame(HEADERS, PADDED | WITH_PRIORITY, 1, b"\x03\0\0\0\x07\xff" + block[:7] + bytes(3)),
        ContinuationFrame(1, block[7:9]),
        ContinuationFrame(1, block[9:]),
        ContinuationFrame(1, b"", flags=["END_HEADERS"]),
        DataFrame(1, EMPTY_MESSAGE[:2], pad_length=200, flags=["PADDED"]),
        DataFrame(1, EMPTY_MESSAGE[2:], pad_length=0, flags=["PADDED", "END_STREAM"]),
    )

    assert wire.answer(1).status == 0


def test_trailers_of_a_request_end_it(wire: Wire) -> None:
    wire.open(1)
    wire.data(1, EMPTY_MESSAGE)
    wire.open(1, [("checksum", "7")], ended=True)

    assert wire.answer(1).status == 0


def test_a_block_is_a_head_and_then_trailers_and_never_taken_for_the_other(wire: Wire) -> None:
    """The server remembers blocks: the same bytes must mean what their place says."""
    encode = wire.encoder.encode
    encode(head())  # not sent: the next ones refer to the table
    wire.encoder = type(wire.encoder)()
    trailers = b"\x00\x01a\x01b"
    request = b"".join(
        LITERAL + bytes([len(name)]) + name.encode() + bytes([len(value)]) + value.encode()
        for name, value in head()
    )
    for stream_id in (1, 3, 5):
        wire.send(raw_frame(HEADERS, END_HEADERS, stream_id, request))
        wire.data(stream_id, EMPTY_MESSAGE)
        wire.send(raw_frame(HEADERS, END_HEADERS | END_STREAM, stream_id, trailers))
        assert wire.answer(stream_id).status == 0
    wire.send(raw_frame(HEADERS, END_HEADERS | END_STREAM, 7, trailers))
    assert wire.answer(7).reset == Code.PROTOCOL_ERROR


# -- 6.9: what the server sends keeps within the windows; h2 fails where it does not


def test_an_answer_comes_byte_by_byte_if_the_window_is_one_byte(server: str) -> None:
    with Peer(server) as peer:
        whole = peer.answer(peer.begin(LIST_MODELS, EMPTY_MESSAGE)).data
        peer.set(INITIAL_WINDOW_SIZE=1)
        peer.fence()

        stream_id = peer.begin(LIST_MODELS, EMPTY_MESSAGE)
        for size in range(1, 20):
            peer.read_until(lambda size=size: len(peer.so_far(stream_id).data) == size)  # type: ignore[misc]
            peer.widen(stream_id, 1)
        peer.widen(stream_id, 10_000)

        answer = peer.answer(stream_id)
    assert (answer.status, answer.data) == (0, whole)


def test_a_window_that_settings_made_negative_is_first_filled_up(server: str) -> None:
    with Peer(server) as peer:
        peer.set(INITIAL_WINDOW_SIZE=10)
        peer.fence()
        stream_id = peer.begin(LIST_MODELS, EMPTY_MESSAGE)
        peer.read_until(lambda: len(peer.so_far(stream_id).data) == 10)

        peer.set(INITIAL_WINDOW_SIZE=0)
        peer.fence()
        peer.widen(stream_id, 10)  # from -10 to 0
        peer.fence()
        assert len(peer.so_far(stream_id).data) == 10
        peer.widen(stream_id, 3)
        peer.read_until(lambda: len(peer.so_far(stream_id).data) == 13)
        peer.fence()
        assert len(peer.so_far(stream_id).data) == 13

        peer.set(INITIAL_WINDOW_SIZE=100_000)
        assert peer.answer(stream_id).status == 0


def test_the_connections_window_is_shared_and_kept(server: str) -> None:
    request = pb.ClassifyRequest(packed_pixels=bytes(3072 * 1000)).SerializeToString()
    with Peer(server, INITIAL_WINDOW_SIZE=1 << 20) as peer:
        streams = [peer.begin(CLASSIFY, framed(request)) for _ in range(2)]

        def received() -> int:
            return sum(len(peer.so_far(stream_id).data) for stream_id in streams)

        peer.read_until(lambda: received() == 65_535)
        peer.fence()
        assert received() == 65_535
        peer.widen(0, 1 << 20)

        answers = [peer.answer(stream_id) for stream_id in streams]
    for answer in answers:
        assert answer.status == 0
        assert len(pb.ClassifyResponse.FromString(answer.messages[0]).results) == 1000


def test_a_client_that_sends_beyond_a_streams_window_is_stopped(server: str) -> None:
    with Wire(server) as wire:
        wire.open(1, head("/cifar10net.v1.Classifier/ClassifyStream"))
        # One message at the front that is never answered, since it has to be whole for that.
        wire.data(1, struct.pack(">BL", 0, 32 << 20) + bytes(8 << 20))
        wire.fence()
        assert wire.so_far(1).reset is None  # half a message is let through: it could not come otherwise
        wire.send(RstStreamFrame(1, Code.CANCEL))
        assert wire.ask(3).status == 0


def test_the_last_of_several_window_sizes_in_one_frame_counts(wire: Wire) -> None:
    entries = [struct.pack(">HL", 4, size) for size in (0, 5, 1 << 20)]
    wire.send(raw_frame(SETTINGS, 0, 0, b"".join(entries)))

    assert wire.ask(1).status == 0
