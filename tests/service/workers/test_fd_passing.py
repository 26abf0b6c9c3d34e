"""Connections are passed from one process to another, and counted until they end."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import socket
from typing import TYPE_CHECKING

import pytest
import uvloop

from service.workers.fd_passing import ConnectionReceiver, ConnectionSender

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Iterator

    Pairs = Callable[[], tuple[socket.socket, socket.socket]]
    Run = Callable[[Coroutine[None, None, None]], None]


class _Channel:
    """A sender and its receiver, in one process."""

    def __init__(self) -> None:
        self.changes: list[bool] = []
        self.arrived: list[socket.socket] = []
        self.closings = 0
        self.sender = ConnectionSender(lambda: self.changes.append(self.sender.is_ready))
        self.receiver = ConnectionReceiver(os.dup(self.sender.worker_fd))
        self.sender.close_workers_end()

    def open(self) -> None:
        self.receiver.open(self.arrived.append, self._closed)
        self.receiver.report_ready()

    def _closed(self) -> None:
        self.closings += 1


@contextlib.asynccontextmanager
async def _channel() -> AsyncIterator[_Channel]:
    channel = _Channel()
    yield channel
    channel.receiver.close()
    for connection in (*channel.arrived, *channel.sender.close()):
        connection.close()


async def _wait(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not is_so():
            await asyncio.sleep(0)


@pytest.fixture
def pairs() -> Iterator[Pairs]:
    """Return a function that makes a caller and the connection which the supervisor has accepted."""
    made: list[socket.socket] = []

    def pair() -> tuple[socket.socket, socket.socket]:
        made.extend(socket.socketpair())
        return made[-2], made[-1]

    yield pair
    for each in made:
        each.close()


@pytest.fixture(params=[None, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Iterator[Run]:
    """Run in the loop of a supervisor, and in that of a worker."""
    with asyncio.Runner(loop_factory=request.param) as runner:
        yield runner.run


def _lowest_free_fd() -> int:
    fd = os.dup(0)
    os.close(fd)
    return fd


def test_a_connection_arrives_whole_and_is_counted_until_it_ends(run: Run, pairs: Pairs) -> None:
    async def main() -> None:
        async with _channel() as channel:
            channel.open()
            await _wait(lambda: channel.sender.is_ready)
            caller, connection = pairs()
            caller.sendall(b"hello")

            assert channel.sender.send(connection)
            await _wait(lambda: bool(channel.arrived))
            [arrived] = channel.arrived

            assert arrived.recv(10) == b"hello"
            assert not arrived.getblocking()
            assert not arrived.get_inheritable()
            assert channel.sender.connections == 1
            await _wait(lambda: connection.fileno() < 0)  # the supervisor keeps no copy
            arrived.close()
            assert caller.recv(10) == b""
            channel.receiver.report_connection_closed()
            await _wait(lambda: channel.sender.connections == 0)

    run(main())


def test_a_worker_gets_connections_from_ready_until_stopping(run: Run, pairs: Pairs) -> None:
    async def main() -> None:
        async with _channel() as channel:
            sender, receiver = channel.sender, channel.receiver
            assert not sender.is_ready
            channel.open()
            await _wait(lambda: sender.is_ready)
            sender.send(pairs()[1])

            receiver.report_stopping()
            await _wait(lambda: channel.closings == 1)

            assert len(channel.arrived) == 1  # what was on its way still came
            assert not sender.is_ready
            assert sender.has_been_ready
            assert channel.changes == [True, False]
            receiver.report_connection_closed()  # is still heard
            await _wait(lambda: sender.connections == 0)

    run(main())


def test_a_worker_learns_once_that_the_supervisor_is_gone(run: Run) -> None:
    async def main() -> None:
        async with _channel() as channel:
            channel.sender.close()
            channel.open()
            await _wait(lambda: channel.closings > 0)

            channel.receiver.report_connection_closed()  # nobody hears it, nothing breaks
            for _ in range(10):
                await asyncio.sleep(0)
            assert channel.closings == 1

    run(main())


def test_a_full_socket_refuses_connections_and_those_not_taken_are_returned(run: Run, pairs: Pairs) -> None:
    async def main() -> None:
        async with _channel() as channel:
            _, connection = pairs()
            copies = [connection.dup()]
            while channel.sender.send(copies[-1]):
                copies.append(connection.dup())
            copies.pop().close()
            channel.receiver.close()

            untaken = channel.sender.close()

            assert untaken == copies != []
            assert channel.sender.connections == 0
            for each in untaken:
                each.close()

    run(main())


def test_reports_that_do_not_fit_are_sent_later(run: Run) -> None:
    async def main() -> None:
        async with _channel() as channel:
            channel.open()
            await _wait(lambda: channel.sender.is_ready)
            reports = 2_000_000  # more than a socket holds

            channel.sender.connections = reports
            for _ in range(reports // 1_000):
                channel.receiver._report(b"c" * 1_000)

            assert channel.sender.connections == reports
            await _wait(lambda: channel.sender.connections == 0)

    run(main())


def test_a_connection_that_finds_too_many_open_files_is_counted_as_closed(
    run: Run, pairs: Pairs, capsys: pytest.CaptureFixture[str]
) -> None:
    async def main() -> None:
        async with _channel() as channel:
            channel.open()
            await _wait(lambda: channel.sender.is_ready)
            callers = [pairs() for _ in range(3)]
            limits = resource.getrlimit(resource.RLIMIT_NOFILE)
            for _, connection in callers:
                channel.sender.send(connection)
            resource.setrlimit(resource.RLIMIT_NOFILE, (_lowest_free_fd(), limits[1]))
            try:
                await _wait(lambda: channel.sender.connections == 0)
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, limits)

            assert channel.arrived == []
            assert [caller.recv(1) for caller, _ in callers] == [b"", b"", b""]

    run(main())

    assert capsys.readouterr().out.count("too many open files") == 1
