"""Freed memory is reused without page faults."""

from __future__ import annotations

import subprocess
import sys

import pytest

# Blocks larger than glibc keeps by itself, each written once; prints the pages that the last ten took.
_BLOCKS = """
import resource
from training.learning.malloc import keep_freed_memory
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
assert {keep} is False or keep_freed_memory()
for block in range(12):
    if block == 2:
        before = faults()
    bytearray(2**26)
print(faults() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="other C libraries are left as they are")
def test_freed_memory_is_taken_again_without_the_kernel() -> None:
    pages_by_default, pages_kept = (
        int(subprocess.check_output([sys.executable, "-c", _BLOCKS.format(keep=keep)], text=True))
        for keep in (False, True)
    )

    assert pages_kept < 0.01 * pages_by_default
