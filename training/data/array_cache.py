"""Keeps computed arrays in a file, so that the next process reads them instead of computing them again."""

from __future__ import annotations

import zipfile
from typing import TYPE_CHECKING, Any

import numpy as np

from training.atomic_files import replacing

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import numpy.typing as npt


def cached(path: Path, compute: Callable[[], dict[str, npt.NDArray[Any]]]) -> dict[str, npt.NDArray[Any]]:
    """Return the arrays kept in the ``.npz`` at ``path``; compute and keep them if it is missing or damaged.

    Raises:
        WriteError: the file cannot be written.
    """
    try:
        with path.open("rb") as file, np.load(file) as arrays:
            return dict(arrays)
    except (FileNotFoundError, NotADirectoryError):
        pass
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        path.unlink(missing_ok=True)
    computed = compute()
    with replacing(path) as cache:
        np.savez(cache, **computed)  # type: ignore[arg-type] # its stub takes allow_pickle among the arrays
    return computed
