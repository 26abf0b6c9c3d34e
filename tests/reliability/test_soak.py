"""A long run of everything at once: answers are correct, and neither memory nor files nor threads grow.

CIFAR10NET_SOAK_S sets how many seconds; CI takes 16.
"""

from __future__ import annotations

import asyncio
import os
import random
from typing import TYPE_CHECKING, Any

import grpc.aio
import pytest

from cifar10net.pb import classifier_pb2 as pb
from tests.reliability.callers import LIMIT_S, Caller, PatientCaller, Status, until
from tests.reliability.servers import MIB, files, memory, threads

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.reliability.account import Account
    from tests.reliability.conftest import Start
    from tests.reliability.pictures import Pictures

_SOAK_S = float(os.environ.get("CIFAR10NET_SOAK_S", "4"))
_WARM_UP_S = 1.0
_ROOM = 4_096
_BROKEN = (b"", b"junk", b"\xff\xd8\xff\xe0 no JPEG", b"\x89PNG\r\n\x1a\n nor a PNG")
_BROKEN_CODES = {
    pb.ImageError.CODE_EMPTY,
    pb.ImageError.CODE_UNSUPPORTED_FORMAT,
    pb.ImageError.CODE_CORRUPT,
}


class _Traffic:
    """All kinds of calls to one server."""

    def __init__(self, address: str, pictures: Pictures, account: Account) -> None:
        self._address = address
        self._pictures = pictures
        self._account = account
        self._random = random.Random(0)  # noqa: S311 - nothing is secret
        self._files = [pictures.files(8, kind) for kind in ("JPEG", "PNG", "BMP")]
        self._caller = Caller(address, pictures, account)
        self._large = Caller(address, pictures, account, images=64)
        self._hurried = Caller(address, pictures, account, may_see={Status.DEADLINE_EXCEEDED})
        self._patient = PatientCaller(address, pictures, account, images=16)

    async def flow(self, seconds: float) -> None:
        """Ask in all ways at the same time."""
        end_s = asyncio.get_running_loop().time() + seconds
        ways: tuple[Callable[[], Awaitable[object]], ...] = (
            self._caller.ask,
            self._large.ask,
            self._patient.ask,
            self.send_files,
            self.hang_up,
            self.hurry,
            self.talk,
            self.leave_a_stream,
            self.come_anew,
        )

        async def repeat(way: Callable[[], Awaitable[object]]) -> None:
            while asyncio.get_running_loop().time() < end_s:
                await way()

        async with asyncio.TaskGroup() as tasks:
            for way in ways:
                tasks.create_task(repeat(way))

    async def send_files(self) -> None:
        """Send eight picture files and, somewhere among them, one that is broken."""
        position = self._random.randrange(9)
        encoded, sample = self._random.choice(self._files)
        images = [pb.Image(encoded=file) for file in encoded]
        images.insert(position, pb.Image(encoded=self._random.choice(_BROKEN)))
        self._account.tried += 1
        response = await self._caller.stub.Classify(pb.ClassifyRequest(images=images), timeout=LIMIT_S)
        broken = response.results.pop(position)
        is_told = broken.error.code in _BROKEN_CODES
        self._account.close(sample.loss(response) if is_told else f"no error of its own: {broken}")

    async def hang_up(self) -> None:
        """Cancel a call at a random moment."""
        sample = self._pictures.some(64)
        self._account.tried += 1
        call = self._caller.stub.Classify(sample.request(), timeout=LIMIT_S)
        await asyncio.wait([asyncio.ensure_future(call.code())], timeout=self._random.uniform(0, 0.01))
        if call.cancel():
            self._account.refuse("hung up")
        else:
            self._account.close(sample.loss(await call))

    async def hurry(self) -> None:
        """Call with a short deadline."""
        sample = self._pictures.some(4)
        await self._hurried.ask_for(sample, sample.request(), timeout_s=self._random.uniform(0.001, 0.02))

    async def talk(self) -> None:
        """Ask ten times on a stream."""
        samples = [self._pictures.some(3) for _ in range(10)]
        stream = self._caller.stub.ClassifyStream(timeout=LIMIT_S)
        for number, sample in enumerate(samples):
            self._account.tried += 1
            await stream.write(pb.ClassifyStreamRequest(id=str(number), request=sample.request()))
        await stream.done_writing()
        for number, sample in enumerate(samples):
            answer: Any = await stream.read()
            self._account.close("out of order" if answer.id != str(number) else sample.loss(answer.response))
        assert await stream.read() is grpc.aio.EOF

    async def leave_a_stream(self) -> None:
        """Hang up in the middle of a stream."""
        sample = self._pictures.some(3)
        stream = self._caller.stub.ClassifyStream(timeout=LIMIT_S)
        for _ in range(5):
            await stream.write(pb.ClassifyStreamRequest(request=sample.request()))
        self._account.tried += 1
        answer: Any = await stream.read()
        self._account.close(sample.loss(answer.response))
        stream.cancel()

    async def come_anew(self) -> None:
        """Connect, call and leave."""
        async with Caller(self._address, self._pictures, self._account) as caller:
            await caller.ask()

    async def close(self) -> None:
        for caller in (self._caller, self._large, self._hurried, self._patient):
            await caller.close()


async def _most_memory(pid: int, until_done: asyncio.Task[None]) -> int:
    """Watch a server's memory until a task is done."""
    most = 0
    while not until_done.done():
        most = max(most, memory(pid))
        await asyncio.sleep(0.05)
    return most


@pytest.mark.slow
def test_a_long_time_of_everything_leaves_nothing_behind(
    start: Start, pictures: Pictures, account: Account
) -> None:
    server = start("--max-pending-images", _ROOM, "--decode-threads", 1)
    pid = server.pid

    async def main() -> tuple[int, int, int]:
        before = files(pid)
        traffic = _Traffic(server.address, pictures, account)
        await traffic.flow(_WARM_UP_S)
        warm_threads = threads(pid)
        most = []
        for _ in range(4):
            flowing = asyncio.create_task(traffic.flow(_SOAK_S / 4))
            most.append(await _most_memory(pid, flowing))
            await flowing
        await traffic.close()
        await until(lambda: files(pid) <= before, "all connections are closed")
        async with Caller(server.address, pictures, account, images=_ROOM) as whole:
            await whole.ask()  # there is room for all: nobody who left has kept some
        return most[1], most[3], threads(pid) - warm_threads

    second_quarter, end, more_threads = asyncio.run(main())

    assert end - second_quarter < 8 * MIB
    assert more_threads == 0
    # All but those that hung up or were in too great a hurry were answered.
    assert set(account.statuses) <= {"hung up", Status.DEADLINE_EXCEEDED.name}
