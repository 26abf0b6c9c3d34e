"""Models are updated after two equal scans; files being written, or unreadable, are left alone."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from service.errors import ModelError
from service.repository.folder import Contents, FoundVersion
from service.repository.polling import poll

SERVED = ["served"]


def _version(number: int, size: int = 1) -> FoundVersion:
    return FoundVersion("net", number, Path("net"), ((size,), None))


A, B = {"net": {1: _version(1)}}, {"net": {1: _version(1), 2: _version(2)}}
GROWN = {"net": {1: _version(1), 2: _version(2, 9)}}
OTHER = {"other": {1: _version(1)}}


class _Folder:
    """Returns one scan after the other, then ends the polling."""

    names = SERVED

    def __init__(self, *scans: Contents | Exception) -> None:
        self._scans = list(scans)
        self.updates: list[tuple[Contents, list[str]]] = []
        self.failures: list[Exception] = []

    async def scan(self) -> Contents:
        if not self._scans:
            raise asyncio.CancelledError
        found = self._scans.pop(0)
        if isinstance(found, Exception):
            raise found
        return found

    async def update(self, contents: Contents, names: list[str]) -> None:
        self.updates.append((contents, names))
        if self.failures:
            raise self.failures.pop()


def _poll(folder: Any, every_s: float = 1e-6) -> None:
    async def main() -> None:
        with pytest.raises(asyncio.CancelledError):
            await poll(folder, every_s)

    asyncio.run(main())


def test_a_model_is_updated_when_two_scans_found_the_same() -> None:
    folder = _Folder(A, A, B, GROWN, GROWN)

    _poll(folder)

    assert folder.updates == [
        (A, ["net", "served"]),
        (B, SERVED),
        (GROWN, SERVED),
        (GROWN, ["net", "served"]),
    ]


def test_a_model_that_is_gone_is_retired_when_two_scans_missed_it() -> None:
    folder = _Folder(A, OTHER, OTHER)
    folder.names = ["net"]

    _poll(folder)

    assert folder.updates == [(OTHER, []), (OTHER, ["net", "other"])]


def test_a_folder_that_cannot_be_read_changes_nothing_and_is_logged_once() -> None:
    folder = _Folder(A, ModelError("gone"), ModelError("gone"), A, ModelError("gone"))

    with capture_logs() as logs:
        _poll(folder)

    assert folder.updates == [(A, ["net", "served"])]
    assert [entry["reason"] for entry in logs] == ["gone", "gone"]


def test_a_fault_in_following_does_not_end_the_watching() -> None:
    folder = _Folder(A, A, A)
    folder.failures.append(ZeroDivisionError())

    with capture_logs() as logs:
        _poll(folder)

    assert len(folder.updates) == 2
    assert [entry["log_level"] for entry in logs] == ["error"]


def test_without_an_interval_there_is_one_scan_for_the_index() -> None:
    folder: Any = _Folder(A, A)

    asyncio.run(poll(folder, 0))

    assert folder.updates == []
    assert len(folder._scans) == 1
