"""The wheel's client works in a project that has packages ``service`` and ``training`` of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_MAIN = """
import sys

from cifar10net import AsyncClient, Client
from service.camera import NAME
from training import EPOCHS

with Client(sys.argv[1]) as client:
    images = [bytes(3072)] * 2
    print(NAME, EPOCHS, len(client.classify(images)), len(list(client.classify_stream(images))))
AsyncClient(sys.argv[1])
files = {name: getattr(module, "__file__", None) or "" for name, module in sys.modules.items()}
loaded = {name.partition(".")[0] for name, file in files.items() if file.startswith(sys.argv[2])}
print(*loaded, *sorted(name for name in files if name.startswith(("service", "training"))))
"""


def test_a_project_with_folders_of_the_same_names_keeps_its_own(
    server: str, wheel: Path, tmp_path: Path
) -> None:
    installed, project = tmp_path / "installed", tmp_path / "project"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(installed)
    for name, content in {
        "main.py": _MAIN,
        "service/__init__.py": "",
        "service/camera.py": "NAME = 'camera'",
        "training/__init__.py": "EPOCHS = 7",
    }.items():
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        (project / name).write_text(content)

    done = subprocess.run(
        [sys.executable, "main.py", server, str(installed)],
        cwd=project,
        env={**os.environ, "PYTHONPATH": str(installed)},
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "camera 7 2 2\ncifar10net service service.camera training\n"
    assert (installed / "service" / "client.py").exists()  # which was there to be found
