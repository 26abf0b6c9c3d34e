"""Installs the packages of examples/node, and buf."""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.interop.conftest import ENVIRONMENTS, PATIENCE_S

if TYPE_CHECKING:
    from pathlib import Path

MODULES = ENVIRONMENTS / "node" / "node_modules"


def run_node(script: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run a script with these packages; skip where there is no Node, or no packages."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not installed")
    if not (MODULES / "@grpc" / "grpc-js").exists():
        pytest.skip(f"the packages of examples/node are not in {MODULES}; `make test-all` installs them")
    return subprocess.run(
        [node, script, *map(str, arguments)],
        env={**os.environ, "NODE_PATH": str(MODULES)},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )


def run_buf(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run buf; skip where it is not installed."""
    buf = shutil.which("buf") or MODULES / ".bin" / "buf"
    if not os.access(buf, os.X_OK):
        pytest.skip(f"buf is neither on the path nor in {MODULES}; `make test-all` installs it where Node is")
    return subprocess.run(
        [buf, *arguments], cwd=root, capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )
