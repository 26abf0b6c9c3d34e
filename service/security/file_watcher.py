"""Builds a value from files, and rebuilds it when they change.

A file that is still being written is left alone. If the new value cannot be built, the old one stays in
force.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Generic, TypeVar

import structlog

from service.errors import StartupError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

POLL_INTERVAL_S = 1.0
"""A change is taken up once two successive polls find the files the same."""
_Value = TypeVar("_Value")
_Stamp = tuple[tuple[int, ...] | None, ...]
_log = structlog.get_logger(__name__)


class FileWatcher(Generic[_Value]):
    """Holds a value and keeps it up to date with its files."""

    def __init__(self, what: str, paths: Sequence[Path], make: Callable[[], _Value]) -> None:
        """Build the value for the first time. Raises what ``make`` raises.

        Args:
            what: name of the value in the plural, for the log.
            paths: the files.
            make: builds the value, in any thread.
        """
        self._what = what
        self._paths = tuple(paths)
        self._make = make
        self._loaded = self._last = self._stamps()
        self._is_requested = asyncio.Event()
        self.value = make()

    def reload(self) -> None:
        """Rebuild the value now, whether its files have changed or not."""
        self._is_requested.set()

    async def follow(self, on_change: Callable[[], None]) -> None:
        """Rebuild the value whenever its files have changed, and call ``on_change``; until cancelled."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(POLL_INTERVAL_S):
                    await self._is_requested.wait()
            is_requested = self._is_requested.is_set()
            self._is_requested.clear()
            found = await asyncio.to_thread(self._stamps)
            is_stable, self._last = found == self._last, found
            if is_requested or (is_stable and found != self._loaded):
                self._loaded = found
                await self._make_again(on_change)

    async def _make_again(self, on_change: Callable[[], None]) -> None:
        try:
            self.value = await asyncio.to_thread(self._make)
        except StartupError as error:
            _log.error(f"new {self._what} not taken, the old ones stay in force", reason=str(error))
        except Exception:  # noqa: BLE001 - the watcher must survive
            _log.exception(f"new {self._what} not taken, the old ones stay in force")
        else:
            _log.info(f"new {self._what} in force")
            on_change()

    def _stamps(self) -> _Stamp:
        return tuple(map(_stamp, self._paths))


def _stamp(path: Path) -> tuple[int, ...] | None:
    """Return a value that changes when the file does; None if it does not exist."""
    try:
        found = path.stat()
    except OSError:
        return None
    return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
