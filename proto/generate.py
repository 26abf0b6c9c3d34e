"""Generates ``cifar10net/pb/`` from the ``.proto`` files; ``make proto`` runs it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
SOURCES = {"proto/cifar10net/v1": ("classifier.proto",), "proto/inference": ("inference.proto",)}
PACKAGE = "cifar10net/pb"
ASKED = {"proto/cifar10net/v1"}
"""Folders whose services the client library calls; the others need only their messages."""


def generate(out: Path) -> None:
    """Write the stubs of every source into ``out / cifar10net / pb``."""
    for folder, names in SOURCES.items():
        # PACKAGE=folder makes the generated imports read `from cifar10net.pb import ...`.
        command = [sys.executable, "-m", "grpc_tools.protoc", f"-I{PACKAGE}={folder}"]
        command += [f"--python_out={out}", f"--mypy_out=quiet:{out}"]
        if folder in ASKED:
            command += [f"--grpc_python_out={out}", f"--mypy_grpc_out=quiet:{out}"]
        command += [f"{PACKAGE}/{name}" for name in names]
        # The mypy plugins lie beside the interpreter of this environment.
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
        subprocess.run(command, cwd=ROOT, env={**os.environ, "PATH": path}, check=True)  # noqa: S603


if __name__ == "__main__":
    generate(ROOT)
