"""Looks at the repository's folder again and again, and has the server follow what it finds.

A model is followed once its folder has looked the same twice in a row: what is being written is left alone.
Knows nothing of how a version is loaded.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from service.errors import ModelError

if TYPE_CHECKING:
    from service.repository.folder import Contents
    from service.repository.version_updates import Lifecycle

_log = structlog.get_logger(__name__)


async def watch(lifecycle: Lifecycle, every_s: float) -> None:
    """Follow the folder until cancelled.

    A folder that cannot be read, or in which there is no model at all, such as one that is not mounted,
    changes nothing.

    Args:
        lifecycle: what follows.
        every_s: between two looks; 0 looks once, for the index, and follows nothing.
    """
    before: Contents | None = None
    complaint = ""
    while True:
        try:
            now = await lifecycle.look()
        except ModelError as error:
            if str(error) != complaint:
                _log.warning("model repository not read", reason=str(error))
            complaint = str(error)
        else:
            complaint = ""
            if before is not None:
                await _follow(lifecycle, now, _unchanged(before, now, lifecycle.names))
            before = now
        if not every_s:
            return
        await asyncio.sleep(every_s)


async def _follow(lifecycle: Lifecycle, contents: Contents, names: list[str]) -> None:
    try:
        await lifecycle.follow(contents, names)
    except Exception:  # noqa: BLE001 - told with its traceback
        _log.exception("model repository not followed")  # this time; the next look may go better


def _unchanged(before: Contents, now: Contents, served: list[str]) -> list[str]:
    """Name the models of which two looks have found the same; of one that is gone, nothing twice."""
    return [name for name in sorted({*before, *now, *served}) if before.get(name) == now.get(name)]
