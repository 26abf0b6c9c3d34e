"""A new version takes over once it is verified; a refused one leaves the old in place, with a reason."""

from __future__ import annotations

import asyncio
import errno
import gc
import os
import threading
import weakref
from collections import Counter
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from structlog.testing import capture_logs

from service.config import ServerConfig
from service.errors import ModelLoadError, UnknownModelError
from service.observability.observers import Observer
from service.repository import Repository, VersionState, load_models, loading, version_updates
from service.runtime.model import OnnxModel
from service.version_policy import VersionPolicies
from tests.service.colours import colour_model, expected_probabilities
from tests.service.in_process import until
from tests.service.manifests import manifest, publish, replace

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from service.observability.observers import ModelEvent

CONTENT = colour_model()
TOLD = manifest(CONTENT)
PALE = colour_model(scale=64)
PALE_TOLD = manifest(PALE, scale=64)


class _Recorder(Observer):
    """Counts the events of versions."""

    def __init__(self) -> None:
        self.seen: Counter[tuple[str, int, str]] = Counter()

    def on_model(self, name: str, version: int, event: ModelEvent) -> None:
        self.seen[name, version, event] += 1


class _Server:
    """An open repository."""

    def __init__(self, root: Path, *versions: str, **settings: Any) -> None:
        self.root = root
        self.config = ServerConfig(
            models=root, max_batch=8, versions=VersionPolicies.parse(versions), **settings
        )
        self.observer = _Recorder()
        self.repository = Repository()
        self.repository.open(load_models(self.config), self.config, self.observer)

    async def update(self) -> None:
        """Do what polling does when two scans have found the same."""
        updater = self.repository._opened()
        contents = await updater.scan()
        await updater.update(contents, sorted({*contents, *updater.names}))

    async def load(self, name: str) -> None:
        """Do what every worker does when a model is loaded by call."""
        updater = self.repository._opened()
        updater.commit_load(await updater.prepare_load(name))

    def unload(self, name: str) -> None:
        updater = self.repository._opened()
        updater.check_known(name)
        updater.unload(name)

    def answering(self, name: str = "colours") -> list[int]:
        """Return the versions of a model that answer."""
        return sorted(info.version for info in self.repository.list() if info.name == name)

    def index(self) -> dict[tuple[str, int], tuple[str, str]]:
        return {
            (entry.name, entry.version): (entry.state.value, entry.reason)
            for entry in self.repository.index()
        }

    async def scale(self, version: str = "") -> int:
        """Tell by its answer which model a version is: 32 or 64."""
        image = np.zeros((1, 32, 32, 3), np.uint8)
        image[..., 0] = 40
        with self.repository.get("colours", version) as model:
            answer = await model.batcher.submit(image)
        [scale] = [
            scale for scale in (32, 64) if np.abs(answer - expected_probabilities(image, scale)).max() < 1e-5
        ]
        return scale


def _run(server: Callable[[], _Server], scenario: Callable[[_Server], Awaitable[None]]) -> None:
    async def main() -> None:
        opened = server()
        try:
            await scenario(opened)
        finally:
            await opened.repository.close()

    asyncio.run(main())


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return a repository with version 1 of the colour model, with its manifest."""
    publish(tmp_path, CONTENT, manifest(CONTENT))
    return tmp_path


def test_a_new_version_takes_over_and_the_old_one_is_retired(root: Path) -> None:
    async def scenario(server: _Server) -> None:
        publish(root, PALE, PALE_TOLD, version=2)
        await server.update()

        assert server.answering() == [2]
        assert await server.scale() == 64
        with pytest.raises(UnknownModelError, match="has no version '1'; it has: 2"):
            server.repository.get("colours", "1")
        assert server.index() == {
            ("colours", 1): ("UNAVAILABLE", "the server answers with versions latest:1"),
            ("colours", 2): ("READY", ""),
        }
        assert server.observer.seen == {
            ("colours", 1, "loaded"): 1,
            ("colours", 2, "loaded"): 1,
            ("colours", 1, "retired"): 1,
        }

    _run(partial(_Server, root), scenario)


@pytest.mark.parametrize(
    ("content", "told", "reason"),
    [
        (PALE[:-10], PALE_TOLD, "it is incomplete"),
        (PALE[:300], None, "cannot be loaded by"),
        (CONTENT, PALE_TOLD, "it is incomplete|it is damaged"),
        (PALE, manifest(PALE), "golden image 0"),
        (colour_model(side=28), None, "wanted one uint8"),
        (colour_model(labels="red,green"), None, "names 2 labels"),
        (colour_model(labels="red" * 100_000), None, "names 1 labels"),
        (colour_model(softmax=False), None, "sum to 1"),
        (PALE, b"{", "has invalid JSON"),
        (b"", None, "cannot be loaded by"),
    ],
)
def test_a_version_that_is_refused_leaves_the_old_one(
    root: Path, content: bytes, told: bytes | None, reason: str
) -> None:
    async def scenario(server: _Server) -> None:
        publish(root, content, told, version=2)
        with capture_logs() as logs:
            for _ in range(3):
                await server.update()

        assert server.answering() == [1]
        assert await server.scale() == 32
        state, why = server.index()["colours", 2]
        assert state == "UNAVAILABLE"
        assert 0 < len(why) <= 1_000
        refusals = [entry for entry in logs if entry["event"] == "model refused"]
        assert [(entry["version"], entry["reason"]) for entry in refusals] == [
            (2, why)
        ]  # once, not each time
        assert server.observer.seen["colours", 2, "refused"] == 1
        with pytest.raises(ModelLoadError, match=reason):
            await server.load("colours")
        assert server.answering() == [1]

    _run(partial(_Server, root), scenario)


def test_a_refused_version_that_is_mended_takes_over(root: Path) -> None:
    async def scenario(server: _Server) -> None:
        folder = publish(root, PALE[:-10], PALE_TOLD, version=2)
        await server.update()
        replace(folder / "model.onnx", PALE)
        await server.update()

        assert server.answering() == [2]
        assert server.index()["colours", 2] == ("READY", "")

    _run(partial(_Server, root), scenario)


def test_a_version_that_is_replaced_in_place_is_reloaded_and_never_half(root: Path) -> None:
    async def scenario(server: _Server) -> None:
        folder = root / "colours" / "1"
        replace(folder / "model.onnx", PALE)
        await server.update()

        assert await server.scale() == 32  # as long as the digest does not fit
        state, why = server.index()["colours", 1]
        assert state == "READY"
        assert "model.onnx has" in why

        replace(folder / "manifest.json", PALE_TOLD)
        await server.update()
        assert await server.scale() == 64
        assert server.index() == {("colours", 1): ("READY", "")}

    _run(partial(_Server, root), scenario)


def test_a_file_that_was_only_touched_is_not_loaded_again(root: Path) -> None:
    async def scenario(server: _Server) -> None:
        with server.repository.get("", "") as model:
            replace(root / "colours" / "1" / "model.onnx", CONTENT)
            await server.update()
            assert server.repository.get("", "") is model

    _run(partial(_Server, root), scenario)


def test_answers_from_the_cache_are_never_those_of_a_replaced_file(root: Path) -> None:
    async def scenario(server: _Server) -> None:
        assert await server.scale() == 32
        replace(root / "colours" / "1" / "model.onnx", PALE)
        replace(root / "colours" / "1" / "manifest.json", PALE_TOLD)
        await server.update()
        assert await server.scale() == 64

    _run(partial(_Server, root, cache_mib=1), scenario)


def test_a_model_without_a_manifest_is_warned_of_until_it_has_one(root: Path) -> None:
    async def scenario(server: _Server) -> None:
        with capture_logs() as logs:
            folder = publish(root, PALE, None, version=2)
            await server.update()
        [warning] = [entry for entry in logs if entry["log_level"] == "warning"]
        assert (warning["event"], warning["version"]) == ("model not verified", 2)
        assert "no manifest.json" in server.index()["colours", 2][1]

        (folder / "manifest.json").write_bytes(PALE_TOLD)
        await server.update()
        assert server.index()["colours", 2] == ("READY", "")

    _run(partial(_Server, root), scenario)


def test_versions_that_are_removed_are_retired(root: Path) -> None:
    async def scenario(server: _Server) -> None:
        publish(root, PALE, PALE_TOLD, version=2)
        publish(root, CONTENT, manifest(CONTENT), "other")
        await server.update()
        assert (server.answering(), server.answering("other")) == ([2], [1])

        (root / "colours" / "2").rename(root / ".2")  # a rollback
        (root / "other").rename(root / ".other")
        await server.update()

        assert (server.answering(), server.answering("other")) == ([1], [])
        assert await server.scale() == 32
        assert set(server.index()) == {("colours", 1)}
        assert server.repository.models() == {"colours": True}

    _run(partial(_Server, root), scenario)


def test_the_old_versions_stay_until_all_of_the_new_are_there(root: Path) -> None:
    publish(root, PALE, PALE_TOLD, version=2)

    async def scenario(server: _Server) -> None:
        publish(root, CONTENT, None, version=3)
        folder = publish(root, b"broken", None, version=4)
        await server.update()
        assert server.answering() == [1, 2, 3]

        replace(folder / "model.onnx", CONTENT)
        await server.update()
        assert server.answering() == [3, 4]

    _run(partial(_Server, root, "latest:2"), scenario)


def test_versions_that_were_asked_for_by_number_are_the_only_ones_to_answer(root: Path) -> None:
    publish(root, PALE, PALE_TOLD, version=3)

    async def scenario(server: _Server) -> None:
        assert (await server.scale("1"), await server.scale("3"), await server.scale()) == (32, 64, 64)
        publish(root, CONTENT, None, version=4)
        await server.update()
        assert server.answering() == [1, 3]
        assert server.index()["colours", 4] == ("UNAVAILABLE", "the server answers with versions 1,3")

    _run(partial(_Server, root, "colours=1,3"), scenario)


def test_a_fault_of_ours_refuses_a_version_and_nothing_else(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError("secret detail")

    async def scenario(server: _Server) -> None:
        publish(root, PALE, PALE_TOLD, version=2)
        monkeypatch.setattr(version_updates, "verify", fail)
        with capture_logs() as logs:
            await server.update()
        assert server.index()["colours", 2] == ("UNAVAILABLE", "it failed to load; see the server's log")
        assert any(entry.get("exc_info") for entry in logs)
        assert server.answering() == [1]

    _run(partial(_Server, root), scenario)


def test_an_unloaded_model_stays_away_until_it_is_loaded(root: Path) -> None:
    publish(root, CONTENT, manifest(CONTENT), "other")

    async def scenario(server: _Server) -> None:
        server.unload("other")
        publish(root, PALE, PALE_TOLD, "other", 2)
        await server.update()
        assert server.answering("other") == []
        assert server.index()["other", 2] == ("UNAVAILABLE", "unloaded")
        assert server.repository.models() == {"colours": True, "other": False}
        with pytest.raises(UnknownModelError, match="no model is called 'other'; there are: colours"):
            server.repository.get("other", "")

        server.unload("other")  # is no error
        await server.load("other")
        assert server.answering("other") == [2]

    _run(partial(_Server, root), scenario)


def test_the_default_model_can_be_unloaded(root: Path) -> None:
    async def scenario(server: _Server) -> None:
        server.unload("colours")
        with pytest.raises(UnknownModelError, match="the default model 'colours' is not loaded"):
            server.repository.get("", "")
        await server.load("colours")
        assert server.repository.get("", "").info.name == "colours"

    _run(partial(_Server, root), scenario)


def test_models_that_cannot_be_loaded_or_unloaded_are_an_error(root: Path) -> None:
    async def scenario(server: _Server) -> None:
        await server.update()
        with pytest.raises(
            UnknownModelError, match="in the repository is called 'lenet'; there are: colours"
        ):
            await server.load("lenet")
        with pytest.raises(UnknownModelError, match=r"no model is called '../colours'; there are: colours"):
            server.unload("../colours")
        (root / "colours" / "1").rename(root / "colours" / "2")
        with pytest.raises(ModelLoadError, match="colours has the versions 2, and the server answers with 1"):
            await server.load("colours")
        (root / "colours").rename(root / ".colours")
        with pytest.raises(ModelLoadError, match="has no model"):
            await server.load("colours")
        assert server.answering() == [1]

    _run(partial(_Server, root, "1"), scenario)


def test_loading_tries_again_what_was_refused(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Though its files are the same: memory may have been short."""
    load = loading.start

    def fail(*_: object) -> Any:
        raise MemoryError

    async def scenario(server: _Server) -> None:
        publish(root, PALE, PALE_TOLD, version=2)
        monkeypatch.setattr(version_updates, "start", fail)
        await server.update()
        monkeypatch.setattr(version_updates, "start", load)
        await server.update()
        assert server.answering() == [1]
        await server.load("colours")
        assert server.answering() == [2]

    _run(partial(_Server, root), scenario)


class _Hold:
    """Holds up the loading of a version until it is let go."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.entered, self.released = threading.Event(), threading.Event()
        monkeypatch.setattr(version_updates, "start", self._start)

    def _start(self, *arguments: Any) -> Any:
        self.entered.set()
        assert self.released.wait(60)
        return loading.start(*arguments)


def test_a_model_that_is_unloaded_while_its_new_version_loads_stays_away(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario(server: _Server) -> None:
        publish(root, PALE, PALE_TOLD, version=2)
        hold = _Hold(monkeypatch)
        following = asyncio.create_task(server.update())
        await until(hold.entered.is_set)
        server.unload("colours")
        hold.released.set()
        await following
        assert server.answering() == []

    _run(partial(_Server, root), scenario)


def test_the_index_says_what_is_loading_and_what_is_being_left(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario(server: _Server) -> None:
        publish(root, PALE, PALE_TOLD, version=2)
        hold = _Hold(monkeypatch)
        following = asyncio.create_task(server.update())
        await until(hold.entered.is_set)
        assert server.index() == {("colours", 1): ("READY", ""), ("colours", 2): ("LOADING", "")}
        assert await server.scale() == 32  # meanwhile

        with server.repository.get("", "") as old:
            hold.released.set()
            await following
            assert server.index() == {("colours", 1): ("UNLOADING", ""), ("colours", 2): ("READY", "")}
            assert old.info.version == 1
        await until(lambda: server.index()["colours", 1][0] == VersionState.UNAVAILABLE)

    _run(partial(_Server, root), scenario)


def test_sessions_of_versions_that_are_refused_or_gone_are_freed_at_once(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By counting references: a server freezes what was there when it began, and collects the rest rarely."""
    alive: weakref.WeakSet[OnnxModel] = weakref.WeakSet()

    class Remembered(OnnxModel):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            alive.add(self)

    def versions() -> list[int]:
        return sorted(model.info.version for model in alive)

    async def scenario(server: _Server) -> None:
        publish(root, PALE, manifest(PALE), version=2)  # refused after it has answered
        publish(root, CONTENT, manifest(CONTENT, labels=["green", "red", "blue"]), version=3)
        await server.update()
        assert server.answering() == [1]
        await until(lambda: versions() == [1])

        publish(root, PALE, PALE_TOLD, version=4)
        for version in (1, 2, 3):
            (root / "colours" / str(version)).rename(root / f".{version}")
        await server.update()
        await until(lambda: versions() == [4])

    monkeypatch.setattr(loading, "OnnxModel", Remembered)
    gc.disable()
    try:
        _run(partial(_Server, root, "latest:3"), scenario)
    finally:
        gc.enable()


def test_a_model_whose_newest_version_is_bad_is_answered_by_an_older_one_until_it_is_repaired(
    root: Path,
) -> None:
    """As at a start."""

    async def scenario(server: _Server) -> None:
        publish(root, CONTENT, TOLD, "late", 1)
        publish(root, CONTENT[:-1], TOLD, "late", 2)
        await server.update()
        assert server.answering("late") == [1]
        assert server.index()["late", 2][0] == "UNAVAILABLE"
        server.unload("late")
        await server.load("late")
        assert server.answering("late") == [1]
        with pytest.raises(ModelLoadError, match="incomplete"):
            await server.load("late")  # it answers, and the load brings nothing

        replace(root / "late/2/model.onnx", CONTENT)
        await server.update()
        assert server.answering("late") == [2]

    _run(partial(_Server, root), scenario)


def test_a_folder_that_cannot_be_read_takes_away_nothing_that_answers(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(root, CONTENT, TOLD, "other", 1)
    scandir = os.scandir

    def guarded(path: Any) -> Any:
        if Path(path) == root / "other":
            raise OSError(errno.EIO, "Input/output error", str(path))
        return scandir(path)

    async def scenario(server: _Server) -> None:
        monkeypatch.setattr(os, "scandir", guarded)
        for _ in range(2):
            await server.update()
        assert server.answering("other") == [1]
        assert server.index()["other", 0] == (
            "UNAVAILABLE",
            f"cannot read {root / 'other'}: Input/output error",
        )
        with pytest.raises(ModelLoadError, match="Input/output error"):
            await server.load("other")

        monkeypatch.setattr(os, "scandir", scandir)
        publish(root, PALE, PALE_TOLD, "other", 2)
        await server.update()
        assert server.answering("other") == [2]

    _run(partial(_Server, root), scenario)
