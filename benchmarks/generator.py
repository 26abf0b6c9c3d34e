"""Our own load generator: calls in a closed loop, calls at random times, messages on one stream.

Every answer is checked; one that differs from the expected answer counts as a failure, not as a call.
"""

from __future__ import annotations

import asyncio
import gc
import selectors
import time
from collections import Counter
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import uvloop

from benchmarks.answers import Answers
from benchmarks.http2 import Connection, Stream, header_block, message
from benchmarks.load import Load, summarize

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine, Sequence

CLASSIFY = "/cifar10net.v1.Classifier/Classify"
CLASSIFY_STREAM = "/cifar10net.v1.Classifier/ClassifyStream"
_TIMEOUT_S = 20.0  # for answers, after the last call was sent
_ID, _REQUEST, _RESPONSE = 0x0A, 0x12, 0x12  # tags: field 1 and field 2, both length-delimited


@dataclass(frozen=True)
class Target:
    """A server, a request, and the expected answer."""

    address: str
    request: bytes
    """A serialized ClassifyRequest."""
    expected: bytes
    """The serialized ClassifyResponse that a call before the run returned."""
    connections: int = 1


def closed_loop(target: Target, callers: int, seconds: float) -> Load:
    """Keep ``callers`` calls in flight for ``seconds``; those in flight at the end are awaited."""
    return _on_uvloop(_closed_loop(target, callers, seconds))


def poisson(target: Target, rate: float, seconds: float, seed: int) -> Load:
    """Send calls at random times (an open loop), without waiting for earlier ones.

    Latency counts from the time at which a call was due, so that neither a slow generator nor a slow server
    can hide a delay.
    """
    # Timers of uvloop and epoll have a resolution of 1 ms, those of select() of 1 us.
    with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(selectors.SelectSelector())) as runner:
        return _undisturbed(runner, _poisson(target, arrival_times(rate, seconds, seed)))


def stream(target: Target, window: int, seconds: float) -> Load:
    """Keep ``window`` messages in flight on one stream; answers must come in the order of the messages."""
    return _on_uvloop(_stream(target, window, seconds))


def arrival_times(rate: float, seconds: float, seed: int) -> list[float]:
    """Draw a Poisson process: ascending times in seconds, below ``seconds``, at ``rate`` a second."""
    draw = np.random.default_rng(seed)
    gaps = draw.exponential(1 / rate, int(rate * seconds * 1.2) + 100)
    times = np.cumsum(gaps)
    while times[-1] < seconds:  # hardly ever
        times = np.append(times, times[-1] + np.cumsum(draw.exponential(1 / rate, 100)))
    return [float(moment) for moment in times[times < seconds]]


class _Run:
    """State that all calls of a run share."""

    def __init__(self, target: Target, in_flight: int) -> None:
        self.answers = Answers(target.expected)
        self.body = message(target.request)
        self.block = header_block(CLASSIFY, target.address)
        self.latencies: list[float] = []
        self.late: list[float] = []
        self.failures: Counter[str] = Counter()
        self.finished = asyncio.Event()
        self.began = self.ended = time.perf_counter()
        self._in_flight = in_flight

    def record(self, since: float, answer: bytes, problem: str) -> None:
        """Count an answer, as expected or as a failure."""
        self.ended = time.perf_counter()
        if not problem and self.answers.agrees(answer):
            self.latencies.append(self.ended - since)
        else:
            self.failures[problem or "the answer is not the expected one"] += 1

    def retire(self) -> None:
        """Note that a caller has finished."""
        self._in_flight -= 1
        if not self._in_flight:
            self.finished.set()

    async def load(self, seconds: float) -> Load:
        """Wait for all answers, for a limited time after ``seconds``, and summarize."""
        try:
            await asyncio.wait_for(self.finished.wait(), seconds + _TIMEOUT_S)
        except TimeoutError:
            self.failures["never answered"] += self._in_flight
        return summarize(self.latencies, self.ended - self.began, self.failures, self.late)


class _Call(Stream):
    """One call; its latency counts from ``since``."""

    __slots__ = ("answer", "connection", "run", "since")

    def __init__(self, run: _Run, connection: Connection, since: float) -> None:
        super().__init__()
        self.run, self.connection, self.since = run, connection, since
        self.answer = b""

    def send(self) -> None:
        self.connection.open(self, self.run.block)
        self.connection.send(self, self.run.body, end=True)

    def on_message(self, body: bytes) -> None:
        self.answer += body  # a second message makes the answer wrong

    def on_end(self, problem: str) -> None:
        self.run.record(self.since, self.answer, problem)
        self.run.retire()


class _RepeatedCall(_Call):
    """A call that is followed by another as soon as it is answered, until a given time."""

    __slots__ = ("until",)

    def __init__(self, run: _Run, connection: Connection, until: float) -> None:
        super().__init__(run, connection, time.perf_counter())
        self.until = until

    def on_end(self, problem: str) -> None:
        self.run.record(self.since, self.answer, problem)
        if self.run.ended < self.until and not self.connection.problem:
            _RepeatedCall(self.run, self.connection, self.until).send()
        else:
            self.run.retire()


class _Messages(Stream):
    """One stream of numbered messages, each sent when an earlier one is answered."""

    __slots__ = ("connection", "expected", "run", "sent", "until")

    def __init__(self, run: _Run, connection: Connection, until: float) -> None:
        super().__init__()
        self.run, self.connection, self.until = run, connection, until
        self.sent: list[float] = []
        self.expected = 0

    def send_next(self) -> None:
        number = len(self.sent)
        self.sent.append(time.perf_counter())
        self.connection.send(self, message(stream_message(number, self.run.body[5:])), end=False)

    def on_message(self, body: bytes) -> None:
        number, answer = self.expected, stream_answer(body)
        self.expected += 1
        if number >= len(self.sent):
            self.run.failures["an answer too many"] += 1
            return
        problem = "" if answer[0] == number else f"an answer out of order, or an error: {body[:40]!r}"
        self.run.record(self.sent[number], answer[1], problem)
        if self.run.ended < self.until:
            self.send_next()
        elif self.expected == len(self.sent):
            self.connection.send(self, b"", end=True)

    def on_end(self, problem: str) -> None:
        if problem:
            self.run.failures[problem] += 1
        if unanswered := len(self.sent) - self.expected:
            self.run.failures["never answered"] += unanswered
        self.run.retire()


def stream_message(number: int, request: bytes) -> bytes:
    """Serialize a ClassifyStreamRequest: the number as its id, then a ClassifyRequest."""
    name = str(number).encode()
    return b"%c%c%b%c%b%b" % (_ID, len(name), name, _REQUEST, _varint(len(request)), request)


def stream_answer(body: bytes) -> tuple[int, bytes]:
    """Parse a ClassifyStreamResponse.

    Returns:
        Its id as a number, and the serialized ClassifyResponse; (-1, b"") for anything else, such as a
        CallError.
    """
    try:
        start = 2 + body[1]
        name, tag = body[2:start], body[start]
        size, at = _read_varint(body, start + 1)
    except IndexError:
        return -1, b""
    if body[0] != _ID or tag != _RESPONSE or not name.isdigit() or at + size != len(body):
        return -1, b""
    return int(name), body[at:]


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:  # noqa: PLR2004 - seven bits a byte
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes((*out, value))


def _read_varint(body: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while body[at] & 0x80:
        value |= (body[at] & 0x7F) << shift
        at, shift = at + 1, shift + 7
    return value | body[at] << shift, at + 1


async def _closed_loop(target: Target, callers: int, seconds: float) -> Load:
    async with _connected(target) as connections:
        run = _Run(target, callers)
        for number in range(callers):
            _RepeatedCall(run, connections[number % len(connections)], run.began + seconds).send()
        _flush(connections)
        return await run.load(seconds)


async def _poisson(target: Target, arrivals: Sequence[float]) -> Load:
    async with _connected(target) as connections:
        run = _Run(target, len(arrivals))
        loop = asyncio.get_running_loop()

        def send_due(number: int) -> None:
            while number < len(arrivals):
                since = run.began + arrivals[number]
                if (wait_s := since - time.perf_counter()) > 0:
                    loop.call_later(wait_s, send_due, number)
                    return
                run.late.append(-wait_s)
                connection = connections[number % len(connections)]
                _Call(run, connection, since).send()
                connection.flush()
                number += 1

        send_due(0)
        return await run.load(arrivals[-1] if arrivals else 0.0)


async def _stream(target: Target, window: int, seconds: float) -> Load:
    async with _connected(target) as connections:
        run = _Run(target, 1)
        messages = _Messages(run, connections[0], run.began + seconds)
        connections[0].open(messages, header_block(CLASSIFY_STREAM, target.address))
        for _ in range(window):
            messages.send_next()
        _flush(connections)
        return await run.load(seconds)


@asynccontextmanager
async def _connected(target: Target) -> AsyncIterator[list[Connection]]:
    host, _, port = target.address.rpartition(":")
    loop = asyncio.get_running_loop()
    connections: list[Connection] = []
    try:
        for _ in range(target.connections):
            _, connection = await loop.create_connection(Connection, host, int(port))
            connections.append(connection)
            await connection.connected()
        yield connections
    finally:
        for connection in connections:
            connection.close()


def _flush(connections: Sequence[Connection]) -> None:
    for connection in connections:
        connection.flush()


def _on_uvloop(work: Coroutine[None, None, Load]) -> Load:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return _undisturbed(runner, work)


def _undisturbed(runner: asyncio.Runner, work: Coroutine[None, None, Load]) -> Load:
    """Run without garbage collections, whose pauses would look like the server's."""
    gc.collect()
    gc.disable()
    try:
        return runner.run(work)
    finally:
        gc.enable()
