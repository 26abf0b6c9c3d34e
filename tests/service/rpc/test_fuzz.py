"""Whatever a client sends, no exception escapes, only frames are written, and all memory is freed."""

from __future__ import annotations

import asyncio
import struct
from typing import TYPE_CHECKING, Any

import pytest
from hpack import Encoder
from hyperframe.frame import SettingsFrame
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.service.in_process import ECHO, HANG, TALK, Line, server_of, settle
from tests.service.raw_client import PREFACE, framed, head, raw_frame

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

GREETING = PREFACE + SettingsFrame(0).serialize()
FAR_AHEAD_S = 1_000.0
Step = bytes | str
"""Bytes to send, or what else happens."""


@pytest.fixture(scope="module")
def survive() -> Iterator[Callable[[Sequence[Step]], None]]:
    """Return a function that has a server of its own go through some steps."""
    loop = asyncio.new_event_loop()
    escaped: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _, context: escaped.append(context))

    def go(steps: Sequence[Step]) -> None:
        loop.run_until_complete(_go_through(steps))
        assert not escaped

    yield go
    loop.close()


async def _go_through(steps: Sequence[Step]) -> None:
    server = server_of(max_streams=4, max_held_bytes=1 << 16, max_message_bytes=1 << 14)
    line = Line(server, greet=False)
    now_s = asyncio.get_running_loop().time
    events: dict[str, Callable[[], Any]] = {
        "tick": lambda: line.connection.tick(now_s()),
        "late tick": lambda: line.connection.tick(now_s() + FAR_AHEAD_S),
        "pause": line.connection.pause_writing,
        "resume": line.connection.resume_writing,
        "goodbye": line.connection.shut_down,
        "stop": lambda: [call.stop() for call in list(server._streaming_calls)],  # type: ignore[func-returns-value]
    }
    for step in steps:
        if isinstance(step, bytes):
            line.send(step)
        elif step == "turn":
            await settle(5)
        else:
            events[step]()
        assert server.held_bytes >= 0
        for stream in line.connection._streams.values():
            assert stream.unread_bytes >= 0
    await settle(5)

    line.transport.close()
    await settle(5)
    assert line.transport.written.startswith(b"HTTP/1.1 400 ") or line.transport.frames() is not None
    assert (server.held_bytes, server.calls, server.connections) == (0, 0, 0)
    assert not server._streaming_calls
    await server.close()
    assert asyncio.all_tasks() == {asyncio.current_task()}


@settings(max_examples=300, deadline=None)
@given(data=st.lists(st.binary(max_size=200), max_size=5))
def test_any_bytes_behind_the_preface(survive: Callable[[Sequence[Step]], None], data: list[bytes]) -> None:
    survive([GREETING, *data])


@settings(max_examples=300, deadline=None)
@given(data=st.lists(st.one_of(st.binary(max_size=40), st.sampled_from([PREFACE, GREETING[:30], b"GET /"]))))
def test_any_bytes_at_all(survive: Callable[[Sequence[Step]], None], data: list[bytes]) -> None:
    survive(data)


def _block(*fields: tuple[str, str]) -> bytes:
    return Encoder().encode([(name, value, True) for name, value in fields])  # leaves every table as it is


STREAMS = st.sampled_from([1, 1, 1, 3, 3, 5, 7, 9, 11, 0, 2, 2**31 - 1])
HEADS = st.sampled_from(
    [
        *[_block(*head(path)) for path in (ECHO, HANG, TALK, TALK, "/test/None")],
        _block(*head(ECHO, ("grpc-encoding", "gzip"))),
        _block(*head(TALK, ("grpc-encoding", "deflate"))),
        _block(*head(ECHO, ("grpc-timeout", "1n"))),
        _block(*head(TALK, ("grpc-timeout", "0S"))),
        _block(*head(TALK, ("grpc-timeout", "now"))),
        _block(*head(ECHO, without=[":path"])),
        _block(("a", "b")),
        _block((":status", "200")),
        b"",
    ]
)
MESSAGES = st.lists(
    st.one_of(
        st.binary(max_size=30).map(framed),
        st.just(framed(b"\x1f\x8b", compressed=True)),
        st.just(framed(bytes(9_000))),
        st.just(struct.pack(">BL", 0, 10_000)),
        st.just(struct.pack(">BL", 0, 1 << 20)),
        st.binary(max_size=8),
    ),
    max_size=5,
).map(b"".join)
NUMBERS = st.sampled_from([0, 1, 10, 16_384, 65_535, 1 << 20, 2**31 - 1, 2**31, 2**32 - 1])


def _frames() -> st.SearchStrategy[bytes]:
    """Frames of which most are valid in themselves, and many in their place."""
    return st.one_of(
        st.builds(raw_frame, st.just(1), st.sampled_from([4, 5, 4, 5, 0, 0x2C]), STREAMS, HEADS),
        st.builds(raw_frame, st.just(0), st.sampled_from([0, 1, 0, 1, 8]), STREAMS, MESSAGES),
        st.builds(raw_frame, st.just(2), st.just(0), STREAMS, st.just(bytes(5))),
        st.builds(raw_frame, st.just(3), st.just(0), STREAMS, st.just(bytes(4))),
        st.builds(
            raw_frame,
            st.just(4),
            st.just(0),
            st.just(0),
            st.builds(struct.pack, st.just(">HL"), st.sampled_from([1, 2, 3, 4, 4, 4, 5, 6, 9]), NUMBERS),
        ),
        st.builds(
            raw_frame, st.just(6), st.integers(0, 1), st.just(0), st.sampled_from([b"goodbye?", bytes(8)])
        ),
        st.builds(raw_frame, st.just(7), st.just(0), st.just(0), st.just(bytes(8))),
        st.builds(raw_frame, st.just(8), st.just(0), STREAMS, NUMBERS.map(lambda n: struct.pack(">L", n))),
        st.builds(raw_frame, st.just(9), st.sampled_from([0, 4]), STREAMS, HEADS),
        st.builds(raw_frame, st.integers(0, 12), st.integers(0, 255), STREAMS, st.binary(max_size=20)),
    )


EVENTS = st.sampled_from(["turn", "turn", "turn", "tick", "late tick", "pause", "resume", "goodbye", "stop"])


@settings(max_examples=500, deadline=None)
@given(steps=st.lists(st.one_of(_frames(), _frames(), EVENTS), max_size=25))
def test_frames_in_any_order(survive: Callable[[Sequence[Step]], None], steps: list[Step]) -> None:
    survive([GREETING, *steps])


SESSION = [
    GREETING,
    raw_frame(4, 1, 0),
    raw_frame(1, 4, 1, _block(*head(ECHO))),
    raw_frame(0, 1, 1, framed(b"hello")),
    raw_frame(1, 4, 3, _block(*head(TALK))),
    raw_frame(0, 0, 3, framed(b"one") + framed(b"two")[:4]),
    raw_frame(8, 0, 0, struct.pack(">L", 1000)),
    raw_frame(6, 0, 0, b"ping....")[:12],
    raw_frame(6, 0, 0, b"ping....")[12:],
    raw_frame(1, 4, 5, _block(*head(HANG))),
    raw_frame(0, 1, 5, framed(bytes(3000))),
    raw_frame(0, 1, 3, framed(b"two")[4:]),
    raw_frame(3, 0, 5, struct.pack(">L", 8)),
    raw_frame(1, 0, 7, _block(*head(ECHO))[:9]),
    raw_frame(9, 4, 7, _block(*head(ECHO))[9:]),
    raw_frame(0, 9, 7, b"\x03" + framed(b"last") + bytes(3)),
    raw_frame(7, 0, 0, bytes(8)),
]


@settings(max_examples=500, deadline=None)
@given(data=st.data())
def test_a_recorded_session_with_mistakes(
    survive: Callable[[Sequence[Step]], None], data: st.DataObject
) -> None:
    steps: list[Step] = list(SESSION)
    for _ in range(data.draw(st.integers(0, 6))):
        at = data.draw(st.integers(0, len(steps) - 1))
        step = steps[at]
        match data.draw(st.sampled_from(["drop", "repeat", "swap", "flip", "cut", "event"])):
            case "drop" if len(steps) > 1:
                del steps[at]
            case "repeat":
                steps.insert(at, step)
            case "swap":
                steps[at], steps[-1] = steps[-1], steps[at]
            case "flip" if isinstance(step, bytes) and step:
                position = data.draw(st.integers(0, len(step) - 1))
                value = data.draw(st.integers(0, 255))
                steps[at] = step[:position] + bytes([value]) + step[position + 1 :]
            case "cut" if isinstance(step, bytes) and step:
                steps[at] = step[: data.draw(st.integers(0, len(step) - 1))]
            case _:
                steps.insert(at, data.draw(EVENTS))
    survive(steps)


def test_the_recorded_session_itself_is_answered(survive: Callable[[Sequence[Step]], None]) -> None:
    survive(SESSION)
