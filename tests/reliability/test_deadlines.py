"""Deadlines that cannot be met: their calls fail, and cost the others nothing."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from cifar10net.pb import classifier_pb2 as pb
from tests.reliability.callers import LIMIT_S, Caller, Status, all_go_on, at_work, until

if TYPE_CHECKING:
    from tests.reliability.account import Account
    from tests.reliability.conftest import Start
    from tests.reliability.pictures import Pictures

_ROOM = 4_096


def test_deadlines_that_cannot_be_met_pass_and_other_calls_are_answered(
    start: Start, pictures: Pictures, account: Account
) -> None:
    server = start("--instances", 1, model="slow")

    async def main() -> Caller:
        large = [Caller(server.address, pictures, account, images=256) for _ in range(8)]
        small = [Caller(server.address, pictures, account) for _ in range(2)]
        # A batch of 64 takes 15 ms and each large call ahead has one.
        hurried = Caller(
            server.address, pictures, account, timeout_s=0.02, may_see={Status.DEADLINE_EXCEEDED}
        )
        async with at_work(*large, *small):
            await all_go_on(*large, calls=1)
            async with at_work(hurried):
                await until(lambda: hurried.seen[Status.DEADLINE_EXCEEDED] >= 20, "deadlines")
                # Not by a clock alone: the server has worked out that they would be late.
                await until(lambda: "at the earliest" in str(server.events("call refused")), "foresight")
            await all_go_on(*large, *small, calls=1)
        return hurried

    hurried = asyncio.run(main())

    assert hurried.answers < hurried.seen[Status.DEADLINE_EXCEEDED]


def test_a_storm_of_deadlines_leaves_a_server_that_answers(
    start: Start, pictures: Pictures, account: Account
) -> None:
    server = start("--max-pending-images", _ROOM, model="slow")

    async def main() -> None:
        caller = Caller(server.address, pictures, account, may_see={Status.DEADLINE_EXCEEDED})
        whole = Caller(server.address, pictures, account, images=_ROOM)
        samples = [pictures.some(n) for n in (1, 2, 64)]
        async with caller, whole:
            await caller.channel.channel_ready()
            for _ in range(100):
                await asyncio.gather(
                    *(
                        caller.ask_for(
                            samples[number % 3],
                            samples[number % 3].request(),
                            timeout_s=0.001 * (1 + number % 5),
                        )
                        for number in range(20)
                    )
                )
            await whole.ask()  # nothing of the storm has kept its room
            assert whole.answers == 1

    asyncio.run(main())

    assert account.tried == 2_001
    assert account.refused >= 200


def test_hanging_up_frees_capacity_for_others(start: Start, pictures: Pictures, account: Account) -> None:
    server = start("--max-pending-images", _ROOM, model="slow")
    sample = pictures.some(_ROOM)

    async def main() -> None:
        caller = Caller(server.address, pictures, account, images=_ROOM)
        probe = Caller(server.address, pictures, account, may_see={Status.RESOURCE_EXHAUSTED})
        async with caller, probe, asyncio.timeout(LIMIT_S):
            for _ in range(3):
                call = None
                while await probe.ask() is Status.OK:  # until there is no room
                    if call is None or call.done():  # the probe was there first
                        call = caller.stub.Classify(sample.request(), timeout=LIMIT_S)
                assert call is not None
                call.cancel()
                while await probe.ask() is not Status.OK:  # until the server has heard of it
                    pass
            assert await caller.ask() is Status.OK

    asyncio.run(main())


def test_interactive_calls_do_not_wait_for_bulk_ones(
    start: Start, pictures: Pictures, account: Account
) -> None:
    server = start("--max-batch", 16, "--instances", 1, model="slow")

    async def main() -> int:
        bulk = [
            Caller(server.address, pictures, account, images=128, priority=pb.PRIORITY_BULK)
            for _ in range(32)
        ]
        async with Caller(server.address, pictures, account, priority=pb.PRIORITY_INTERACTIVE) as interactive:
            await interactive.ask()
            asking = [asyncio.create_task(caller.ask()) for caller in bulk]
            await until(lambda: account.tried == 1 + len(bulk), "the bulk calls are on their way")
            # 256 batches wait. Each of these calls waits for the one that runs and at most one more; in the
            # order of coming it would be one of each bulk call.
            for _ in range(20):
                await interactive.ask()
            waiting = sum(not task.done() for task in asking)
            await asyncio.gather(*asking)
            for caller in bulk:
                await caller.close()
        return waiting

    assert asyncio.run(main()) >= 16
