"""A model is loaded or unloaded in all workers or in none; a new worker serves what the others do."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Any

import pytest

from service.config import ServerConfig
from service.errors import ModelBusyError, ModelControlError, ModelLoadError, UnknownModelError
from service.repository import Repository, load_models, loading, two_phase_commit, version_updates
from service.workers.control_client import ControlClient
from service.workers.control_hub import ControlHub
from tests.service.colours import colour_model
from tests.service.in_process import until
from tests.service.manifests import manifest, publish, replace

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

CONTENT = colour_model()
TOLD = manifest(CONTENT)


class _Worker:
    """The models of one worker."""

    def __init__(self, root: Path, control: ControlClient) -> None:
        self.config = ServerConfig(models=root, max_batch=8, model_control=True)
        self.control = control
        self.repository = Repository()
        self.repository.join(control)

    async def open(self) -> None:
        other_workers = await self.repository.other_workers()
        models = load_models(self.config, *(() if other_workers is None else (other_workers.versions,)))
        self.repository.open(models, self.config, other_workers=other_workers)

    def answering(self) -> dict[str, list[int]]:
        answering: dict[str, list[int]] = {}
        for info in self.repository.list():
            answering.setdefault(info.name, []).append(info.version)
        return answering

    async def close(self) -> None:
        await self.repository.close()
        await self.control.close()


class _Crew:
    """Workers and the hub between them."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._hub = ControlHub()
        self.workers: list[_Worker] = []

    async def join(self) -> _Worker:
        """Add a worker without models."""
        with self._hub.add(len(self.workers)) as line:
            worker = _Worker(self._root, ControlClient(os.dup(line.fileno())))
        self.workers.append(worker)
        await worker.control.join()
        return worker

    async def start(self) -> _Worker:
        worker = await self.join()
        await worker.open()
        return worker

    async def close(self) -> None:
        for worker in self.workers:
            await worker.close()
        self._hub.close()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in ("net", "other"):
        publish(tmp_path, CONTENT, TOLD, name)
    return tmp_path


def _run(root: Path, scenario: Callable[[_Crew], Awaitable[None]]) -> None:
    async def main() -> None:
        crew = _Crew(root)
        async with asyncio.timeout(60):
            try:
                await scenario(crew)
            finally:
                await crew.close()

    asyncio.run(main())


def test_a_load_and_an_unload_reach_every_worker(root: Path) -> None:
    async def scenario(crew: _Crew) -> None:
        workers = [await crew.start() for _ in range(3)]
        publish(root, CONTENT, TOLD, "net", 2)

        await workers[1].repository.load("net")
        assert [worker.answering()["net"] for worker in workers] == [[2]] * 3

        await workers[2].repository.unload("net")
        assert [worker.answering() for worker in workers] == [{"other": [1]}] * 3

        await workers[0].repository.load("net")
        assert [worker.answering()["net"] for worker in workers] == [[2]] * 3

    _run(root, scenario)


def test_a_server_of_one_process_changes_itself(root: Path) -> None:
    async def main() -> None:
        worker = _Worker(root, ControlClient())
        await worker.control.join()
        await worker.open()
        await worker.repository.unload("net")
        assert worker.answering() == {"other": [1]}
        await worker.repository.load("net")
        assert worker.answering() == {"net": [1], "other": [1]}
        await worker.close()

    asyncio.run(main())


def test_what_one_worker_refuses_happens_in_none(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    verify, tried = loading.verify, []

    def fail_the_second_time(*arguments: Any) -> Any:
        tried.append(arguments)
        if len(tried) == 2:
            raise MemoryError
        return verify(*arguments)

    async def scenario(crew: _Crew) -> None:
        workers = [await crew.start() for _ in range(3)]
        publish(root, CONTENT, TOLD, "net", 2)
        monkeypatch.setattr(version_updates, "verify", fail_the_second_time)

        with pytest.raises(
            ModelLoadError,
            match="nothing has changed: net cannot be loaded; 1 of 2 other processes refused: "
            f"process {os.getpid()}: ",
        ):
            await workers[0].repository.load("net")
        assert [worker.answering()["net"] for worker in workers] == [[1]] * 3

        await workers[0].repository.load("net")  # nothing is left of the first attempt
        assert [worker.answering()["net"] for worker in workers] == [[2]] * 3

    _run(root, scenario)


def test_a_refusal_by_this_worker_is_passed_on_unchanged(root: Path) -> None:
    async def scenario(crew: _Crew) -> None:
        workers = [await crew.start() for _ in range(2)]
        folder = publish(root, b"broken", None, "net", 2)

        with pytest.raises(ModelLoadError, match=r"^\S+/net/2/model.onnx cannot be loaded"):
            await workers[0].repository.load("net")
        with pytest.raises(UnknownModelError, match="called 'lenet'"):
            await workers[0].repository.load("lenet")
        with pytest.raises(UnknownModelError, match="called 'lenet'"):
            await workers[0].repository.unload("lenet")

        replace(folder / "model.onnx", CONTENT)
        await workers[1].repository.load("net")
        assert [worker.answering()["net"] for worker in workers] == [[2]] * 2

    _run(root, scenario)


def test_two_changes_at_a_time_leave_all_workers_alike(root: Path) -> None:
    async def scenario(crew: _Crew) -> None:
        workers = [await crew.start() for _ in range(3)]

        outcomes = await asyncio.gather(
            workers[0].repository.unload("net"),
            workers[1].repository.unload("other"),
            workers[1].repository.load("net"),
            return_exceptions=True,
        )

        assert all(outcome is None or isinstance(outcome, ModelBusyError) for outcome in outcomes)
        assert any(isinstance(outcome, ModelBusyError) for outcome in outcomes)
        assert workers[0].answering() == workers[1].answering() == workers[2].answering()
        await workers[2].repository.unload("net")  # and none is left reserved
        assert all("net" not in worker.answering() for worker in workers)

    _run(root, scenario)


def test_a_worker_that_dies_while_others_prepare_stops_the_change(root: Path) -> None:
    async def scenario(crew: _Crew) -> None:
        workers = [await crew.start() for _ in range(2)]
        dying = await crew.join()  # and never opens, so that it never answers

        loading = asyncio.create_task(workers[0].repository.unload("net"))
        await until(lambda: workers[1].repository._two_phase_commit._reserved is not None)  # type: ignore[union-attr]
        await dying.control.close()
        with pytest.raises(ModelLoadError, match=r"net cannot be unloaded; 1 of 2 .* worker 2: "):
            await loading
        assert [worker.answering()["net"] for worker in workers] == [[1]] * 2
        updater = workers[1].repository._opened()
        updater.commit_load(await updater.prepare_load("net"))
        assert workers[1].repository._two_phase_commit._reserved is None  # type: ignore[union-attr]

    _run(root, scenario)


def test_a_worker_that_was_given_up_does_the_change_by_itself_when_it_comes(root: Path) -> None:
    """As one whose reservation ran out, or that came up while the others prepared."""

    async def scenario(crew: _Crew) -> None:
        workers = [await crew.start() for _ in range(2)]
        publish(root, CONTENT, TOLD, "net", 2)
        commit = workers[1].repository._two_phase_commit
        assert commit is not None
        prepare = commit._prepare

        async def forget(plan: Any) -> None:
            await prepare(plan)
            commit._release(plan.ticket)

        crew.workers[1].control.handle(two_phase_commit._PREPARE, two_phase_commit._answering(forget))
        await workers[0].repository.load("net")
        assert [worker.answering()["net"] for worker in workers] == [[2]] * 2

    _run(root, scenario)


def test_a_reservation_of_somebody_who_is_gone_runs_out(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(two_phase_commit, "_RESERVED_S", 0.01)

    async def scenario(crew: _Crew) -> None:
        workers = [await crew.start() for _ in range(2)]
        plan = {"action": "unload", "model": "net", "ticket": "of a process that dies"}
        assert await workers[0].control.ask_peers(two_phase_commit._PREPARE, plan) == [None]
        commit = workers[1].repository._two_phase_commit
        assert commit is not None
        await until(lambda: commit._reserved is None)
        assert workers[1].answering()["net"] == [1]

    _run(root, scenario)


def test_a_caller_who_hangs_up_does_not_leave_half_a_change(root: Path) -> None:
    async def scenario(crew: _Crew) -> None:
        workers = [await crew.start() for _ in range(2)]
        unloading = asyncio.create_task(workers[0].repository.unload("net"))
        await asyncio.sleep(0)
        unloading.cancel()
        await until(lambda: all("net" not in worker.answering() for worker in workers))

    _run(root, scenario)


def test_a_worker_that_starts_is_like_the_others(root: Path) -> None:
    async def scenario(crew: _Crew) -> None:
        first = await crew.start()
        publish(root, CONTENT, TOLD, "net", 2)  # which the others do not know
        publish(root, CONTENT, TOLD, "brand-new")
        await first.repository.unload("other")

        second = await crew.start()

        assert second.answering() == first.answering() == {"net": [1]}
        assert second.repository.default == "net"
        await second.repository._opened().scan()
        states = {(entry.name, entry.version): entry.reason for entry in second.repository.index()}
        assert states["other", 1] == "unloaded"

    _run(root, scenario)


def test_a_worker_that_starts_without_the_default_model_keeps_its_name(root: Path) -> None:
    async def scenario(crew: _Crew) -> None:
        first = await crew.start()
        assert first.repository.default == "net"
        await first.repository.unload("net")

        second = await crew.start()

        assert second.repository.default == "net"
        with pytest.raises(UnknownModelError, match="the default model 'net' is not loaded"):
            second.repository.get("", "")

    _run(root, scenario)


def test_models_are_changed_by_call_only_where_that_is_allowed(root: Path) -> None:
    async def main() -> None:
        repository, config = Repository(), ServerConfig(models=root)
        repository.join(ControlClient())
        repository.open(load_models(config), config)
        for change in (repository.load, repository.unload):
            with pytest.raises(ModelControlError, match="start the server with --model-control to allow it"):
                await change("net")
        await repository.close()

    asyncio.run(main())
