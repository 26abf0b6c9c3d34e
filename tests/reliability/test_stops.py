"""A server stopped under load answers what it has admitted; its successor gets the rest."""

from __future__ import annotations

import asyncio
from itertools import count
from typing import TYPE_CHECKING, Any

import grpc.aio
import pytest

from cifar10net.pb import classifier_pb2 as pb
from tests.reliability.callers import LIMIT_S, Caller, PatientCaller, Status, all_go_on, at_work, until
from tests.reliability.servers import is_free, is_over

if TYPE_CHECKING:
    from tests.reliability.account import Account
    from tests.reliability.conftest import Start
    from tests.reliability.pictures import Pictures, Sample


@pytest.mark.parametrize("workers", [1, 2])
def test_a_stop_loses_no_call_and_a_successor_takes_over(
    start: Start, pictures: Pictures, account: Account, workers: int
) -> None:
    server = start("--workers", workers)
    port, processes = server.port, server.workers()

    async def main() -> None:
        callers = [
            Caller(server.address, pictures, account, images=images, may_see={Status.UNAVAILABLE})
            for images in (1, 1, 1, 32, 32, 32, 1_024)
        ]
        patient = [
            PatientCaller(server.address, pictures, account, images=images, is_stubborn=True)
            for images in (1, 32, 32, 1_024)
        ]
        async with at_work(*callers, *patient, rest_s=0.005):
            await all_go_on(*callers, *patient)
            server.terminate()
            await until(lambda: is_free(port), "a free port")
            await asyncio.to_thread(start, "--workers", workers, port=port)
            await all_go_on(*callers, *patient)

    asyncio.run(main())

    assert server.wait() == 0
    assert all(map(is_over, processes))


class _Talker:
    """Asks on a stream."""

    def __init__(self, address: str, pictures: Pictures, account: Account) -> None:
        self._caller = Caller(address, pictures, account)
        self._stream = self._caller.stub.ClassifyStream(timeout=LIMIT_S)
        self._account = account
        self._pictures = pictures
        self._numbers = count()
        self.unanswered: dict[str, Sample] = {}

    async def send(self, n: int) -> None:
        """Send ``n`` requests; the server has got them when this returns."""
        for number, _ in zip(self._numbers, range(n), strict=False):
            sample = self._pictures.some(4)
            self._account.tried += 1
            self.unanswered[str(number)] = sample
            await self._stream.write(pb.ClassifyStreamRequest(id=str(number), request=sample.request()))
        # What is asked later on the same connection arrives later.
        await self._caller.stub.ListModels(pb.ListModelsRequest(), timeout=LIMIT_S)

    async def hear(self) -> None:
        """Hear an answer, which has to be the next in order."""
        answer: Any = await self._stream.read()
        assert answer is not grpc.aio.EOF
        expected = next(iter(self.unanswered))
        sample = self.unanswered.pop(answer.id)
        self._account.close(
            sample.loss(answer.response) if answer.id == expected else f"{answer.id} came before {expected}"
        )

    async def hear_all(self) -> grpc.StatusCode:
        """Hear answers until the stream ends; return its status."""
        try:
            while self.unanswered:
                await self.hear()
            assert await self._stream.read() is grpc.aio.EOF
        except grpc.aio.AioRpcError as error:
            return error.code()
        return await self._stream.code()

    async def close(self) -> None:
        await self._caller.close()


@pytest.mark.parametrize("workers", [1, 2])
def test_a_stop_answers_what_streams_have_sent(
    start: Start, pictures: Pictures, account: Account, workers: int
) -> None:
    server = start("--workers", workers, model="slow")

    async def main() -> list[grpc.StatusCode]:
        talkers = [_Talker(server.address, pictures, account) for _ in range(4)]
        async with asyncio.TaskGroup() as tasks:
            for talker in talkers:
                tasks.create_task(talker.send(64))
        await talkers[0].hear()
        server.terminate()
        statuses = await asyncio.gather(*(talker.hear_all() for talker in talkers))
        assert not any(talker.unanswered for talker in talkers)
        for talker in talkers:
            await talker.close()
        return statuses

    statuses = asyncio.run(main())

    assert set(statuses) == {Status.UNAVAILABLE}
    assert server.wait() == 0
