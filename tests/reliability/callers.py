"""Real gRPC clients that call again and again, check every answer and account for it.

Each has a connection of its own. A ``Caller`` retries nothing and sees each status as the server meant it; a
``PatientCaller`` is the project's own client, which retries.
"""

from __future__ import annotations

import asyncio
import contextlib
from abc import ABC, abstractmethod
from collections import Counter
from typing import TYPE_CHECKING, Any, Self

import grpc
import grpc.aio

from cifar10net import AsyncClient, Client
from cifar10net.channel import access_metadata, open_aio_channel
from cifar10net.config import Access, ClientConfig
from cifar10net.errors import ClientError, ServerUnavailableError
from cifar10net.pb import classifier_pb2 as pb
from cifar10net.pb import classifier_pb2_grpc
from cifar10net.protocol import MAX_MESSAGE_BYTES, RETRY_PUSHBACK

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable

    from tests.reliability.account import Account
    from tests.reliability.pictures import Pictures, Sample

LIMIT_S = 60.0
_EVERYBODYS = Access()
_PAUSE_S = 0.02  # after a call that found nobody
_MOST_PUSHBACK_MS = 1_000

Status = grpc.StatusCode


def open_channel(address: str, access: Access = _EVERYBODYS, *, repeats: bool = False) -> grpc.aio.Channel:
    """Make a channel that shares its connection with none.

    One that ``repeats`` is as gRPC's are by default: it sends calls again that no server has looked at.
    """
    return open_aio_channel(
        address,
        access,
        [
            ("grpc.enable_retries", int(repeats)),
            ("grpc.use_local_subchannel_pool", 1),
            ("grpc.initial_reconnect_backoff_ms", 50),
            ("grpc.max_reconnect_backoff_ms", 200),
            ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
            ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
        ],
    )


class Asker(ABC):
    """Asks a server call after call."""

    def __init__(self) -> None:
        self.answers = 0
        """How many calls were answered."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.close()

    @abstractmethod
    async def ask(self) -> grpc.StatusCode:
        """Ask about some images, compare the answer and enter what came of it."""

    @abstractmethod
    async def close(self) -> None:
        """Close the connection."""

    async def ask_until(self, over: asyncio.Event, rest_s: float = 0) -> None:
        """Ask call after call, with a rest after each, which is longer after one that was not answered."""
        while not over.is_set():
            is_answered = await self.ask() is Status.OK
            if rest_s or not is_answered:
                await asyncio.sleep(rest_s if is_answered else _PAUSE_S)


class Caller(Asker):
    """Asks a server over a connection of its own and retries nothing."""

    def __init__(
        self,
        address: str,
        pictures: Pictures,
        account: Account,
        *,
        images: int = 1,
        may_see: Iterable[grpc.StatusCode] = (),
        timeout_s: float = LIMIT_S,
        access: Access = _EVERYBODYS,
        repeats: bool = False,
        **fields: Any,
    ) -> None:
        """Prepare to ask.

        Args:
            address: of the server.
            pictures: what to ask about.
            account: where each call is entered.
            images: a call.
            may_see: statuses that are no loss.
            timeout_s: of a call.
            access: how to reach the server.
            repeats: whether its channel sends calls again that the server has never looked at.
            fields: of each request.
        """
        super().__init__()
        self.channel = open_channel(address, access, repeats=repeats)
        self.stub = classifier_pb2_grpc.ClassifierStub(self.channel)
        self.seen: Counter[grpc.StatusCode] = Counter()
        self._pictures = pictures
        self._account = account
        self._images = images
        self._may_see = frozenset(may_see)
        self._timeout_s = timeout_s
        self._metadata = access_metadata(access)
        self._fields = fields

    async def close(self) -> None:
        await self.channel.close()

    async def ask(self) -> grpc.StatusCode:
        """Ask about some images."""
        sample = self._pictures.some(self._images)
        return await self.ask_for(sample, sample.request(**self._fields))

    async def ask_for(
        self, sample: Sample, request: pb.ClassifyRequest, *, timeout_s: float | None = None
    ) -> grpc.StatusCode:
        """Send a request, compare the answer and enter what came of it."""
        self._account.tried += 1
        try:
            response = await self.stub.Classify(
                request, timeout=timeout_s or self._timeout_s, metadata=self._metadata
            )
        except grpc.aio.AioRpcError as error:
            self._enter(error)
            return self._see(error.code())
        self._account.close(sample.loss(response))
        return self._see(Status.OK)

    def _see(self, status: grpc.StatusCode) -> grpc.StatusCode:
        self.seen[status] += 1
        self.answers = self.seen[Status.OK]
        return status

    def _enter(self, error: grpc.aio.AioRpcError) -> None:
        status = error.code()
        if status not in self._may_see:
            self._account.losses.append(f"{status.name}: {error.details()}")
        elif status is Status.RESOURCE_EXHAUSTED and not _says_when_to_come_again(error):
            self._account.losses.append(f"{status.name} with the trailer {error.trailing_metadata()}")
        else:
            self._account.refuse(status.name)


class Newcomer(Caller):
    """Makes a new connection for each call."""

    def __init__(self, address: str, pictures: Pictures, account: Account, access: Access) -> None:
        super().__init__(address, pictures, account, access=access)
        self._address = address
        self._access = access

    async def ask(self) -> grpc.StatusCode:
        """Connect, and ask about an image."""
        await self.channel.close()
        self.channel = open_channel(self._address, self._access)
        self.stub = classifier_pb2_grpc.ClassifierStub(self.channel)
        return await super().ask()


class PatientCaller(Asker):
    """Asks by the project's asyncio client, which repeats calls that found the server UNAVAILABLE."""

    def __init__(
        self,
        address: str,
        pictures: Pictures,
        account: Account,
        *,
        images: int = 1,
        is_stubborn: bool = False,
        access: Access = _EVERYBODYS,
    ) -> None:
        """Prepare to ask; a stubborn one goes on when the client has given up, until LIMIT_S have passed."""
        super().__init__()
        self._client = AsyncClient(address, ClientConfig(access=access))
        self._pictures = pictures
        self._account = account
        self._images = images
        self._is_stubborn = is_stubborn

    async def close(self) -> None:
        await self._client.close()

    async def ask(self) -> grpc.StatusCode:
        """Ask about some images until there is an answer."""
        sample = self._pictures.some(self._images)
        self._account.tried += 1
        try:
            async with asyncio.timeout(LIMIT_S):
                results = await self._repeat(sample)
        except (ClientError, TimeoutError) as error:
            self._account.losses.append(f"a client that retries: {error!r}")
            return Status.UNKNOWN
        self._account.close(sample.loss_of([result.classes for result in results]))
        self.answers += 1
        return Status.OK

    async def _repeat(self, sample: Sample) -> Any:
        while True:
            try:
                return await self._client.classify(sample.images)
            except ServerUnavailableError:
                if not self._is_stubborn:
                    raise
                self._account.retried += 1
                await asyncio.sleep(_PAUSE_S)


class ThreadCaller:
    """Asks by the project's blocking client; for threads."""

    def __init__(
        self, address: str, pictures: Pictures, account: Account, access: Access = _EVERYBODYS
    ) -> None:
        self.answers = 0
        self._client = Client(address, ClientConfig(access=access))
        self._sample = pictures.some(40)
        self._account = account

    def ask_until(self, over: asyncio.Event) -> None:
        """Ask call after call, then close the connection."""
        with self._client:
            while not over.is_set():
                self._ask()

    def _ask(self) -> None:
        self._account.tried += 1
        try:
            results = self._client.classify(self._sample.images)
        except ClientError as error:
            self._account.losses.append(f"a blocking client that retries: {error!r}")
            return
        self._account.close(self._sample.loss_of([result.classes for result in results]))
        self.answers += 1


@contextlib.asynccontextmanager
async def at_work(*callers: Asker, rest_s: float = 0) -> AsyncIterator[None]:
    """Have callers ask all the time within the block; then wait for their last answers.

    A ``rest_s`` between calls leaves the CPUs time for whatever else happens meanwhile.
    """
    over = asyncio.Event()
    async with contextlib.AsyncExitStack() as stack:
        for caller in callers:
            await stack.enter_async_context(caller)
        async with asyncio.TaskGroup() as tasks:
            for caller in callers:
                tasks.create_task(caller.ask_until(over, rest_s))
            try:
                yield
            finally:
                over.set()


async def all_go_on(*callers: Asker | ThreadCaller, calls: int = 3) -> None:
    """Wait until each has been answered some calls more."""
    before = [caller.answers for caller in callers]
    await until(
        lambda: all(caller.answers >= n + calls for caller, n in zip(callers, before, strict=True)),
        "answers to all callers",
    )


async def until(is_so: Callable[[], Any], what: str) -> None:
    """Wait for a condition."""
    try:
        async with asyncio.timeout(LIMIT_S):
            while not is_so():
                await asyncio.sleep(0.01)
    except TimeoutError:
        raise AssertionError(f"never came: {what}") from None


def _says_when_to_come_again(error: grpc.aio.AioRpcError) -> bool:
    trailer = dict(error.trailing_metadata())
    return 1 <= int(trailer.get(RETRY_PUSHBACK, "0")) <= _MOST_PUSHBACK_MS
