"""A server with a cache gives the same answers as one without, in bounded memory."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING

from tests.reliability.callers import Caller, all_go_on, at_work
from tests.reliability.conftest import OTHER_SCALE
from tests.reliability.servers import MIB, memory
from tests.service.colours import expected_probabilities

if TYPE_CHECKING:
    from cifar10net.pb import classifier_pb2 as pb
    from tests.reliability.account import Account
    from tests.reliability.conftest import Start
    from tests.reliability.pictures import Pictures


def test_answers_are_the_same_with_and_without_a_cache(
    start: Start, pictures: Pictures, account: Account
) -> None:
    servers = [start("--cache-mib", mib) for mib in (8, 0)]
    sample = pictures.some(64)

    async def main() -> list[pb.ClassifyResponse]:
        callers = [Caller(server.address, pictures, account) for server in servers]
        responses = []
        for caller in (*callers, callers[0]):
            await caller.ask_for(sample, sample.request())
            responses.append(await caller.stub.Classify(sample.request(), timeout=60))
        async with at_work(*callers):
            await all_go_on(*callers, calls=50)
        return responses

    responses = asyncio.run(main())

    assert responses[0] == responses[1] == responses[2]


def test_models_do_not_share_what_is_remembered(start: Start, pictures: Pictures, account: Account) -> None:
    server = start("--cache-mib", 8)
    sample = pictures.some(64)
    samples = {
        "colours": sample,
        "pale": replace(sample, expected=expected_probabilities(sample.images, OTHER_SCALE)),
    }

    async def main() -> None:
        async with Caller(server.address, pictures, account) as caller:
            for _ in range(5):
                for model, its_sample in samples.items():
                    await caller.ask_for(its_sample, sample.request(model=model))

    asyncio.run(main())

    assert account.answered == 10


def test_ever_new_images_do_not_fill_the_memory(start: Start, pictures: Pictures, account: Account) -> None:
    server = start("--cache-mib", 2)
    samples = pictures.ever_new(64)

    async def main() -> tuple[int, int]:
        async with Caller(server.address, pictures, account) as caller:

            async def ask(times: int) -> int:
                for sample in islice(samples, times):
                    await caller.ask_for(sample, sample.request())
                return memory(server.pid)

            # 2 MiB are about 7,000 answers: full after the first 9,600, and turned over three times after.
            return await ask(150), await ask(350)

    full, later = asyncio.run(main())

    assert later - full < 3 * MIB  # 22,000 answers more would be 6
