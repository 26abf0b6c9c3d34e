"""Loads or unloads a model in all workers or in none, by two-phase commit.

Each worker first prepares: it loads the new versions beside those it serves, or refuses. Only when all have
prepared do all switch over.
"""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias
from uuid import uuid4

from service.errors import Code, ModelBusyError, ModelLoadError, ServiceError
from service.repository.index import OtherWorkers
from service.workers.control_client import NoAnswer

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from service.repository.version_updates import Change, VersionUpdater
    from service.workers.control_client import ControlClient

Action: TypeAlias = Literal["load", "unload"]

_PREPARE, _COMMIT, _ABORT, _VERSIONS = (
    f"repository.{each}" for each in ("prepare", "commit", "abort", "versions")
)
_LOADING_S = 600.0  # compiling the engines of a GPU takes minutes
_ASKING_S = 5.0
_RESERVED_S = 60.0  # then the worker that prepared the change is taken for dead


@dataclass(frozen=True)
class _Plan:
    """A change, the same in every worker."""

    action: Action
    model: str
    ticket: str
    """Unique to this plan."""


@dataclass
class _Reservation:
    """The plan that this worker is preparing or has prepared."""

    ticket: str
    change: Change | None = None
    timer: asyncio.TimerHandle | None = None


class TwoPhaseCommit:
    """Coordinates a change, and takes part in those of other workers; one per worker."""

    def __init__(self, control: ControlClient) -> None:
        """Register the handlers for other workers; those that need ``open`` wait for it."""
        self._control = control
        self._is_open = asyncio.Event()
        self._updater: VersionUpdater | None = None
        self._reserved: _Reservation | None = None
        self._running: set[asyncio.Task[None]] = set()
        control.handle(_PREPARE, _answering(self._prepare))
        control.handle(_COMMIT, _answering(self._commit))
        control.handle(_ABORT, _answering(self._abort))
        control.handle(_VERSIONS, self._answer_versions)

    def open(self, updater: VersionUpdater) -> None:
        """Change this worker's models with ``updater``; requests that wait are handled now."""
        self._updater = updater
        self._is_open.set()

    async def other_workers(self) -> OtherWorkers | None:
        """Ask what the other workers serve; None if no other serves yet."""
        for answer in await self._control.ask_peers(_VERSIONS, None, _ASKING_S):
            if isinstance(answer, dict):
                return OtherWorkers(**answer)
        return None

    async def change(self, action: Action, model: str) -> None:
        """Load or unload a model in every worker; cancelling does not interrupt it.

        Raises:
            UnknownModelError: there is no such model.
            ModelLoadError: a worker refused, and none has changed; or one failed during the commit.
            ModelBusyError: another load or unload is in progress; nothing has changed.
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
        updater = await self._opened()
        if self._reserved is not None:
            raise ModelBusyError("another model is being loaded or unloaded; ask again when it is done")
        reserved = self._reserved = _Reservation(plan.ticket)
        try:
            if plan.action == "load":
                reserved.change = await updater.prepare_load(plan.model)
            else:
                updater.check_known(plan.model)
        except BaseException:
            self._release(plan.ticket)
            raise
        reserved.timer = asyncio.get_running_loop().call_later(_RESERVED_S, self._release, plan.ticket)

    async def _commit(self, plan: _Plan) -> None:
        updater = await self._opened()
        change = self._release(plan.ticket)
        if plan.action == "unload":
            updater.unload(plan.model)
        else:
            # No prepared change: this worker started, or its reservation expired, while the others prepared.
            updater.commit_load(change or await updater.prepare_load(plan.model))

    async def _abort(self, plan: _Plan) -> None:
        self._release(plan.ticket)

    def _release(self, ticket: str) -> Change | None:
        """End a reservation if it is the current one; return the prepared change."""
        reserved = self._reserved
        if reserved is None or reserved.ticket != ticket:
            return None
        self._reserved = None
        if reserved.timer is not None:
            reserved.timer.cancel()
        return reserved.change

    async def _answer_versions(self, _: Any) -> Any:  # noqa: ANN401 - JSON
        return None if self._updater is None else vars(self._updater.index.for_other_workers())

    async def _opened(self) -> VersionUpdater:
        await self._is_open.wait()
        if self._updater is None:
            raise ModelBusyError("the server is still loading its models; ask again in a moment")
        return self._updater


def _answering(act: Callable[[_Plan], Awaitable[None]]) -> Callable[[Any], Awaitable[Any]]:
    """Make a handler from an action; a refusal becomes an answer."""

    async def answer(body: Any) -> Any:  # noqa: ANN401 - JSON
        try:
            await act(_Plan(**body))
        except ServiceError as error:
            return {"code": error.code, "reason": f"process {os.getpid()}: {error}"}
        return None

    return answer


def _check(answers: list[Any], summary: str) -> None:
    """Raise an error if a worker refused or did not answer."""
    refusals = [answer for answer in answers if answer is not None]
    if not refusals:
        return
    reasons = [each.reason if isinstance(each, NoAnswer) else each["reason"] for each in refusals]
    is_busy = any(isinstance(each, dict) and each["code"] == Code.ABORTED for each in refusals)
    message = f"{summary}; {len(refusals)} of {len(answers)} other processes refused: {'; '.join(reasons)}"
    raise ModelBusyError(message) if is_busy else ModelLoadError(message)
