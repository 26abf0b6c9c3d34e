"""Batch jobs in processes of their own, that can be killed at any moment."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from tests import commands

if TYPE_CHECKING:
    from multiprocessing.process import BaseProcess


def start(folder: Path, *arguments: str) -> BaseProcess:
    """Start ``cifar10net classify`` in a folder."""
    process = commands.processes.Process(target=_classify, args=(folder, arguments), daemon=True)
    process.start()
    return process


def finish(folder: Path, *arguments: str) -> int:
    """Run a job to its end and return the exit code."""
    return commands.finish(start(folder, *arguments), 120)


def _classify(folder: Path, arguments: tuple[str, ...]) -> None:
    from service.cli import main  # noqa: PLC0415 - in the process of the job

    os.chdir(folder)
    with Path("log").open("a") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    sys.argv = ["cifar10net", "classify", *arguments]
    main()
