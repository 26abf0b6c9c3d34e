"""Something that is made from files, and made anew when they change.

In: paths, and how to make it. Out: what is in force, replaced only by one that could be made. A file that is
still being written is let come to rest first.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Generic, TypeVar

import structlog

from service.errors import StartupError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

EVERY_S = 1.0
"""Between two looks; a change is taken up when the second one finds the files as the first did."""
_Value = TypeVar("_Value")
_Signature = tuple[tuple[int, ...] | None, ...]
_log = structlog.get_logger(__name__)


class Watched(Generic[_Value]):
    """A value that follows its files."""

    def __init__(self, what: str, paths: Sequence[Path], make: Callable[[], _Value]) -> None:
        """Make the value for the first time.

        Args:
            what: its name in the plural, for the log.
            paths: the files that it is made from.
            make: makes it, in any thread.

        Raises:
            StartupError: whatever ``make`` raises.
        """
        self._what = what
        self._paths = tuple(paths)
        self._make = make
        self._taken = self._last = self._look()
        self.value = make()

    async def follow(self, on_change: Callable[[], None], at_once: asyncio.Event) -> None:
        """Make the value anew whenever its files have changed, without end.

        Args:
            on_change: is told of each new value that is in force.
            at_once: makes it anew when set, changed or not.
        """
        while True:
            is_asked = await _comes_within(at_once, EVERY_S)
            found = await asyncio.to_thread(self._look)
            is_at_rest, self._last = found == self._last, found
            if is_asked or (is_at_rest and found != self._taken):
                self._taken = found
                await self._renew(on_change)

    async def _renew(self, on_change: Callable[[], None]) -> None:
        try:
            self.value = await asyncio.to_thread(self._make)
        except StartupError as error:
            _log.error(f"new {self._what} not taken, the old ones stay in force", reason=str(error))
        except Exception:  # noqa: BLE001 - what is in force must go on following its files
            _log.exception(f"new {self._what} not taken, the old ones stay in force")
        else:
            _log.info(f"new {self._what} in force")
            on_change()

    def _look(self) -> _Signature:
        return tuple(map(_signature, self._paths))


async def _comes_within(event: asyncio.Event, timeout_s: float) -> bool:
    try:
        async with asyncio.timeout(timeout_s):
            await event.wait()
    except TimeoutError:
        return False
    event.clear()
    return True


def _signature(path: Path) -> tuple[int, ...] | None:
    """What changes when a file does; None if there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
