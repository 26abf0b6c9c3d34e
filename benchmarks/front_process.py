"""Runs ``benchmarks.front_server`` in a child process."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from pathlib import Path
from typing import Self

ROOT = Path(__file__).parent.parent


class FrontProcess:
    """Runs ``benchmarks.front_server``; a context manager, which stops it."""

    def __init__(self, front: str, handler: str, models: Path, log: Path | None = None) -> None:
        self._command = [sys.executable, "-m", "benchmarks.front_server", front, handler, str(models)]
        self._log = log
        self._process: subprocess.Popen[str] | None = None
        self.pid = 0
        self.address = ""

    def start(self) -> None:
        """Start the process and wait for its address."""
        with self._log.open("ab") if self._log else contextlib.nullcontext() as log:
            self._process = subprocess.Popen(  # noqa: S603 - our own command
                self._command, stdout=subprocess.PIPE, stderr=log, text=True, cwd=ROOT
            )
        self.pid = self._process.pid
        assert self._process.stdout is not None  # noqa: S101 - it is a pipe
        self.address = self._process.stdout.readline().strip()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exception: object) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.communicate(timeout=60)
