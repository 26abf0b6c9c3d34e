"""Workers' questions reach each other worker; one that ends counts as an answer."""

from __future__ import annotations

import asyncio
import os
import re
import socket
from typing import TYPE_CHECKING, Any

import pytest
import uvloop

from service.workers.control_client import ControlClient, NoAnswer
from service.workers.control_hub import ControlHub
from service.workers.ipc import IpcConnection, IpcError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


def _named(name: str) -> Callable[[Any], Awaitable[Any]]:
    async def answer(body: Any) -> list[Any]:
        return [name, body]

    return answer


async def _join(hub: ControlHub, number: int, **handlers: Callable[[Any], Awaitable[Any]]) -> ControlClient:
    with hub.add(number) as end:
        control = ControlClient(os.dup(end.fileno()))
    for topic, handler in handlers.items():
        control.handle(topic, handler)
    await control.join()
    return control


def test_every_worker_answers_and_the_one_that_asks_is_first() -> None:
    async def scenario() -> list[Any]:
        hub = ControlHub()
        workers = [await _join(hub, number, name=_named(str(number))) for number in range(3)]

        answers = await workers[1].ask_all("name", {"of": ["x"]})

        for worker in workers:
            await worker.close()
        hub.close()
        return answers

    assert asyncio.run(scenario()) == [["1", {"of": ["x"]}], ["0", {"of": ["x"]}], ["2", {"of": ["x"]}]]


def test_a_server_of_one_process_answers_itself() -> None:
    async def scenario() -> tuple[Any, ...]:
        control = ControlClient()
        control.handle("name", _named("alone"))
        await control.join()
        answers = (
            await control.ask_all("name", 1),
            await control.ask_peers("name", 1),
            await control.ask_supervisor("name", 1),
        )
        await control.close()
        return answers

    assert asyncio.run(scenario()) == ([["alone", 1]], [], ["alone", 1])


def test_a_worker_that_ends_meanwhile_has_no_answer_and_the_others_still_answer() -> None:
    async def scenario() -> list[Any]:
        hub = ControlHub()
        is_asked = asyncio.Event()

        async def hang(_: Any) -> None:
            is_asked.set()
            await asyncio.Event().wait()

        asking = await _join(hub, 0, name=_named("0"))
        dying = await _join(hub, 1, name=hang)
        other = await _join(hub, 2, name=_named("2"))
        answering = asyncio.create_task(asking.ask_peers("name"))
        await is_asked.wait()
        await dying.close()
        answers = await answering
        for worker in (asking, other):
            await worker.close()
        hub.close()
        return answers

    failure, answer = asyncio.run(scenario())
    assert failure == NoAnswer("worker 1: the other side is gone")
    assert answer == ["2", None]


def test_a_question_that_comes_before_a_worker_listens_is_answered_once_it_does() -> None:
    async def scenario() -> list[Any]:
        hub = ControlHub()
        asking = await _join(hub, 0)
        with hub.add(1) as end:
            late = ControlClient(os.dup(end.fileno()))
        answering = asyncio.create_task(asking.ask_peers("name"))
        await asyncio.sleep(0)
        late.handle("name", _named("late"))
        await late.join()
        answers = await answering
        for worker in (asking, late):
            await worker.close()
        hub.close()
        return answers

    assert asyncio.run(scenario()) == [["late", None]]


def test_a_worker_that_does_not_answer_in_time_has_no_answer() -> None:
    async def scenario() -> list[Any]:
        hub = ControlHub()
        asking = await _join(hub, 0)
        with hub.add(1):
            answers = await asking.ask_peers("name", timeout_s=0.01)
        await asking.close()
        hub.close()
        return answers

    assert asyncio.run(scenario()) == [NoAnswer("worker 1: no answer about name within 0.01 s")]


@pytest.mark.parametrize("is_known", [True, False])
def test_the_supervisor_answers_what_it_has_a_handler_for(is_known: bool) -> None:  # noqa: FBT001
    async def scenario() -> Any:
        hub = ControlHub()
        if is_known:
            hub.handle("name", _named("supervisor"))
        worker = await _join(hub, 0)
        try:
            return await worker.ask_supervisor("name")
        except IpcError as error:
            return str(error)
        finally:
            await worker.close()
            hub.close()

    expected = ["supervisor", None] if is_known else "it has no handler for name"
    assert asyncio.run(scenario()) == expected


def test_what_a_handler_raises_becomes_a_fixed_sentence() -> None:
    async def scenario() -> list[Any]:
        hub = ControlHub()

        async def fail(_: Any) -> None:
            raise ZeroDivisionError("secret")

        asking, failing = await _join(hub, 0), await _join(hub, 1, name=fail)
        answers = await asking.ask_peers("name")
        await asking.close()
        await failing.close()
        hub.close()
        return answers

    assert asyncio.run(scenario()) == [
        NoAnswer("worker 1: it failed to answer about name; its log says why"),
    ]


def test_a_message_that_is_too_long_or_not_json_fails_and_the_connection_goes_on() -> None:
    async def scenario() -> list[Any]:
        hub = ControlHub()

        async def say(size: int) -> object:
            return "x" * size if size else {object()}

        asking, answering = await _join(hub, 0), await _join(hub, 1, say=say)
        answers = [
            *await asking.ask_peers("say", "x" * (16 << 20)),
            *await asking.ask_peers("say", 16 << 20),
            *await asking.ask_peers("say", 0),
            *await asking.ask_peers("say", 3),
        ]
        await asking.close()
        await answering.close()
        hub.close()
        return answers

    question, answer, nonsense, short = asyncio.run(scenario())
    too_long = r": a message of [\d,]+ bytes, wanted at most 16,777,216"
    assert re.fullmatch("the supervisor" + too_long, question.reason)
    assert re.fullmatch("worker 1" + too_long, answer.reason)
    assert nonsense == NoAnswer("worker 1: it failed to answer about say; its log says why")
    assert short == "xxx"


@pytest.mark.parametrize("turns", range(6))
def test_a_question_on_a_connection_that_breaks_at_that_moment_fails(turns: int) -> None:
    async def scenario() -> str:
        ours, theirs = socket.socketpair()
        connection = IpcConnection({})
        await connection.connect(ours)
        writer = connection._writer
        assert writer is not None
        writer.transport.abort()  # as the event loop does when the other side is gone
        for _ in range(turns):
            await asyncio.sleep(0)
        with pytest.raises(IpcError) as gone:
            await connection.ask("name", None, 60)
        await connection.aclose()
        theirs.close()
        return str(gone.value)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert runner.run(scenario()) in {"the other side is gone", "it is not connected"}
