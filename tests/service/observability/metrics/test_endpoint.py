"""The metrics port answers scrapes, and other connections cannot keep it from doing so."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import TYPE_CHECKING, TypeAlias

import pytest

from service.errors import AddressError
from service.observability.metrics import endpoint
from service.observability.metrics.endpoint import Endpoint
from service.observability.metrics.snapshot import Snapshot
from tests.service.observability.metrics.scraper import samples_of, value
from tests.service.observability.metrics.work import model, recorder

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

GET = b"GET /metrics HTTP/1.1\r\nHost: x\r\nAccept: text/plain\r\n\r\n"
Streams: TypeAlias = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@contextlib.asynccontextmanager
async def _open(
    collect: Callable[[], Awaitable[Snapshot]] | None = None,
) -> AsyncIterator[Callable[[], Awaitable[Streams]]]:
    """Open a port, and give what connects to it."""
    made = Endpoint("127.0.0.1", 0, collect or recorder(model()).collect)
    assert made._listening is not None
    address = made._listening.getsockname()
    await made.open()
    try:
        async with asyncio.timeout(60):
            yield lambda: asyncio.open_connection(*address)
    finally:
        await made.close()


async def _ask(connect: Callable[[], Awaitable[Streams]], request: bytes) -> tuple[bytes, bytes]:
    reader, writer = await connect()
    writer.write(request)
    answer = await reader.read()
    writer.close()
    head, _, body = answer.partition(b"\r\n\r\n")
    return head, body


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (GET, b"200 OK"),
        (b"GET /metrics?name=x HTTP/1.0\r\n\r\n", b"200 OK"),
        (b"GET / HTTP/1.1\r\n\r\n", b"404 Not Found"),
        (b"GET /metrics/ HTTP/1.1\r\n\r\n", b"404 Not Found"),
        (b"POST /metrics HTTP/1.1\r\nContent-Length: 0\r\n\r\n", b"405 Method Not Allowed"),
        (b"\r\n\r\n", b"400 Bad Request"),
        (b"\xff\x00 junk\r\n\r\n", b"400 Bad Request"),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"400 Bad Request"),
        (b"GET /metrics HTTP/1.1\r\nX: " + bytes(40_000), b"400 Bad Request"),
    ],
)
def test_each_request_has_its_status(request_: bytes, status: bytes) -> None:
    async def scenario() -> bytes:
        async with _open() as connect:
            head, _ = await _ask(connect, request_)
            again, _ = await _ask(connect, GET)
            assert again.startswith(b"HTTP/1.1 200 OK\r\n")
            return head

    assert asyncio.run(scenario()).startswith(b"HTTP/1.1 " + status + b"\r\n")


def test_a_head_says_what_would_come() -> None:
    async def scenario() -> tuple[bytes, bytes, bytes]:
        snapshot = await recorder(model()).collect()

        async def collect() -> Snapshot:
            return snapshot

        async with _open(collect) as connect:
            head, nothing = await _ask(connect, GET.replace(b"GET", b"HEAD"))
            same_head, body = await _ask(connect, GET)
            assert (head, nothing) == (same_head, b"")
            return head, nothing, body

    head, _, body = asyncio.run(scenario())
    assert f"Content-Length: {len(body)}".encode() in head.split(b"\r\n")


def test_a_request_may_come_byte_by_byte() -> None:
    async def scenario() -> bytes:
        async with _open() as connect:
            reader, writer = await connect()
            for byte in GET:
                writer.write(bytes([byte]))
                await writer.drain()
            answer = await reader.read()
            writer.close()
            return answer

    assert value(samples_of(asyncio.run(scenario()).partition(b"\r\n\r\n")[2].decode()), "connections") == 2


def test_silent_connections_are_closed_for_a_scrape(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoint, "TIMEOUT_S", 1_000)

    async def scenario() -> tuple[bytes, list[bytes]]:
        async with _open() as connect:
            silent = [await connect() for _ in range(3 * endpoint.MAX_CONNECTIONS)]
            head, _ = await _ask(connect, GET)
            said = [await reader.read() for reader, _ in silent[: 2 * endpoint.MAX_CONNECTIONS]]
            for _, writer in silent:
                writer.close()
            return head, said

    head, said = asyncio.run(scenario())
    assert head.startswith(b"HTTP/1.1 200 OK")
    assert set(said) == {b""}  # and they are closed


def test_connections_that_arrive_at_once_are_closed_too() -> None:
    async def scenario() -> None:
        made = Endpoint("127.0.0.1", 0, recorder(model()).collect)
        assert made._listening is not None
        address = made._listening.getsockname()
        await made.open()
        # The event loop accepts them in one turn: most have to make room before their exchange has begun.
        sockets = [socket.create_connection(address) for _ in range(90)]
        crowd = [await asyncio.open_connection(sock=each) for each in sockets]
        async with asyncio.timeout(10):
            for reader, _ in crowd[: -endpoint.MAX_CONNECTIONS]:
                assert await reader.read() == b""
        for _, writer in crowd:
            writer.close()
        await made.close()

    asyncio.run(scenario())


@pytest.mark.parametrize("said", [b"", b"GET /metrics HT", GET])
def test_a_stalled_client_is_disconnected(said: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoint, "TIMEOUT_S", 0.2)

    async def scenario() -> None:
        many = [model(version) for version in range(1, 300)]  # megabytes: more than sockets hold
        made = Endpoint("127.0.0.1", 0, recorder(*many).collect)
        assert made._listening is not None
        address = made._listening.getsockname()
        await made.open()
        with socket.socket() as silent:
            silent.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1_024)
            silent.setblocking(False)  # noqa: FBT003 - it has no name
            await asyncio.get_running_loop().sock_connect(silent, address)
            await asyncio.get_running_loop().sock_sendall(silent, said)
            async with asyncio.timeout(60):
                while not made._exchanges:
                    await asyncio.sleep(0.01)
                while made._exchanges:
                    await asyncio.sleep(0.01)
        await made.close()

    asyncio.run(scenario())


def test_a_slow_reader_gets_the_whole_response() -> None:
    async def scenario() -> tuple[int, int]:
        loop = asyncio.get_running_loop()
        made = Endpoint("127.0.0.1", 0, recorder(*(model(version) for version in range(1, 30))).collect)
        assert made._listening is not None
        made._listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4_096)  # what it accepts has it too
        address = made._listening.getsockname()
        await made.open()
        answer = bytearray()
        with socket.socket() as slow:
            slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
            slow.setblocking(False)  # noqa: FBT003 - it has no name
            await loop.sock_connect(slow, address)
            await loop.sock_sendall(slow, GET)
            while data := await loop.sock_recv(slow, 1 << 12):
                answer += data
                await asyncio.sleep(0.001)
        await made.close()
        head, _, body = answer.partition(b"\r\n\r\n")
        [size] = [line.split()[1] for line in head.split(b"\r\n") if line.startswith(b"Content-Length")]
        return int(size), len(body)

    size, got = asyncio.run(scenario())
    assert size == got > 1 << 17


def test_a_failed_collection_is_one_scrapes_end_alone() -> None:
    failing = True

    async def collect() -> Snapshot:
        if failing:
            raise ZeroDivisionError
        return Snapshot()

    async def scenario() -> tuple[bytes, bytes]:
        nonlocal failing
        async with _open(collect) as connect:
            failed, _ = await _ask(connect, GET)
            failing = False
            good, _ = await _ask(connect, GET)
            return failed, good

    failed, good = asyncio.run(scenario())
    assert failed == b""
    assert good.startswith(b"HTTP/1.1 200 OK")


def test_other_work_goes_on_while_much_is_written() -> None:
    """A turn of the event loop writes one metric, of however many models."""

    async def scenario() -> int:
        turns = 0
        answered = asyncio.Event()

        async def work() -> None:
            nonlocal turns
            while not answered.is_set():
                turns += 1
                await asyncio.sleep(0)

        async with _open(recorder(*(model(version) for version in range(1, 20))).collect) as connect:
            reader, writer = await connect()
            working = asyncio.create_task(work())
            before = turns
            writer.write(GET)
            await reader.readline()
            turns -= before
            answered.set()
            await working
            writer.close()
        return turns

    assert asyncio.run(scenario()) > 25


def test_a_port_that_is_taken_is_one_sentence() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(AddressError, match=rf"127.0.0.1:{port}.*choose another --metrics-host or"):
            Endpoint("127.0.0.1", port, recorder().collect)


def test_without_a_port_there_is_nothing_to_open() -> None:
    async def scenario() -> None:
        made = Endpoint("127.0.0.1", None, recorder().collect)
        await made.open()
        await made.close()

    asyncio.run(scenario())
