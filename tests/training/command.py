"""Runs ``cifar10net-train`` within this process; returns its output and exit code."""

from __future__ import annotations

import contextlib
import io
import sys
from typing import NamedTuple

import pytest

from training.cli import main


class Done(NamedTuple):
    """A command that has ended."""

    code: object
    stdout: str
    stderr: str


def call(*arguments: object) -> Done:
    """Run the command line; a process of its own would spend most of its time on importing PyTorch."""
    said, errors = io.StringIO(), io.StringIO()
    with (
        pytest.MonkeyPatch.context() as patch,
        contextlib.redirect_stdout(said),
        contextlib.redirect_stderr(errors),
    ):
        patch.setattr(sys, "argv", ["cifar10net-train", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
    return Done(ended.value.code, said.getvalue(), errors.getvalue())
