"""A value follows its files, and keeps the old one where a new one fails."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from structlog.testing import capture_logs

from cifar10net.errors import ConfigError
from service.security import file_watcher
from service.security.file_watcher import FileWatcher
from tests.service.in_process import until
from tests.service.security.authority import replace

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from pathlib import Path

    from structlog.typing import EventDict


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_watcher, "POLL_INTERVAL_S", 0.005)


class _Follower:
    """Follows two files, whose joined text must not hold the word bad."""

    def __init__(self, folder: Path) -> None:
        self.paths = [replace(folder / name, name.encode()) for name in ("a", "b")]
        self.watched = FileWatcher("texts", self.paths, self._make)
        self.makings = 1
        self.changes = 0

    def _make(self) -> str:
        self.makings = getattr(self, "makings", 0) + 1
        text = "".join(path.read_text() for path in self.paths if path.exists())
        if "worse" in text:
            raise RuntimeError(text)
        if "bad" in text:
            raise ConfigError(text)
        return text

    def _on_change(self) -> None:
        self.changes += 1

    async def run(self, test: Coroutine[Any, Any, None]) -> None:
        following = asyncio.create_task(self.watched.follow(self._on_change))
        try:
            await test
        finally:
            assert not following.done()
            following.cancel()


def _run(folder: Path, test: Callable[[_Follower], Coroutine[Any, Any, None]]) -> list[EventDict]:
    async def main() -> None:
        follower = _Follower(folder)
        await follower.run(test(follower))

    with capture_logs() as lines:
        asyncio.run(main())
    return [line for line in lines if line["event"].startswith("new texts")]


def test_a_change_of_any_file_is_taken_up(tmp_path: Path) -> None:
    async def test(follower: _Follower) -> None:
        replace(follower.paths[1], b"c")
        await until(lambda: follower.watched.value == "ac")
        follower.paths[0].write_bytes(b"d")  # in place
        await until(lambda: follower.watched.value == "dc")
        follower.paths[0].unlink()
        await until(lambda: follower.watched.value == "c")
        await until(lambda: follower.changes == 3)

    assert [line["event"] for line in _run(tmp_path, test)] == ["new texts in force"] * 3


@pytest.mark.parametrize("word", [b"bad", b"worse"])
def test_a_value_that_cannot_be_built_leaves_the_old_one_in_force_and_is_logged_once(
    tmp_path: Path, word: bytes
) -> None:
    async def test(follower: _Follower) -> None:
        replace(follower.paths[0], word)
        await until(lambda: follower.makings == 2)
        looks = 0

        def look() -> bool:
            nonlocal looks
            looks += 1
            return looks > 20

        await until(look)
        assert follower.watched.value == "ab"
        replace(follower.paths[0], b"x")
        await until(lambda: follower.watched.value == "xb")

    lines = _run(tmp_path, test)
    assert [line["log_level"] for line in lines] == ["error", "info"]


def test_it_is_reloaded_when_asked_even_if_nothing_has_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_watcher, "POLL_INTERVAL_S", 3_600)

    async def test(follower: _Follower) -> None:
        follower.watched.reload()
        await until(lambda: follower.changes == 1)
        follower.watched.reload()
        await until(lambda: follower.changes == 2)

    _run(tmp_path, test)


def test_a_file_that_is_still_being_written_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    signatures = [(1,), (2,), (3,), (3,), (3,), (3,)]
    looks = 0
    made_at: list[int] = []

    def look() -> tuple[int, ...]:
        nonlocal looks
        looks += 1
        return signatures[min(looks, len(signatures)) - 1]

    def make() -> str:
        made_at.append(looks)
        return ""

    async def test(follower: _Follower) -> None:
        monkeypatch.setattr(follower.watched, "_make", make)
        monkeypatch.setattr(follower.watched, "_stamps", look)
        await until(lambda: looks > 10)

    _run(tmp_path, test)
    assert made_at == [4]  # after the second look that found the same, and once
