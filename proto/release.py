"""Records the messages of a release: ``python proto/release.py``, once for each release.

buf (``make buf``) and a test that needs no buf check that later versions stay compatible with them.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent
RELEASED = ROOT / "released.binpb"
FILES = ("cifar10net/v1/classifier.proto", "inference/inference.proto")


def describe(out: Path) -> None:
    """Write the descriptors of all files, without comments."""
    command = [sys.executable, "-m", "grpc_tools.protoc", f"-I{ROOT}", f"--descriptor_set_out={out}", *FILES]
    subprocess.run(command, check=True)  # noqa: S603 - our own


if __name__ == "__main__":
    describe(RELEASED)
