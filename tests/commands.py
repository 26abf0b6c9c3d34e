"""Commands of ``cifar10net`` in processes of their own, which begin with everything imported.

A process that has imported what commands need makes copies of itself: a command starts in milliseconds. What
is wanted of a process that begins with nothing, such as a missing package, has to be asked of a real one.
"""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from multiprocessing.connection import Connection
    from multiprocessing.process import BaseProcess

_Result = TypeVar("_Result")

processes = multiprocessing.get_context("forkserver")
processes.set_forkserver_preload(
    [
        "tests.commands",
        "tests.service.batch.jobs",
        "pyarrow.parquet",
        "rich.progress",
        "service.batch.engines.local_engine",
        "service.batch.evaluation",
        "service.batch.job",
        "service.batch.progress",
        "service.batch.sources",
        "service.cli",
        "service.server.lifecycle",
        "tests.service.images.decoding",
    ]
)


def run(
    *arguments: object,
    folder: Path | None = None,
    environment: Mapping[str, str] | None = None,
    timeout_s: float = 60,
) -> subprocess.CompletedProcess[str]:
    """Do ``cifar10net ARGUMENTS`` and return what it printed, and its exit code.

    Args:
        arguments: of the command line.
        folder: in which it runs; None: the one here.
        environment: of the process; None: as it is here.
        timeout_s: after which it is killed, and the test fails.
    """
    words = tuple(map(str, arguments))
    with tempfile.TemporaryDirectory() as told:
        out, err = Path(told, "out"), Path(told, "err")
        variables = dict(os.environ if environment is None else environment)
        process = processes.Process(target=_run, args=(words, folder or Path.cwd(), variables, out, err))
        process.start()
        code = finish(process, timeout_s)
        return subprocess.CompletedProcess(words, code, out.read_text(), err.read_text())


def call(function: Callable[..., _Result], *arguments: object, timeout_s: float = 120) -> _Result:
    """Return what a function of a module returns in a process of its own."""
    here, there = processes.Pipe(duplex=False)
    process = processes.Process(target=_call, args=(there, function, arguments))
    process.start()
    there.close()
    with here:
        assert here.poll(timeout_s), f"it has not returned within {timeout_s} s"
        result: _Result = here.recv()
    assert finish(process, timeout_s) == 0
    return result


def finish(process: BaseProcess, timeout_s: float) -> int:
    """Wait for a process and return its exit code; one that takes too long is killed."""
    process.join(timeout_s)
    if process.exitcode is None:
        process.kill()
        process.join()
        raise AssertionError(f"it has not ended within {timeout_s} s")
    code = process.exitcode
    process.close()
    return code


def _call(there: Connection, function: Callable[..., object], arguments: tuple[object, ...]) -> None:
    there.send(function(*arguments))


def _run(arguments: tuple[str, ...], folder: Path, environment: dict[str, str], out: Path, err: Path) -> None:
    from service.cli import main  # noqa: PLC0415 - in the process of the command

    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    for number, path in ((1, out), (2, err)):
        with path.open("w") as file:
            os.dup2(file.fileno(), number)
    sys.argv = ["cifar10net", *arguments]
    sys.orig_argv = [sys.executable, "-m", "service.cli", *arguments]  # of which a supervisor makes workers
    main()
