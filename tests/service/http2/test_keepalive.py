"""Pings, idleness and age: connections that ping too often or live too long are shut down in order."""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING

from hyperframe.frame import DataFrame, GoAwayFrame, HeadersFrame, PingFrame, WindowUpdateFrame

from service.http2.timeouts import Timeouts
from tests.service.in_process import ECHO, HANG, TALK, Line, server_of, settle
from tests.service.raw_client import framed, unframed
from tests.service.rpc.test_server import data_of, in_a_loop, now_s, statuses

if TYPE_CHECKING:
    import pytest

    from service.rpc.server import RpcServer

PING_S = 5.0


def _ping(line: Line) -> None:
    line.send(PingFrame(0, b"are u ok"))


def _pongs(line: Line) -> int:
    return sum("ACK" in frame.flags for frame in line.frames(PingFrame))


def _codes(line: Line) -> list[tuple[int, bytes]]:
    return [(frame.error_code, frame.additional_data) for frame in line.frames(GoAwayFrame)]


@in_a_loop
async def test_a_client_that_pings_on_and_on_is_ended_in_words_that_grpc_understands() -> None:
    line = Line(server_of(timeouts=Timeouts(min_ping_interval_s=PING_S)))

    for _ in range(10):
        _ping(line)

    assert _pongs(line) == 3
    assert _codes(line) == [(11, b"too_many_pings")]
    assert line.transport.has_eof


@in_a_loop
async def test_pings_at_their_proper_time_are_welcome_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    line = Line(server_of(timeouts=Timeouts(min_ping_interval_s=PING_S)))
    began_s = now_s()
    later_s = 0.0
    monkeypatch.setattr(asyncio.get_running_loop(), "time", lambda: began_s + later_s)

    for _ in range(50):
        later_s += PING_S
        _ping(line)
        later_s += 0.1  # the network has held one up
        _ping(line)

    assert _pongs(line) == 100
    assert not _codes(line)


@in_a_loop
async def test_pings_between_calls_and_answers_are_no_abuse() -> None:
    line = Line(server_of(timeouts=Timeouts(min_ping_interval_s=PING_S)))
    line.open(1, TALK)

    for number in range(20):
        _ping(line)
        line.send(DataFrame(1, framed(b"x" * 100)))
        await settle()  # the answer is out
        _ping(line)
        line.open(3 + 2 * number, ECHO)
        _ping(line)

    assert _pongs(line) == 60
    assert not _codes(line)


@in_a_loop
async def test_other_frames_are_no_excuse_for_pings() -> None:
    line = Line(server_of(timeouts=Timeouts(min_ping_interval_s=PING_S)))
    line.open(1, HANG)

    for _ in range(10):
        _ping(line)
        line.send(WindowUpdateFrame(0, 1), DataFrame(1, b"\0"))

    assert _codes(line) == [(11, b"too_many_pings")]
    assert not line.connection.streams


@in_a_loop
async def test_pings_are_not_counted_where_no_interval_is_set() -> None:
    line = Line(server_of())

    for _ in range(100):
        _ping(line)

    assert _pongs(line) == 100


def _agreed(line: Line) -> None:
    """Reply to the goodbye, as every client does."""
    line.send(PingFrame(0, line.frames(PingFrame)[-1].opaque_data, flags=["ACK"]))


@in_a_loop
async def test_a_connection_without_calls_is_left_in_order() -> None:
    line = Line(server_of(timeouts=Timeouts(max_idle_s=20, keepalive_s=math.inf, stall_s=math.inf)))
    began_s = now_s()
    line.connection.tick(began_s)
    line.open(1, HANG)
    for second in range(1, 100):
        line.connection.tick(began_s + second)
    assert not _codes(line)  # a call is under way
    line.open(3, ECHO)
    line.send(DataFrame(3, framed(b"x"), flags=["END_STREAM"]))
    await settle()
    line.send(b"\0\0\4\3\0\0\0\0\1\0\0\0\x08")  # RST_STREAM of the other
    line.connection.tick(began_s + 110)

    line.connection.tick(began_s + 129)
    line.send(PingFrame(0, bytes(8)))  # is no call
    assert not _codes(line)
    line.connection.tick(began_s + 131)
    _agreed(line)

    assert [code for code, _ in _codes(line)] == [0, 0]
    assert [frame.last_stream_id for frame in line.frames(GoAwayFrame)] == [2**31 - 1, 3]
    assert line.transport.has_eof


@in_a_loop
async def test_a_connection_that_has_come_of_age_answers_its_calls_and_is_left() -> None:
    server = server_of(timeouts=Timeouts(max_age_s=100, grace_s=30, keepalive_s=math.inf, stall_s=math.inf))
    line = Line(server)
    began_s = now_s()
    line.open(1, TALK)
    line.connection.tick(began_s + 89)
    assert not _codes(line)
    line.connection.tick(began_s + 111)
    assert [code for code, _ in _codes(line)] == [0]
    _agreed(line)
    line.send(DataFrame(1, framed(b"goes on")))
    await settle()

    for second in range(112, 141):
        line.connection.tick(began_s + second)
        await settle()
    assert not statuses(line)
    line.connection.tick(began_s + 143)

    assert unframed(data_of(line, 1)) == [b"goes on"]
    assert statuses(line) == {1: "14"}  # UNAVAILABLE: it may be asked again elsewhere
    assert line.transport.has_eof
    await server.close()


@in_a_loop
async def test_connections_made_together_do_not_leave_together() -> None:
    server = server_of(timeouts=Timeouts(max_age_s=100, keepalive_s=math.inf))
    lines = [Line(server) for _ in range(50)]
    began_s = now_s()

    left_at = []
    for second in range(85, 115):
        for line in lines:
            line.connection.tick(began_s + second)
        left_at.append(sum(bool(_codes(line)) for line in lines))

    assert left_at[0] == 0
    assert left_at[-1] == 50
    assert len(set(left_at)) > 10
    await server.close()


async def _unary_that_hangs(server: RpcServer, began_s: float) -> Line:
    line = Line(server)
    line.open(1, HANG)
    line.send(DataFrame(1, framed(b"x"), flags=["END_STREAM"]))
    await settle()
    line.connection.tick(began_s + 111)
    return line


@in_a_loop
async def test_a_goaway_for_another_reason_has_the_same_grace() -> None:
    server = server_of(timeouts=Timeouts(grace_s=30, keepalive_s=math.inf))
    began_s = now_s()
    line = await _unary_that_hangs(server, began_s)

    server.ask_to_reconnect()
    line.connection.tick(began_s + 112)
    assert not statuses(line)
    line.connection.tick(began_s + 143)

    assert statuses(line) == {1: "14"}
    assert len(line.frames(HeadersFrame)) == 1
    await server.close()
