"""Loads and unloads a model in every process of the server: in all of them, or in none.

In: a model's name. Out: the change in each process, in two steps: each first loads beside what it has and
says whether it can, then all take over. Also tells a worker that starts what the others answer with. Knows
nothing of how a version is loaded.
"""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias
from uuid import uuid4

from service.errors import Code, ModelBusyError, ModelLoadError, ServiceError
from service.repository.other_workers import Elsewhere
from service.workers.control_client import NoAnswer

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from service.repository.version_updates import Change, Lifecycle
    from service.workers.control_client import ControlClient

Action: TypeAlias = Literal["load", "unload"]

_PREPARE, _COMMIT, _ABORT, _VERSIONS = (
    f"repository.{each}" for each in ("prepare", "commit", "abort", "versions")
)
_LOADING_S = 600.0  # a GPU's engines are compiled in minutes
_ASKING_S = 5.0
_RESERVED_S = 60.0  # after which whoever reserved is taken for dead


@dataclass(frozen=True)
class _Plan:
    """What is to be done; the same in every process."""

    action: Action
    model: str
    ticket: str
    """Of this plan alone."""


@dataclass
class _Reservation:
    """A plan that a process is preparing, or has prepared."""

    ticket: str
    change: Change | None = None
    timer: asyncio.TimerHandle | None = None


class Everywhere:
    """One in every process of the server."""

    def __init__(self, control: ControlClient) -> None:
        """Answer what other processes ask, once ``control`` joins them; what needs ``open`` waits for it."""
        self._control = control
        self._is_open = asyncio.Event()
        self._lifecycle: Lifecycle | None = None
        self._reserved: _Reservation | None = None
        self._running: set[asyncio.Task[None]] = set()
        control.handle(_PREPARE, _answering(self._prepare))
        control.handle(_COMMIT, _answering(self._commit))
        control.handle(_ABORT, _answering(self._abort))
        control.handle(_VERSIONS, self._tell_versions)

    def open(self, lifecycle: Lifecycle) -> None:
        """Change this process's models by ``lifecycle``; what was asked meanwhile is done now."""
        self._lifecycle = lifecycle
        self._is_open.set()

    async def elsewhere(self) -> Elsewhere | None:
        """Ask the other processes what they answer with; None if no other serves yet."""
        for answer in await self._control.ask_peers(_VERSIONS, None, _ASKING_S):
            if isinstance(answer, dict):
                return Elsewhere(**answer)
        return None

    async def change(self, action: Action, model: str) -> None:
        """Load or unload a model in every process; once begun, it is brought to its end.

        Raises:
            UnknownModelError: there is no such model.
            ModelLoadError: a process could not load it, and none has changed; or one was lost on the way.
            ModelBusyError: another load or unload is under way, and this one has changed nothing.
        """
        plan = _Plan(action, model, uuid4().hex)
        running = asyncio.get_running_loop().create_task(self._run(plan))
        self._running.add(running)
        running.add_done_callback(self._running.discard)
        await asyncio.shield(running)

    async def _run(self, plan: _Plan) -> None:
        await self._prepare(plan)
        try:
            answers = await self._control.ask_peers(_PREPARE, vars(plan), _LOADING_S)
            _check(answers, f"nothing has changed: {plan.model} cannot be {plan.action}ed")
        except BaseException:
            await self._control.ask_all(_ABORT, vars(plan), _ASKING_S)
            raise
        await self._commit(plan)
        answers = await self._control.ask_peers(_COMMIT, vars(plan), _LOADING_S)
        _check(answers, f"{plan.model} is {plan.action}ed, but not everywhere; ask again")

    async def _prepare(self, plan: _Plan) -> None:
        lifecycle = await self._opened()
        if self._reserved is not None:
            raise ModelBusyError("another model is being loaded or unloaded; ask again when it is done")
        reserved = self._reserved = _Reservation(plan.ticket)
        try:
            if plan.action == "load":
                reserved.change = await lifecycle.prepare_load(plan.model)
            else:
                lifecycle.check_known(plan.model)
        except BaseException:
            self._release(plan.ticket)
            raise
        reserved.timer = asyncio.get_running_loop().call_later(_RESERVED_S, self._release, plan.ticket)

    async def _commit(self, plan: _Plan) -> None:
        lifecycle = await self._opened()
        change = self._release(plan.ticket)
        if plan.action == "unload":
            lifecycle.unload(plan.model)
        else:
            # Without a change, this process has come up, or was given up, while the others prepared.
            lifecycle.commit_load(change or await lifecycle.prepare_load(plan.model))

    async def _abort(self, plan: _Plan) -> None:
        self._release(plan.ticket)

    def _release(self, ticket: str) -> Change | None:
        """End a reservation, if it is this one; return what was prepared."""
        reserved = self._reserved
        if reserved is None or reserved.ticket != ticket:
            return None
        self._reserved = None
        if reserved.timer is not None:
            reserved.timer.cancel()
        return reserved.change

    async def _tell_versions(self, _: Any) -> Any:  # noqa: ANN401 - JSON
        lifecycle = self._lifecycle
        if lifecycle is None:
            return None
        return {
            "default": lifecycle.default,
            "versions": lifecycle.versions(),
            "refused": lifecycle.ledger.refusals(),
        }

    async def _opened(self) -> Lifecycle:
        await self._is_open.wait()
        if self._lifecycle is None:
            raise ModelBusyError("the server is still loading its models; ask again in a moment")
        return self._lifecycle


def _answering(act: Callable[[_Plan], Awaitable[None]]) -> Callable[[Any], Awaitable[Any]]:
    """Make of an action what the control client takes: a refusal is an answer too."""

    async def answer(body: Any) -> Any:  # noqa: ANN401 - JSON
        try:
            await act(_Plan(**body))
        except ServiceError as error:
            return {"code": error.code, "reason": f"process {os.getpid()}: {error}"}
        return None

    return answer


def _check(answers: list[Any], summary: str) -> None:
    """Raise an error if some process refused or did not answer."""
    refusals = [answer for answer in answers if answer is not None]
    if not refusals:
        return
    reasons = [each.reason if isinstance(each, NoAnswer) else each["reason"] for each in refusals]
    is_busy = any(isinstance(each, dict) and each["code"] == Code.ABORTED for each in refusals)
    message = f"{summary}; {len(refusals)} of {len(answers)} other processes refused: {'; '.join(reasons)}"
    raise ModelBusyError(message) if is_busy else ModelLoadError(message)
