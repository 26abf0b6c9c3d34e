"""buf, where it is installed, accepts the .proto files: standard rules, and no breaking change."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from tests.interop.node import run_buf

if TYPE_CHECKING:
    from pathlib import Path


def test_the_proto_files_follow_the_standard_rules(root: Path) -> None:
    done = run_buf(root, "lint")

    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_nothing_that_was_released_is_broken(root: Path) -> None:
    done = run_buf(root, "breaking", "--against", "proto/released.binpb")

    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_a_break_would_be_found(root: Path, tmp_path: Path) -> None:
    shutil.copytree(root / "proto", tmp_path / "proto")
    shutil.copy(root / "buf.yaml", tmp_path)
    path = tmp_path / "proto" / "cifar10net" / "v1" / "classifier.proto"
    path.write_text(path.read_text().replace("float probability = 3;", "double probability = 4;"))

    done = run_buf(tmp_path, "breaking", "--against", "proto/released.binpb")

    assert done.returncode != 0
    assert 'field "3" with name "probability"' in done.stdout
