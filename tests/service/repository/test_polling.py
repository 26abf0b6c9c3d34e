"""What has looked the same twice is followed; what is being written, or cannot be read, is left alone."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from service.errors import ModelError
from service.repository.folder import Contents, FoundVersion
from service.repository.polling import watch

SERVED = ["served"]


def _version(number: int, size: int = 1) -> FoundVersion:
    return FoundVersion("net", number, Path("net"), ((size,), None))


A, B = {"net": {1: _version(1)}}, {"net": {1: _version(1), 2: _version(2)}}
GROWN = {"net": {1: _version(1), 2: _version(2, 9)}}
OTHER = {"other": {1: _version(1)}}


class _Folder:
    """Gives one look after the other, then ends the watching."""

    names = SERVED

    def __init__(self, *looks: Contents | Exception) -> None:
        self._looks = list(looks)
        self.followed: list[tuple[Contents, list[str]]] = []
        self.failures: list[Exception] = []

    async def look(self) -> Contents:
        if not self._looks:
            raise asyncio.CancelledError
        found = self._looks.pop(0)
        if isinstance(found, Exception):
            raise found
        return found

    async def follow(self, contents: Contents, names: list[str]) -> None:
        self.followed.append((contents, names))
        if self.failures:
            raise self.failures.pop()


def _watch(folder: Any, every_s: float = 1e-6) -> None:
    async def main() -> None:
        with pytest.raises(asyncio.CancelledError):
            await watch(folder, every_s)

    asyncio.run(main())


def test_a_model_is_followed_when_two_looks_found_the_same() -> None:
    folder = _Folder(A, A, B, GROWN, GROWN)

    _watch(folder)

    assert folder.followed == [
        (A, ["net", "served"]),
        (B, SERVED),
        (GROWN, SERVED),
        (GROWN, ["net", "served"]),
    ]


def test_a_model_that_is_gone_is_followed_when_two_looks_missed_it() -> None:
    folder = _Folder(A, OTHER, OTHER)
    folder.names = ["net"]

    _watch(folder)

    assert folder.followed == [(OTHER, []), (OTHER, ["net", "other"])]


def test_a_folder_that_cannot_be_read_changes_nothing_and_is_told_once() -> None:
    folder = _Folder(A, ModelError("gone"), ModelError("gone"), A, ModelError("gone"))

    with capture_logs() as logs:
        _watch(folder)

    assert folder.followed == [(A, ["net", "served"])]
    assert [entry["reason"] for entry in logs] == ["gone", "gone"]


def test_a_fault_in_following_does_not_end_the_watching() -> None:
    folder = _Folder(A, A, A)
    folder.failures.append(ZeroDivisionError())

    with capture_logs() as logs:
        _watch(folder)

    assert len(folder.followed) == 2
    assert [entry["log_level"] for entry in logs] == ["error"]


def test_without_an_interval_there_is_one_look_for_the_index() -> None:
    folder: Any = _Folder(A, A)

    asyncio.run(watch(folder, 0))

    assert folder.followed == []
    assert len(folder._looks) == 1
