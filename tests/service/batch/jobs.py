"""Batch jobs in processes of their own, that can be killed at any moment."""

from __future__ import annotations

import multiprocessing
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from multiprocessing.process import BaseProcess

# A process that has imported everything makes copies of itself: a job starts in milliseconds.
_server = multiprocessing.get_context("forkserver")
_server.set_forkserver_preload(
    ["tests.service.batch.jobs", "service.batch.engines.local", "service.batch.job"]
)


def start(folder: Path, *arguments: str) -> BaseProcess:
    """Begin ``cifar10net classify`` in a folder."""
    process = _server.Process(target=_classify, args=(folder, arguments), daemon=True)
    process.start()
    return process


def finish(folder: Path, *arguments: str) -> int | None:
    """Do all of it and return the exit code."""
    process = start(folder, *arguments)
    process.join(120)
    code = process.exitcode
    process.close()
    return code


def _classify(folder: Path, arguments: tuple[str, ...]) -> None:
    from service.cli import main  # noqa: PLC0415 - in the process of the job

    os.chdir(folder)
    with Path("log").open("a") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    sys.argv = ["cifar10net", "classify", *arguments]
    main()
