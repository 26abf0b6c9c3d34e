"""Reads the folders that ``cifar10net-train fit`` writes, without PyTorch.

Training replaces each file atomically, so runs can be read while they go on.
"""

from __future__ import annotations

import json
import math
import os
import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from service.errors import SourceError

if TYPE_CHECKING:
    import numpy.typing as npt

_CONFIG, _METRICS, _CHECKPOINT, _FILTERS = "config.json", "metrics.jsonl", "checkpoint.pt", "filters"
_LARGEST_BYTES = 16 << 20
_MOST_RUNS = 1_000
_RECENT = 5
"""Epochs whose mean duration predicts the time left."""
_IDLE_S = 60.0
_NUMBER = re.compile(r"(\d{1,9})\.npy")
_MAP_AXES = 4
_LOCKS = Path("/proc/locks")


@dataclass(frozen=True)
class TrainingRun:
    """One run, as it is now."""

    name: str
    folder: Path
    network: str
    epochs: int
    """Epochs that the run is to have."""
    rows: list[dict[str, Any]]
    """Metrics of each complete epoch, by name."""
    is_locked: bool | None
    """Whether a process trains in the folder; None if the system has no ``/proc/locks``."""
    updated_s_ago: float

    @property
    def epochs_done(self) -> int:
        """Number of complete epochs."""
        return int(self.rows[-1]["epoch"]) if self.rows else 0

    @property
    def state(self) -> str:
        """``finished``, ``running`` or ``stopped``."""
        if self.epochs_done >= self.epochs:
            return "finished"
        is_running = self.is_locked
        if is_running is None:
            longest_s = max((row.get("seconds", 0.0) for row in self.rows), default=0.0)
            is_running = self.updated_s_ago < 3 * longest_s + _IDLE_S
        return "running" if is_running else "stopped"

    @property
    def images_per_s(self) -> float | None:
        """Training speed of the last epoch."""
        value = self.rows[-1].get("images_per_s") if self.rows else None
        return None if value is None else float(value)

    @property
    def seconds_left(self) -> float | None:
        """Time left at the pace of the last epochs; None if unknown or not running."""
        paces = [row["seconds"] for row in self.rows[-_RECENT:] if "seconds" in row]
        if self.state != "running" or not paces:
            return None
        left_s: float = (self.epochs - self.epochs_done) * sum(paces) / len(paces)
        return max(0.0, left_s - self.updated_s_ago)

    def filter_epochs(self) -> list[int]:
        """List the epochs with stored filters. Raises SourceError if they cannot be read."""
        try:
            names = [path.name for path in (self.folder / _FILTERS).iterdir()]
        except FileNotFoundError:
            return []
        except OSError as error:
            raise SourceError(f"the filters of {self.name} cannot be read: {error.strerror}") from error
        return sorted(int(match[1]) for match in map(_NUMBER.fullmatch, names) if match)

    def filters(self, epoch: int) -> npt.NDArray[np.float32]:
        """Read the first layer's filters at the end of an epoch: float32 (outputs, 3, height, width).

        Raises:
            SourceError: the file is missing or damaged.
        """
        path = self.folder / _FILTERS / f"{epoch:05}.npy"
        try:
            if path.stat().st_size > _LARGEST_BYTES:
                raise ValueError("it is too large")
            values = np.load(path, allow_pickle=False)
            if values.dtype != np.float32 or values.ndim != _MAP_AXES or not np.isfinite(values).all():
                raise ValueError(f"it holds {values.dtype} {values.shape}")
        except (OSError, ValueError, EOFError) as error:
            raise SourceError(
                f"the filters of {self.name} at epoch {epoch} cannot be read: {error}"
            ) from error
        filters: npt.NDArray[np.float32] = values
        return filters


def find_runs(root: Path) -> list[TrainingRun]:
    """Find the runs in a folder, or the run that the folder is; the most recently written first.

    Damaged runs are left out. A folder that does not exist yet has no runs.

    Raises:
        SourceError: the folder cannot be read.
    """
    if not root.exists():
        return []
    try:
        folders = [root] if (root / _CONFIG).is_file() else sorted(root.iterdir())
        named = [folder for folder in folders if (folder / _CONFIG).is_file()][:_MOST_RUNS]
    except OSError as error:
        raise SourceError(f"cannot read the runs in {root}: {error.strerror}") from error
    found = []
    for folder in named:
        try:
            found.append(read_run(folder))
        except SourceError:
            continue
    return sorted(found, key=lambda run: run.updated_s_ago)


def find_run(root: Path, name: str) -> TrainingRun | None:
    """Find a run by name. Raises SourceError if it is damaged."""
    folder = root if (root / _CONFIG).is_file() and name == _name(root) else root / name
    if name.startswith(".") or Path(name).name != name or not (folder / _CONFIG).is_file():
        return None
    return read_run(folder)


def read_run(folder: Path) -> TrainingRun:
    """Read a run. Raises SourceError if it is damaged."""
    name = _name(folder)
    try:
        config = json.loads(_text(folder / _CONFIG))
        network, epochs = str(config["network"]), int(config["epochs"])
        rows = [_row(json.loads(line)) for line in _text(folder / _METRICS).splitlines()]
        changed_s = max(
            (folder / each).stat().st_mtime for each in (_METRICS, _CHECKPOINT) if (folder / each).exists()
        )
        is_locked = _is_locked(folder)
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise SourceError(f"the run {name} cannot be read: {error}") from error
    return TrainingRun(name, folder, network, epochs, rows, is_locked, max(0.0, time.time() - changed_s))


def _name(folder: Path) -> str:
    return folder.resolve().name


def _text(path: Path) -> str:
    if path.stat().st_size > _LARGEST_BYTES:
        raise ValueError(f"{path.name} is too large")
    return path.read_text(encoding="utf-8")


def _row(metrics: dict[str, Any]) -> dict[str, Any]:
    """Keep the finite numbers of an epoch. Raises LookupError without ``epoch``."""
    numbers = {
        name: value
        for name, value in metrics.items()
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    }
    return {**numbers, "epoch": int(metrics["epoch"])}


def _is_locked(folder: Path) -> bool | None:
    """Check whether a training process holds the folder's lock.

    Trying the lock would hold it for a moment, in which a training that starts would be refused.
    """
    status = folder.stat()
    file_id = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}:{status.st_ino}"
    try:
        return any(file_id in line.split() for line in _LOCKS.read_text().splitlines())
    except OSError:
        return None
