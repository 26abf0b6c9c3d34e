"""Calls of thousands of images beside calls of one: all are answered, and the small ones are not held up."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from cifar10net.pb import classifier_pb2 as pb
from tests.reliability.callers import Caller, all_go_on, at_work

if TYPE_CHECKING:
    from tests.reliability.account import Account
    from tests.reliability.conftest import Start
    from tests.reliability.pictures import Pictures

_MANY = 4_096


def test_small_calls_are_answered_while_a_large_one_is_under_way(
    start: Start, pictures: Pictures, account: Account
) -> None:
    server = start("--instances", 1, model="slow")

    async def main() -> list[int]:
        big = [Caller(server.address, pictures, account, images=_MANY) for _ in range(2)]
        small = [Caller(server.address, pictures, account) for _ in range(4)]
        meanwhile = []
        async with at_work(*small):
            await all_go_on(*small, calls=1)
            for _ in range(2):
                before = sum(caller.answers for caller in small)
                await asyncio.gather(*(caller.ask() for caller in big))
                meanwhile.append(sum(caller.answers for caller in small) - before)
        for caller in big:
            await caller.close()
        return meanwhile

    # Each two big calls are 128 batches. A small one has to wait for at most three: the one that runs and one
    # of each big call; were the big calls answered in one piece, it would be four times as many as callers.
    assert min(asyncio.run(main())) >= 40


def test_a_small_call_of_files_is_answered_while_a_large_one_is_decoded(
    start: Start, pictures: Pictures, account: Account
) -> None:
    server = start("--decode-threads", 1)
    many_files, many = pictures.files(1_024, "JPEG")
    few_files, few = pictures.files(2, "JPEG")
    big_request = pb.ClassifyRequest(images=[pb.Image(encoded=file) for file in many_files])
    request = pb.ClassifyRequest(images=[pb.Image(encoded=file) for file in few_files])

    async def main() -> int:
        async with (
            Caller(server.address, pictures, account) as big,
            Caller(server.address, pictures, account) as small,
        ):
            await small.ask_for(few, request)
            asking = [asyncio.create_task(big.ask_for(many, big_request)) for _ in range(4)]
            while not all(task.done() for task in asking):
                await small.ask_for(few, request)
        return small.answers

    assert asyncio.run(main()) >= 10
