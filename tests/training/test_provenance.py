"""A result records its commit, and whether the code differed from it."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from training import provenance

if TYPE_CHECKING:
    from types import ModuleType


def _git(folder: Path, *arguments: str) -> str:
    who = ("-c", "user.name=somebody", "-c", "user.email=somebody@example.org")
    return subprocess.run(
        ["git", "-C", str(folder), *who, *arguments], capture_output=True, text=True, check=True
    ).stdout.strip()


def _loaded(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("copied_provenance", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_commit_is_dirty_if_the_code_differs_and_not_for_what_it_has_written(tmp_path: Path) -> None:
    package, model = tmp_path / "training", tmp_path / "model.onnx"
    package.mkdir()
    copied = Path(shutil.copy(provenance.__file__, package))
    model.write_text("before")
    _git(tmp_path, "init", "--quiet")

    assert _loaded(copied).source_commit() == "unknown"  # not in the checkout yet

    _git(tmp_path, "add", ".")
    _git(tmp_path, "commit", "--quiet", "--message", "first")
    commit = _git(tmp_path, "rev-parse", "HEAD")
    model.write_text("after")

    assert _loaded(copied).source_commit() == commit

    copied.write_text(copied.read_text() + "# another\n")

    assert _loaded(copied).source_commit() == f"{commit}-dirty"
