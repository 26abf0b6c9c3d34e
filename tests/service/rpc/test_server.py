"""Connections and calls of an RpcServer: how they end, what they hold, and what they wait for."""

from __future__ import annotations

import asyncio
import functools
import gzip
import struct
from typing import TYPE_CHECKING, Any

import pytest
from hyperframe.frame import (
    ContinuationFrame,
    DataFrame,
    GoAwayFrame,
    HeadersFrame,
    PingFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)

from service.errors import NotServingError
from service.http2.connection import MAX_UNSENT_BYTES
from service.http2.stream import STREAM_WINDOW
from service.http2.timeouts import Timeouts
from service.rpc.call import STREAM_COST_BYTES, Call
from service.rpc.method import Method
from service.rpc.request_head import RequestHead
from tests.service.in_process import ECHO, HANG, TALK, Line, server_of, settle, until
from tests.service.raw_client import PREFACE, framed, head, raw_frame, unframed

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from service.rpc.context import StreamContext, UnaryContext


TIMEOUTS = Timeouts(handshake_s=10, keepalive_s=60, keepalive_timeout_s=20, stall_s=30, goaway_s=1)


def in_a_loop(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Run a test in an event loop of its own, in which no error goes unheard."""

    def run(**arguments: Any) -> None:
        async def main() -> None:
            escaped: list[dict[str, Any]] = []
            asyncio.get_running_loop().set_exception_handler(lambda _, context: escaped.append(context))
            await test(**arguments)
            await settle()
            assert not escaped

        asyncio.run(main())

    functools.update_wrapper(run, test)  # its name, and the arguments that pytest gives it
    return run


def now_s() -> float:
    return asyncio.get_running_loop().time()


def statuses(line: Line) -> dict[int, str]:
    """Return the grpc-status of each stream that has one."""
    found = {}
    for frame in line.frames(HeadersFrame):
        for name, value in line.decoder.decode(frame.data):
            if str(name) == "grpc-status":
                found[frame.stream_id] = str(value)
    return found


def data_of(line: Line, stream_id: int) -> bytes:
    return b"".join(frame.data for frame in line.frames(DataFrame) if frame.stream_id == stream_id)


# -- drain


@in_a_loop
async def test_goaway_is_sent_twice_and_streams_that_cross_the_first_are_answered() -> None:
    server = server_of()
    line = Line(server)
    line.open(1, HANG)
    line.send(DataFrame(1, framed(b""), flags=["END_STREAM"]))
    await settle()
    line.connection.shut_down()

    line.open(3, ECHO)
    line.send(DataFrame(3, framed(b"crossed"), flags=["END_STREAM"]))
    await settle()
    assert unframed(data_of(line, 3)) == [b"crossed"]
    ping = line.frames(PingFrame)[-1]
    line.send(PingFrame(0, ping.opaque_data, flags=["ACK"]))
    line.open(5, ECHO)
    line.send(DataFrame(5, framed(b"late"), flags=["END_STREAM"]))
    await settle()

    assert [frame.last_stream_id for frame in line.frames(GoAwayFrame)] == [2**31 - 1, 3]
    assert statuses(line) == {3: "0"}
    assert not line.transport.has_eof
    line.send(RstStreamFrame(1, 8))
    assert line.transport.has_eof  # the last stream is over
    assert not line.transport.is_closing()
    line.send(PingFrame(0, bytes(8)), raw_frame(0, 0, 77, b"whatever"))  # is not even read
    line.connection.tick(now_s() + 2)
    assert line.transport.was_aborted
    await settle()
    assert server.connections == 0
    await server.close()


@in_a_loop
async def test_an_idle_connection_is_closed_as_soon_as_the_client_knows() -> None:
    server = server_of()
    line = Line(server)
    draining = asyncio.create_task(server.drain(20))
    await settle()
    assert not line.transport.has_eof

    line.send(PingFrame(0, line.frames(PingFrame)[-1].opaque_data, flags=["ACK"]))

    assert line.transport.has_eof
    assert line.frames(GoAwayFrame)[-1].last_stream_id == 0
    line.transport.close()  # as when the client closes
    assert await draining
    await server.close()


@in_a_loop
async def test_a_client_that_never_replies_is_still_disconnected() -> None:
    server = server_of()
    line = Line(server)
    line.open(1, HANG)
    line.connection.shut_down()

    line.connection.tick(now_s() + 0.5)
    assert len(line.frames(GoAwayFrame)) == 1
    line.connection.tick(now_s() + 2)
    assert [frame.last_stream_id for frame in line.frames(GoAwayFrame)] == [2**31 - 1, 1]
    line.connection.tick(now_s() + 4)
    assert not line.transport.is_closing()  # a call is still unanswered

    line.send(RstStreamFrame(1, 8))
    assert line.transport.has_eof
    line.connection.tick(now_s() + 0.5)
    assert not line.transport.is_closing()
    line.connection.tick(now_s() + 2)
    assert line.transport.was_aborted
    await server.close()


@in_a_loop
async def test_an_answer_that_is_not_sent_yet_is_not_cut_off_by_the_goaway() -> None:
    server = server_of(timeouts=Timeouts(stall_s=100, keepalive_s=10, keepalive_timeout_s=1_000))
    line = Line(server)
    line.connection.shut_down()
    line.connection.tick(now_s() + 2)
    assert line.transport.has_eof
    line.transport.unsent = 100_000

    line.connection.tick(now_s() + 20)  # asks nothing: all is said
    assert not line.transport.is_closing()
    line.connection.tick(now_s() + 101)
    assert line.transport.was_aborted
    await server.close()


@pytest.mark.parametrize("start", [b"", PREFACE[:10], PREFACE])
@in_a_loop
async def test_a_client_that_connects_during_the_drain_gets_settings_and_a_goaway(start: bytes) -> None:
    server = server_of()
    draining = asyncio.create_task(server.drain(20))
    busy = Line(server)
    busy.open(1, HANG)
    line = Line(server, greet=False)
    line.send(start)
    await settle()

    first, *_, last = line.transport.frames()
    assert isinstance(first, SettingsFrame)
    assert isinstance(last, GoAwayFrame)
    assert last.last_stream_id == 0
    assert line.transport.has_eof
    line.connection.tick(now_s() + 2)
    assert line.transport.was_aborted
    draining.cancel()
    await server.close()


@in_a_loop
async def test_a_drain_asks_streams_to_end_and_answers_what_has_come() -> None:
    let_through = asyncio.Event()

    async def slow_talk(call: StreamContext) -> None:
        while (message := await call.receive()) is not None:
            await let_through.wait()
            await call.send(message)
            call.release()
        raise NotServingError("stopping")

    server = server_of(Method("/test/SlowTalk", stream=slow_talk))
    line = Line(server)
    line.open(1, "/test/SlowTalk")
    line.send(DataFrame(1, framed(b"a") + framed(b"b") + framed(b"c")))
    await settle()
    draining = asyncio.create_task(server.drain(20))
    await settle()
    line.send(DataFrame(1, framed(b"too late")))
    let_through.set()
    await settle()

    assert unframed(data_of(line, 1)) == [b"a", b"b", b"c"]
    assert statuses(line) == {1: "14"}
    line.transport.close()
    assert await draining
    assert server.held_bytes == 0
    await server.close()


@in_a_loop
async def test_the_drain_says_whether_all_was_answered_in_time() -> None:
    server = server_of()
    line = Line(server)
    line.open(1, HANG)

    assert not await server.drain(0.01)

    line.send(RstStreamFrame(1, 8))
    assert await server.drain(0.01)  # nothing is unanswered although the connection is still there
    await server.close()


# -- timeouts


@in_a_loop
async def test_a_handshake_has_an_end() -> None:
    server = server_of(timeouts=TIMEOUTS)
    line = Line(server, greet=False)
    for byte in PREFACE[:20]:  # however it trickles in
        line.send(bytes([byte]))
    line.connection.last_received_s = now_s() + 9

    line.connection.tick(now_s() + 9)
    assert not line.transport.is_closing()
    line.connection.tick(now_s() + 11)
    assert line.transport.was_aborted
    await server.close()


@in_a_loop
async def test_a_silent_client_is_asked_and_then_given_up() -> None:
    server = server_of(timeouts=TIMEOUTS)
    line = Line(server)

    line.connection.tick(now_s() + 59)
    assert not line.frames(PingFrame)
    line.connection.tick(now_s() + 61)
    line.connection.tick(now_s() + 80)
    assert len(line.frames(PingFrame)) == 1
    assert not line.transport.is_closing()
    line.connection.tick(now_s() + 82)
    assert line.transport.was_aborted
    await server.close()


@in_a_loop
async def test_a_silent_client_that_replies_is_asked_again_and_kept() -> None:
    server = server_of(timeouts=TIMEOUTS)
    line = Line(server)
    for round_ in range(1, 5):
        time_s = now_s() + round_ * 61
        line.connection.tick(time_s)
        line.connection.last_received_s = time_s  # the reply, within the clock's resolution
        line.connection.tick(time_s + 30)

        assert len(line.frames(PingFrame)) == round_
        assert not line.transport.is_closing()
    line.transport.close()
    await server.close()


@pytest.mark.parametrize("data", [b"", framed(bytes(100))[:50]], ids=["head only", "half a message"])
@in_a_loop
async def test_half_a_request_is_not_waited_for(data: bytes) -> None:
    server = server_of(timeouts=TIMEOUTS)
    line = Line(server)
    line.open(1, ECHO)
    line.send(DataFrame(1, data))

    line.connection.tick(now_s() + 29)
    assert statuses(line) == {}
    line.connection.tick(now_s() + 31)

    assert statuses(line) == {1: "4"}
    assert (server.held_bytes, server.calls) == (0, 0)
    await server.close()


@in_a_loop
async def test_a_stream_may_be_silent_between_messages_but_not_within_one() -> None:
    server = server_of(timeouts=TIMEOUTS)
    line = Line(server)
    line.open(1, TALK)
    line.send(DataFrame(1, framed(b"whole")))
    await settle()
    line.connection.tick(now_s() + 1_000)
    assert statuses(line) == {}

    line.send(DataFrame(1, framed(b"whole")[:6]))
    line.connection.tick(now_s() + 31)

    assert statuses(line) == {1: "4"}
    assert server.held_bytes == 0
    await server.close()


@in_a_loop
async def test_a_stream_that_the_server_holds_back_is_not_taken_for_a_stalled_one() -> None:
    wait = asyncio.Event()

    async def busy(call: StreamContext) -> None:
        await call.receive()
        await wait.wait()

    server = server_of(Method("/test/Busy", stream=busy), timeouts=TIMEOUTS, max_message_bytes=STREAM_WINDOW)
    line = Line(server)
    line.open(1, "/test/Busy")
    line.send(*_frames_of(1, framed(bytes(STREAM_WINDOW - 5)) + framed(bytes(STREAM_WINDOW - 5))[:95]))
    let_through = sum(frame.window_increment for frame in line.frames(WindowUpdateFrame) if frame.stream_id)
    await settle()
    line.connection.tick(now_s() + 29)
    line.send(*_frames_of(1, bytes(let_through - 95)))  # all that it may send, still half a message

    line.connection.tick(now_s() + 100)

    assert statuses(line) == {}
    line.transport.close()
    await server.close()


@in_a_loop
async def test_an_answer_that_is_not_read_is_given_up_and_its_memory_let_go() -> None:
    server = server_of(timeouts=TIMEOUTS)
    line = Line(server, greet=False)
    line.send(PREFACE, SettingsFrame(0, settings={4: 10}))
    line.open(1, ECHO)
    line.send(DataFrame(1, framed(bytes(1000)), flags=["END_STREAM"]))
    line.open(3, TALK)
    line.send(DataFrame(3, framed(bytes(1000))))
    await settle()
    assert len(data_of(line, 1)) == len(data_of(line, 3)) == 10

    line.connection.tick(now_s() + 29)
    line.send(WindowUpdateFrame(3, 1))  # this one goes on
    line.connection._streams[3].last_progress_s = now_s() + 29
    line.connection.tick(now_s() + 31)

    assert statuses(line) == {1: "4"}
    line.connection.tick(now_s() + 60)
    assert statuses(line) == {1: "4", 3: "4"}
    assert (server.held_bytes, server.calls) == (0, 0)
    await server.close()


@in_a_loop
async def test_a_client_that_does_not_read_is_not_read_from_and_is_ended() -> None:
    server = server_of(timeouts=TIMEOUTS)
    line = Line(server)
    line.connection.pause_writing()
    assert not line.transport.is_reading_
    line.connection.resume_writing()
    assert line.transport.is_reading_
    line.connection.tick(now_s() + 31)
    assert not line.transport.is_closing()

    line.connection.pause_writing()
    line.connection.tick(now_s() + 31)

    assert line.transport.was_aborted
    await server.close()


@in_a_loop
async def test_a_client_that_hangs_up_without_reading_its_answers_is_ended() -> None:
    server = server_of(timeouts=TIMEOUTS)
    line = Line(server)
    line.transport.unsent = 100_000
    line.transport.close()  # as event loops do when the client says that it sends no more

    for passed_s in (0, 29):
        line.connection.tick(now_s() + passed_s)
        assert not line.transport.was_aborted
    line.connection.tick(now_s() + 31)
    await settle()

    assert line.transport.was_aborted
    assert server.connections == 0
    await server.close()


@in_a_loop
async def test_a_tick_that_fails_for_one_connection_is_made_for_the_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("service.rpc.server._TICK_S", 0.001)
    server = server_of()
    await settle()
    good, bad = Line(server), Line(server)
    ticked = asyncio.Event()

    def fail(_now_s: float) -> None:
        ticked.set()
        raise RuntimeError("a defect")

    monkeypatch.setattr(bad.connection, "tick", fail)
    server._ticking.cancel()
    server._ticking = asyncio.create_task(server._tick())
    await ticked.wait()
    await settle()

    assert bad.transport.was_aborted
    assert not good.transport.is_closing()
    assert not server._ticking.done()
    good.transport.close()
    await server.close()


@in_a_loop
async def test_a_client_that_sends_much_at_once_lets_the_others_go_first() -> None:
    server = server_of()
    greedy, modest = Line(server), Line(server)
    count, cut = 10_000, PingFrame(0, b"rest....").serialize()
    greedy.send(PingFrame(0, bytes(8)).serialize() * count + cut[:3])
    assert not greedy.transport.is_reading_
    modest.open(1, ECHO)
    modest.send(DataFrame(1, framed(b"modest"), flags=["END_STREAM"]))
    while not statuses(modest):
        await settle(1)

    assert len(greedy.transport.written) < count * 17 / 2
    await until(lambda: greedy.transport.is_reading_)
    replies = greedy.frames(PingFrame)
    assert len(replies) == count
    greedy.send(cut[3:])
    greedy.connection.pause_writing()
    greedy.send(PingFrame(0, b"more....").serialize() * 1_000)
    await settle()
    assert not greedy.transport.is_reading_  # the client does not read, whatever has been handled
    assert len(greedy.frames(PingFrame)) == count + 1_001
    for line in (greedy, modest):
        line.transport.close()
    await server.close()


# -- what little costs much


@in_a_loop
async def test_a_client_that_trickles_is_not_going_on() -> None:
    server = server_of(timeouts=TIMEOUTS)
    line = Line(server)
    line.open(1, ECHO)
    line.send(DataFrame(1, framed(bytes(100_000))[:1_000]))
    started_s = line.connection._streams[1].last_progress_s
    for second in range(1, 32):
        line.connection.last_received_s = started_s + second
        line.send(DataFrame(1, b""), DataFrame(1, b"x"))

    assert line.connection._streams[1].last_progress_s == started_s
    line.connection.tick(started_s + 31)
    assert statuses(line) == {1: "4"}
    await server.close()


@in_a_loop
async def test_a_header_block_that_does_not_end_is_given_up() -> None:
    server = server_of(timeouts=TIMEOUTS)
    line = Line(server)
    block = line.encoder.encode(head(ECHO))
    line.send(HeadersFrame(1, block[:5]))
    for second in range(0, 40, 5):
        if not line.transport.is_closing():
            line.send(ContinuationFrame(1, block[5 + second // 5 : 6 + second // 5]))
            line.connection.tick(now_s() + second)

    assert line.transport.was_aborted
    await server.close()


@in_a_loop
async def test_long_header_blocks_are_spread_over_turns() -> None:
    server = server_of()
    line = Line(server)
    blocks = b"".join(
        HeadersFrame(1 + 2 * n, b"\x82" * 3_000, flags=["END_HEADERS"]).serialize() for n in range(20)
    )

    line.send(blocks)

    assert len(line.frames(RstStreamFrame)) == 2  # one and a half are a turn's work
    await until(lambda: len(line.frames(RstStreamFrame)) == 20)
    await server.close()


@in_a_loop
async def test_answers_that_are_not_read_stop_further_requests() -> None:
    server = server_of(max_held_bytes=1 << 30)
    line = Line(server, greet=False)
    line.send(PREFACE, SettingsFrame(0, settings={4: 0}))
    for number in range(40):
        line.open(1 + 2 * number, ECHO)
        data = framed(bytes((1 << 20) - 5))
        parts = [DataFrame(1 + 2 * number, data[at : at + 16_384]) for at in range(0, len(data), 16_384)]
        parts[-1].flags.add("END_STREAM")
        line.send(*parts)
        await settle()

    assert line.connection.unsent_bytes < MAX_UNSENT_BYTES + (2 << 20)
    assert server.held_bytes >= line.connection.unsent_bytes  # so that other clients' calls are bounded too
    assert len(line.frames(RstStreamFrame)) > 15
    line.transport.close()
    await until(lambda: server.held_bytes == 0)
    assert line.connection.unsent_bytes == 0
    await server.close()


@in_a_loop
async def test_silent_streams_are_bounded_and_leave_memory_for_requests() -> None:
    server = server_of(max_held_bytes=20 * STREAM_COST_BYTES)
    line = Line(server)
    for number in range(15):
        line.open(1 + 2 * number, TALK)
    line.open(99, ECHO)
    line.send(*_frames_of(99, framed(bytes(7 * STREAM_COST_BYTES))), DataFrame(99, flags=["END_STREAM"]))
    await settle()

    assert statuses(line) == {**dict.fromkeys(range(21, 31, 2), "8"), 99: "0"}
    line.transport.close()
    await until(lambda: server.held_bytes == 0)
    await server.close()


@in_a_loop
async def test_a_request_refused_by_its_whole_head_is_not_reset_besides() -> None:
    server = server_of()
    line = Line(server)

    line.open(1, "/no/Method", ended=True)
    line.open(3, "/no/Method")

    assert [frame.stream_id for frame in line.frames(RstStreamFrame)] == [3]
    await server.close()


@in_a_loop
async def test_repeated_header_fields_are_joined_so_that_all_readers_see_the_same() -> None:
    server = server_of()
    fields = [
        (name.encode(), value.encode()) for name, value in head(ECHO, ("x-api-key", "a"), ("x-api-key", "b"))
    ]

    made = server.read_head(fields)

    assert isinstance(made, RequestHead)
    assert made.metadata[b"x-api-key"] == b"a,b"
    await server.close()


# -- what is held


def _frames_of(stream_id: int, data: bytes) -> list[DataFrame]:
    return [DataFrame(stream_id, data[at : at + 16_384]) for at in range(0, len(data), 16_384)]


@pytest.mark.parametrize("size", [0, 1, 20, 5_000])
@pytest.mark.parametrize("is_compressed", [False, True])
@in_a_loop
async def test_a_long_stream_holds_nothing_once_it_is_answered(size: int, is_compressed: bool) -> None:  # noqa: FBT001
    server = server_of()
    line = Line(server, greet=False)
    line.send(PREFACE, SettingsFrame(0, settings={4: 2**31 - 1}), WindowUpdateFrame(0, 2**31 - 1 - 65_535))
    line.open(1, TALK, *[("grpc-encoding", "gzip")] * is_compressed)
    message = bytes(size)
    data = framed(gzip.compress(message), compressed=True) if is_compressed else framed(message)
    count = 100
    for _ in range(count):
        line.send(DataFrame(1, data))
    await until(lambda: len(data_of(line, 1)) == count * (size + 5))
    await settle()

    assert unframed(data_of(line, 1)) == [message] * count
    assert server.held_bytes == STREAM_COST_BYTES
    assert line.connection._streams[1].unread_bytes == 0
    line.transport.close()
    await until(lambda: server.held_bytes == 0)
    await server.close()


@pytest.mark.parametrize("message", [b"", b"tiny", bytes(3_000)])
@in_a_loop
async def test_a_client_that_never_reads_is_let_through_a_window_and_no_more(message: bytes) -> None:
    server = server_of(max_held_bytes=1 << 30)
    line = Line(server, greet=False)
    line.send(PREFACE, SettingsFrame(0, settings={4: 0}))
    line.open(1, TALK)
    let_through = sent = 0
    data = framed(message)
    while sent + len(data) <= STREAM_WINDOW + let_through and sent < 4 * STREAM_WINDOW:
        count = min(16_384 // len(data), (STREAM_WINDOW + let_through - sent) // len(data))
        line.send(DataFrame(1, data * count))
        sent += count * len(data)
        let_through = sum(f.window_increment for f in line.frames(WindowUpdateFrame) if f.stream_id == 1)
    await settle()

    assert sent <= STREAM_WINDOW + let_through <= 1.5 * STREAM_WINDOW
    given = line.connection._streams[1]._unreleased_bytes  # type: ignore[attr-defined]
    assert given <= STREAM_WINDOW + len(message) + 2_000
    line.send(RstStreamFrame(1, 8))
    assert server.held_bytes == 0
    await server.close()


@in_a_loop
async def test_compressed_messages_count_by_their_decompressed_size() -> None:
    held: list[int] = []

    async def collect(message: bytes, call: UnaryContext) -> bytes:  # noqa: ARG001 - as every handler
        held.append(server.held_bytes)
        await asyncio.Event().wait()
        return b""

    server = server_of(Method("/test/Collect", unary=collect), max_held_bytes=2_500_000)
    line = Line(server)
    bomb = framed(gzip.compress(bytes(1_000_000)), compressed=True)
    for stream_id in (1, 3, 5):
        line.open(stream_id, "/test/Collect", ("grpc-encoding", "gzip"))
        line.send(DataFrame(stream_id, bomb, flags=["END_STREAM"]))
    await until(lambda: statuses(line))

    assert list(statuses(line).values()) == ["8"]
    assert len(held) == 2
    assert 2_000_000 <= server.held_bytes <= 2_100_000
    line.transport.close()
    await settle()
    assert server.held_bytes == 0
    await server.close()


@in_a_loop
async def test_a_stream_decompresses_no_more_than_a_window_ahead() -> None:
    given: list[bytes] = []

    async def collect(call: StreamContext) -> None:
        while (message := await call.receive()) is not None:
            given.append(message)

    server = server_of(Method("/test/Collect", stream=collect), max_held_bytes=1 << 30)
    line = Line(server)
    line.open(1, "/test/Collect", ("grpc-encoding", "gzip"))
    line.send(DataFrame(1, framed(gzip.compress(bytes(1 << 20)), compressed=True) * 10))
    await until(lambda: given)
    call: Any = line.connection._streams[1]
    await until(lambda: call._waiting and not call._waiting.done())

    assert len(given) == 1
    call.release()
    await until(lambda: len(given) == 2)
    line.transport.close()
    await server.close()


@in_a_loop
async def test_messages_of_no_bytes_cost_what_it_takes_to_answer_them() -> None:
    given: list[bytes] = []

    async def collect(call: StreamContext) -> None:
        while (message := await call.receive()) is not None:
            given.append(message)

    server = server_of(Method("/test/Collect", stream=collect), max_held_bytes=40 << 20)
    line = Line(server)
    line.open(1, "/test/Collect")
    line.send(*_frames_of(1, framed(b"") * 30_000))
    await settle(2_000)

    assert 1_000 < len(given) < 1_100
    assert server.held_bytes > 30_000_000
    line.send(*_frames_of(1, framed(b"") * 30_000))
    assert statuses(line) == {1: "8"}
    assert server.held_bytes == 0
    await server.close()


@in_a_loop
async def test_requests_beyond_what_the_server_holds_are_refused_and_let_go() -> None:
    server = server_of(max_held_bytes=100_000)
    line = Line(server)
    for stream_id in (1, 3, 5):
        line.open(stream_id, HANG)
        line.send(*_frames_of(stream_id, framed(bytes(45_000))))

    assert statuses(line) == {5: "8"}
    assert server.held_bytes == 90_010
    line.send(RstStreamFrame(1, 8))
    assert server.held_bytes == 45_005
    line.transport.close()
    await settle()
    assert server.held_bytes == 0
    await server.close()


def _pass_deadlines(line: Line) -> None:
    """Have the calls' timers go off, without the wait."""
    for call in list(line.connection._streams.values()):
        assert isinstance(call, Call)
        assert call._timer is not None
        call._timer._run()


@pytest.mark.parametrize("ending", ["reset", "loss", "deadline", "fault", "violation"])
@in_a_loop
async def test_however_calls_end_nothing_of_them_is_left(ending: str) -> None:
    ended: list[str] = []

    async def hold(message: bytes, call: UnaryContext) -> bytes:  # noqa: ARG001 - as every handler
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("unary")
        return b""

    async def stream(call: StreamContext) -> None:
        try:
            while await call.receive() is not None:
                pass
        finally:
            ended.append("stream")

    server = server_of(Method("/test/Hold", unary=hold), Method("/test/Stream", stream=stream))
    line = Line(server)
    line.open(1, "/test/Hold", ("grpc-timeout", "1H"))
    line.send(DataFrame(1, framed(bytes(3_000)), flags=["END_STREAM"]))
    line.open(3, "/test/Stream", ("grpc-timeout", "1H"))
    line.send(DataFrame(3, framed(bytes(3_000)) + framed(bytes(9_000))[:5_000]))
    await settle()
    assert server.held_bytes > 11_000
    match ending:
        case "reset":
            line.send(RstStreamFrame(1, 8), RstStreamFrame(3, 8))
        case "loss":
            line.transport.close()
        case "fault":
            line.send(raw_frame(6, 0, 3, bytes(8)))  # PING of a stream
        case "violation":
            line.send(DataFrame(1, b"more"), WindowUpdateFrame(3, 2**31 - 1))
        case _:
            _pass_deadlines(line)
    await settle()

    assert sorted(ended) == ["stream", "unary"]
    assert (server.held_bytes, server.calls, len(server._streaming_calls)) == (0, 0, 0)
    line.transport.close()
    await server.close()


@in_a_loop
async def test_a_handler_that_is_cancelled_from_within_still_ends_its_call() -> None:
    async def give_up(message: bytes, call: UnaryContext) -> bytes:  # noqa: ARG001 - as every handler
        raise asyncio.CancelledError

    async def give_up_stream(call: StreamContext) -> None:  # noqa: ARG001 - as every handler
        raise asyncio.CancelledError

    server = server_of(Method("/test/Unary", unary=give_up), Method("/test/Stream", stream=give_up_stream))
    line = Line(server)
    for stream_id, path in ((1, "/test/Unary"), (3, "/test/Stream")):
        line.open(stream_id, path)
        line.send(DataFrame(stream_id, framed(b""), flags=["END_STREAM"]))
    await settle()

    assert statuses(line) == {1: "14", 3: "14"}
    line.transport.close()
    await server.close()


@in_a_loop
async def test_a_deadline_in_the_middle_of_an_answer_ends_it_with_its_status() -> None:
    server = server_of()
    line = Line(server, greet=False)
    line.send(PREFACE, SettingsFrame(0, settings={4: 10}))
    for stream_id, path in ((1, ECHO), (3, TALK)):
        line.open(stream_id, path, ("grpc-timeout", "1H"))
        line.send(DataFrame(stream_id, framed(bytes(100)), flags=["END_STREAM"]))
    await settle()
    _pass_deadlines(line)

    assert statuses(line) == {1: "4", 3: "4"}
    assert len(data_of(line, 1)) == len(data_of(line, 3)) == 10
    line.transport.close()
    await server.close()


# -- connections


@in_a_loop
async def test_connections_beyond_the_limit_are_refused_and_the_others_go_on() -> None:
    server = server_of(max_connections=2)
    lines = [Line(server, greet=False) for _ in range(3)]
    await settle()

    assert [line.transport.was_aborted for line in lines] == [False, False, True]
    assert server.connections == 2
    lines[0].transport.close()
    await settle()
    assert not Line(server).transport.was_aborted
    lines[1].send(PREFACE, SettingsFrame(0))
    lines[1].open(1, ECHO)
    lines[1].send(DataFrame(1, framed(b"still here"), flags=["END_STREAM"]))
    await settle()
    assert unframed(data_of(lines[1], 1)) == [b"still here"]
    await server.close()


@in_a_loop
async def test_a_stream_beyond_its_window_is_reset_and_the_connection_goes_on() -> None:
    wait = asyncio.Event()

    async def busy(call: StreamContext) -> None:  # noqa: ARG001 - as every handler
        await wait.wait()

    server = server_of(Method("/test/Busy", stream=busy), max_held_bytes=1 << 30)
    line = Line(server)
    line.open(1, "/test/Busy")
    line.send(*_frames_of(1, framed(bytes(3_000)) * (STREAM_WINDOW // 3_005 + 1)))

    assert [frame.error_code for frame in line.frames(RstStreamFrame)] == [3]  # FLOW_CONTROL_ERROR
    line.open(3, ECHO)
    line.send(DataFrame(3, framed(b"next"), flags=["END_STREAM"]))
    await settle()
    assert unframed(data_of(line, 3)) == [b"next"]
    line.transport.close()
    await server.close()


@in_a_loop
async def test_a_message_larger_than_the_window_is_let_through_piece_by_piece() -> None:
    server = server_of(max_message_bytes=4 << 20, max_held_bytes=1 << 30)
    line = Line(server)
    line.open(1, TALK)
    line.send(*_frames_of(1, struct.pack(">BL", 0, 4 << 20)))
    for _ in range(256):
        line.send(DataFrame(1, bytes(16_384)))
    await settle()

    assert not line.frames(RstStreamFrame)
    call: Any = line.connection._streams[1]
    assert sum(map(len, call.outbox)) + len(data_of(line, 1)) == (4 << 20) + 5
    line.transport.close()
    await server.close()
