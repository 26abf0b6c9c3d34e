"""Arrays are computed once, and again if the file of the cache is damaged."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from training.data.array_cache import cached
from training.errors import WriteError

if TYPE_CHECKING:
    from pathlib import Path


def _never() -> dict[str, Any]:
    raise AssertionError("computed again")


@pytest.mark.parametrize("damage", [b"", b"PK\x03\x04 half a zip"])
def test_arrays_are_computed_once_unless_the_file_is_damaged(tmp_path: Path, damage: bytes) -> None:
    path = tmp_path / "new" / "arrays.npz"
    expected = np.arange(6).reshape(2, 3)

    first = cached(path, lambda: {"values": expected})
    second = cached(path, _never)
    path.write_bytes(damage)
    third = cached(path, lambda: {"values": expected})

    assert all(
        np.array_equal(each["values"], expected) for each in (first, second, third, cached(path, _never))
    )


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")

    with pytest.raises(WriteError, match="cannot write"):
        cached(tmp_path / "file" / "arrays.npz", lambda: {"values": np.zeros(1)})
