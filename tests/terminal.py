"""Runs a command on a pseudo-terminal."""

from __future__ import annotations

import os
import pty
import subprocess
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def on_terminal(command: Sequence[str], environment: Mapping[str, str]) -> str:
    """Run it to its end, with standard output and error on a terminal, and return what that shows."""
    ours, theirs = pty.openpty()
    variables = {name: value for name, value in os.environ.items() if name not in {"NO_COLOR", "FORCE_COLOR"}}
    try:
        with subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=theirs,
            stderr=theirs,
            env={**variables, "TERM": "xterm-256color", "COLUMNS": "200", **environment},
        ):
            os.close(theirs)
            shown = b""
            while piece := _read(ours):
                shown += piece
    finally:
        os.close(ours)
    return shown.decode()


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 1 << 16)
    except OSError:  # Linux says EIO at the end
        return b""
