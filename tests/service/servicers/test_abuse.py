"""A server under attack by its clients stays small and keeps answering the others."""

from __future__ import annotations

import asyncio
import contextlib
import random
import resource
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import numpy as np
import pytest
import uvloop
from hyperframe.frame import (
    DataFrame,
    HeadersFrame,
    PingFrame,
    PriorityFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)

from cifar10net.pb import classifier_pb2 as pb
from cifar10net.pb import classifier_pb2_grpc
from service.batching.admission import Admission
from service.config import ImageLimits, ServerConfig
from service.repository import Loaded, Repository
from service.rpc.server import RpcLimits, RpcServer
from service.runtime.model import ModelInfo
from service.server.spawn import ServerProcess
from service.servicers.classifier import ClassifierServicer
from service.servicers.decoding import Decoder
from tests.service.raw_client import (
    CLASSIFY,
    CLASSIFY_STREAM,
    EMPTY_MESSAGE,
    LIST_MODELS,
    PREFACE,
    WATCH,
    Wire,
    framed,
    head,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MIB = 1 << 20
REQUEST = pb.ClassifyRequest(packed_pixels=bytes(3072 * 4))


@pytest.fixture(scope="module")
def victim(tmp_path_factory: pytest.TempPathFactory, repository: Path) -> Iterator[ServerProcess]:
    """A server shared by the tests of this file, so that what one leaves behind hurts the next."""
    log = tmp_path_factory.mktemp("log") / "victim.log"
    # Without it, the server would disconnect a client that pings so often.
    options = ("--threads", "1", "--min-ping-interval-s", "0")
    with ServerProcess("--models", str(repository), *options, log=log) as process:
        with Wire(process.address) as wire:
            assert wire.ask(1).status == 0
        yield process
        assert process.stop() == 0
    assert "call failed" not in log.read_text()
    assert "Traceback" not in log.read_text()


@contextlib.contextmanager
def _bounded(process: ServerProcess, most_bytes: int) -> Iterator[None]:
    """Check that the server grows by less than ``most_bytes`` in the block, and answers at the end."""
    clear = Path(f"/proc/{process.pid}/clear_refs")
    with contextlib.suppress(OSError):
        clear.write_text("5")  # reset the peak
    before = _memory(process, "VmRSS")
    yield
    with Wire(process.address) as wire:
        assert wire.ask(1, CLASSIFY, REQUEST.SerializeToString()).status == 0
    assert _memory(process, "VmHWM") - before < most_bytes


def _memory(process: ServerProcess, key: str) -> int:
    status = Path(f"/proc/{process.pid}/status").read_text()
    return int(status.split(f"{key}:")[1].split()[0]) << 10


def test_a_thousand_idle_connections_cost_little(victim: ServerProcess) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < 2_000:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(4_096, hard), hard))
    with contextlib.ExitStack() as stack, _bounded(victim, 64 * MIB):
        wires = [stack.enter_context(Wire(victim.address)) for _ in range(1_000)]
        for wire in wires[::100]:
            wire.fence()
            assert wire.ask(1).status == 0


def _rapid_resets(wire: Wire) -> None:
    """Open and reset 10,000 streams of three kinds."""
    request = framed(REQUEST.SerializeToString())
    paths = (CLASSIFY, CLASSIFY_STREAM, WATCH)
    for start in range(1, 20_000, 200):
        frames: list[bytes] = []
        for stream_id in range(start, start + 200, 2):
            block = wire.encoder.encode(head(paths[stream_id // 2 % 3]))
            frames += (
                HeadersFrame(stream_id, block, flags=["END_HEADERS"]).serialize(),
                DataFrame(stream_id, request, flags=["END_STREAM"]).serialize(),
                RstStreamFrame(stream_id, 8).serialize(),
            )
        wire.send(*frames)


def _many(frame: bytes, count: int) -> Callable[[Wire], None]:
    def send(wire: Wire) -> None:
        for _ in range(count // 100):
            wire.send(frame * 100)

    return send


def _empty_messages(wire: Wire) -> None:
    """Send 100,000 empty messages on one stream."""
    wire.open(1, head(CLASSIFY_STREAM))
    wire.data(1, EMPTY_MESSAGE * 100_000)


def _empty_frames(wire: Wire) -> None:
    wire.open(1, head(CLASSIFY))
    wire.send(*[DataFrame(1, b"").serialize() * 1_000] * 20)


FLOODS: dict[str, Callable[[Wire], None]] = {
    "rapid resets": _rapid_resets,
    "pings": _many(PingFrame(0, bytes(8)).serialize(), 50_000),
    "settings": _many(SettingsFrame(0, settings={4: 70_000}).serialize(), 20_000),
    "priorities": _many(PriorityFrame(1, depends_on=3).serialize(), 20_000),
    "window updates": _many(WindowUpdateFrame(0, 1).serialize(), 50_000),
    "unknown frames": _many(b"\0\0\1\xee\0\0\0\0\0!", 50_000),
    "empty data": _empty_frames,
    "empty messages": _empty_messages,
}


@pytest.mark.parametrize("flood", FLOODS.values(), ids=FLOODS)
def test_a_flood_leaves_the_server_small_and_serving(
    victim: ServerProcess, flood: Callable[[Wire], None]
) -> None:
    with _bounded(victim, 100 * MIB), Wire(victim.address) as wire, ThreadPoolExecutor(1) as pool:
        reading = pool.submit(_read_on, wire.socket)
        flood(wire)
        wire.send(PingFrame(0, b"the end!"))
        assert reading.result()


def _read_on(connected: socket.socket) -> bool:
    """Read to the reply to the last PING or to the end; return whether the reply came."""
    tail = b""
    while b"the end!" not in tail and (data := connected.recv(1 << 16)):
        tail = tail[-8:] + data
    return b"the end!" in tail


def test_floods_of_a_client_that_does_not_read_are_bounded(victim: ServerProcess) -> None:
    ping = PingFrame(0, bytes(8)).serialize() * 1_000
    with _bounded(victim, 64 * MIB), Wire(victim.address) as wire:
        wire.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        wire.socket.settimeout(0)
        sent = 0
        with contextlib.suppress(BlockingIOError):
            while sent < 200 * MIB:  # far more than all buffers on the way
                sent += wire.socket.send(ping)
        assert sent < 200 * MIB


def test_clients_that_do_not_read_their_answers_leave_the_others_alone(victim: ServerProcess) -> None:
    request = pb.ClassifyRequest(packed_pixels=bytes(3072 * 500), top_k=3).SerializeToString()
    with _bounded(victim, 200 * MIB), contextlib.ExitStack() as stack:
        for _ in range(10):
            wire = stack.enter_context(Wire(victim.address, {4: 2**31 - 1}))
            wire.send(WindowUpdateFrame(0, 1 << 30))
            for stream_id in (1, 3, 5):
                wire.open(stream_id, head(CLASSIFY))
                wire.data(stream_id, framed(request), ended=True)


def test_half_open_requests_leave_the_others_alone(victim: ServerProcess) -> None:
    half = framed(bytes(100_000))[:50_000]
    with _bounded(victim, 100 * MIB), contextlib.ExitStack() as stack:
        for _ in range(20):
            wire = stack.enter_context(Wire(victim.address))
            for stream_id in range(1, 41, 2):
                wire.open(stream_id, head(CLASSIFY))
                wire.data(stream_id, half)
            wire.fence()


def test_random_bytes_leave_the_server_serving(victim: ServerProcess) -> None:
    chance = random.Random(0)  # noqa: S311 - nothing is secret
    with _bounded(victim, 32 * MIB):
        for number in range(300):
            with Wire(victim.address, preface=bool(number % 3)) as wire, contextlib.suppress(OSError):
                start = PREFACE if number % 2 else b""
                wire.send(start + chance.randbytes(chance.randrange(400)))


# -- in the server's process


class _Model:
    """Answers at once."""

    def __init__(self) -> None:
        self.info = ModelInfo("test", 1, ("a", "b", "c"), "CPUExecutionProvider", {})

    def run(self, images: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        return np.full((len(images), 3), 1 / 3, np.float32)


class _Inside:
    """A whole server in a thread of this process."""

    def __init__(self, max_connections: int) -> None:
        self.admission = Admission(16_384)
        self._max_connections = max_connections
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        assert self._ready.wait(60)

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        repository, decoder = Repository(), Decoder(1, ImageLimits())
        repository.open(Loaded([(_Model(),)]), ServerConfig())  # type: ignore[list-item]
        classifier = ClassifierServicer(repository, self.admission, decoder)
        limits = RpcLimits(
            max_message_bytes=32 * MIB, max_held_bytes=512 * MIB, max_connections=self._max_connections
        )
        self.rpc = RpcServer(classifier.methods(), limits)
        listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{listener.getsockname()[1]}"
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        await self.rpc.listen(listener)
        self._ready.set()
        await self._stop.wait()
        await self.rpc.close()
        decoder.close()
        await repository.close()

    def holds_nothing(self) -> bool:
        """Wait until no call is in progress; return whether all memory and admissions are released."""
        idle = threading.Event()

        def poll() -> None:
            if self.rpc.calls:
                self._loop.call_later(0.01, poll)
            else:
                self._loop.call_later(0.05, idle.set)  # cancelled handlers have yet to end

        self._loop.call_soon_threadsafe(poll)
        assert idle.wait(30)
        return (self.rpc.held_bytes, self.admission.images, len(self.rpc._streaming_calls)) == (0, 0, 0)

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(30)
        assert not self._thread.is_alive()


@pytest.fixture
def inside() -> Iterator[_Inside]:
    server = _Inside(max_connections=20)
    yield server
    server.stop()


def test_a_stampede_of_cancelled_calls_leaves_nothing(inside: _Inside) -> None:
    with grpc.insecure_channel(inside.address) as channel:
        stub = classifier_pb2_grpc.ClassifierStub(channel)
        for _ in range(20):
            calls = [stub.Classify.future(REQUEST, timeout=60) for _ in range(100)]
            for call in calls:
                call.cancel()
        for _ in range(100):
            stream = stub.ClassifyStream(iter([pb.ClassifyStreamRequest(request=REQUEST)] * 20), timeout=60)
            stream.cancel()

        assert inside.holds_nothing()
        assert len(stub.Classify(REQUEST, timeout=60).results) == 4


def test_a_storm_of_deadlines_leaves_nothing(inside: _Inside) -> None:
    with grpc.insecure_channel(inside.address) as channel:
        stub = classifier_pb2_grpc.ClassifierStub(channel)
        codes = set()
        for _ in range(20):
            calls = [stub.Classify.future(REQUEST, timeout=0.001) for _ in range(100)]
            codes |= {call.code() for call in calls}

        assert codes <= {grpc.StatusCode.OK, grpc.StatusCode.DEADLINE_EXCEEDED}
        assert inside.holds_nothing()
        assert len(stub.Classify(REQUEST, timeout=60).results) == 4


def test_clients_that_vanish_leave_nothing(inside: _Inside) -> None:
    for _ in range(30):
        with Wire(inside.address) as wire:
            for stream_id, path in ((1, CLASSIFY), (3, CLASSIFY_STREAM), (5, CLASSIFY)):
                wire.open(stream_id, head(path))
                wire.data(stream_id, framed(REQUEST.SerializeToString())[: 400 * stream_id])
            wire.fence()
    assert inside.holds_nothing()


def test_connections_beyond_the_limit_are_refused_until_others_close(inside: _Inside) -> None:
    with contextlib.ExitStack() as stack:
        wires = [stack.enter_context(Wire(inside.address)) for _ in range(20)]
        for wire in wires:
            wire.fence()
        for _ in range(10):
            with contextlib.suppress(OSError), Wire(inside.address) as late:
                assert not late.read_to_end()
        assert all(wire.ask(1).status == 0 for wire in wires)
        wires[0].socket.close()
        _wait_for_room(inside.address)


def _wait_for_room(address: str) -> None:
    """Connect until a connection is accepted."""
    while True:
        with contextlib.suppress(OSError, AssertionError), Wire(address) as wire:
            assert wire.ask(1, LIST_MODELS).status == 0
            return
