"""An overloaded server refuses in order, keeps to its memory limit, and recovers."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from cifar10net.pb import classifier_pb2 as pb
from tests.reliability.callers import Caller, Status
from tests.reliability.servers import MIB, memory, peak_memory

if TYPE_CHECKING:
    from tests.reliability.account import Account
    from tests.reliability.conftest import Start
    from tests.reliability.pictures import Pictures

_IMAGES = 1_024
_MOST_IMAGES = 4_096


@pytest.mark.slow
def test_more_images_than_may_wait_are_refused_until_there_is_room(
    start: Start, pictures: Pictures, account: Account
) -> None:
    server = start("--max-pending-images", _MOST_IMAGES, model="slow")
    before = memory(server.pid)

    async def main() -> Caller:
        callers = [
            Caller(server.address, pictures, account, images=_IMAGES, may_see={Status.RESOURCE_EXHAUSTED})
            for _ in range(16)
        ]

        async def ask(caller: Caller) -> None:
            async with caller:
                for _ in range(4):
                    await caller.ask()

        await asyncio.gather(*map(ask, callers))
        async with Caller(server.address, pictures, account, images=_MOST_IMAGES) as caller:
            await caller.ask()  # there is room for all again
            await caller.ask()
        return caller

    last = asyncio.run(main())

    assert account.statuses["RESOURCE_EXHAUSTED"] >= 8
    assert last.answers == 2
    # Twice 12 MiB of pixels that wait, and up to 1 MiB a caller that is refused.
    assert peak_memory(server.pid) - before < 96 * MIB


def test_more_bytes_than_may_wait_are_refused_until_there_is_room(
    start: Start, pictures: Pictures, account: Account
) -> None:
    limit_mib = 64
    server = start("--max-pending-mib", limit_mib)
    before = memory(server.pid)
    file, sample = pictures.plain(2_200)  # 14 MiB
    request = pb.ClassifyRequest(images=[pb.Image(encoded=file)])

    async def main() -> list[Status]:
        callers = [
            Caller(server.address, pictures, account, may_see={Status.RESOURCE_EXHAUSTED}) for _ in range(16)
        ]

        async def ask(caller: Caller, times: int) -> Status:
            for _ in range(times):
                last = await caller.ask_for(sample, request)
            return last

        await asyncio.gather(*(ask(caller, 3) for caller in callers))
        last = await asyncio.gather(*(ask(caller, 1) for caller in callers[:4]))  # 57 MiB
        for caller in callers:
            await caller.close()
        return last

    last = asyncio.run(main())

    assert account.statuses["RESOURCE_EXHAUSTED"] >= 8
    assert set(last) == {Status.OK}
    # What is held, most of it as a message and as its parts, and two pictures that are decoded take 160 to
    # 200 MiB; to hold all that is sent would take 650.
    assert peak_memory(server.pid) - before < 288 * MIB
