"""Polls the repository's folder and updates the models that have changed.

A model is updated once two successive scans find it the same, so files that are being written are left alone.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from service.errors import ModelError

if TYPE_CHECKING:
    from service.repository.folder import Contents
    from service.repository.version_updates import VersionUpdater

_log = structlog.get_logger(__name__)


async def poll(updater: VersionUpdater, interval_s: float) -> None:
    """Poll the folder until cancelled.

    A folder that is unreadable or has no model at all, such as one that is not mounted, changes nothing. An
    interval of 0 scans once, for the index, and updates nothing.
    """
    before: Contents | None = None
    last_error = ""
    while True:
        try:
            now = await updater.scan()
        except ModelError as error:
            if str(error) != last_error:
                _log.warning("model repository not read", reason=str(error))
            last_error = str(error)
        else:
            last_error = ""
            if before is not None:
                await _update(updater, now, _unchanged(before, now, updater.names))
            before = now
        if not interval_s:
            return
        await asyncio.sleep(interval_s)


async def _update(updater: VersionUpdater, contents: Contents, names: list[str]) -> None:
    try:
        await updater.update(contents, names)
    except Exception:  # noqa: BLE001 - logged with its traceback
        _log.exception("model repository not followed")  # the next scan tries again


def _unchanged(before: Contents, now: Contents, served: list[str]) -> list[str]:
    """Return the models that two scans found the same; a model that is gone was missing in both."""
    return [name for name in sorted({*before, *now, *served}) if before.get(name) == now.get(name)]
