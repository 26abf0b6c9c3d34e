"""The folder of a run: settings, metrics, and the checkpoint to resume from.

``config.json`` has the settings; ``metrics.jsonl`` one line for each epoch; ``filters/`` the first
convolution's weights after each epoch, for programs without PyTorch; ``checkpoint.pt`` the latest state, from
which a run continues to the same weights as an uninterrupted one.
"""

from __future__ import annotations

import contextlib
import fcntl
import io
import json
import os
import pickle
import zipfile
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from training.atomic_files import write_bytes, write_text
from training.errors import CheckpointError, TrainingError, WriteError
from training.learning.config import TrainConfig

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import numpy.typing as npt

CHECKPOINT_NAME = "checkpoint.pt"
_CONFIG_NAME = "config.json"
_METRICS_NAME = "metrics.jsonl"
_FILTERS_NAME = "filters"
_FORMAT = 2
_DAMAGE = (OSError, RuntimeError, ValueError, LookupError, TypeError, EOFError)


@dataclass(frozen=True)
class Checkpoint:
    """The state of a run between two steps."""

    config: TrainConfig
    epoch: int
    """Completed epochs."""
    step: int
    """Completed steps of the current epoch."""
    loss_sum: float
    """Sum of the losses of these steps."""
    model: dict[str, Any]
    average: dict[str, Any]
    """Exponential moving average of the weights."""
    optimizer: dict[str, Any]
    provenance: dict[str, str]
    """Commit, libraries and machine that started the run."""

    @property
    def is_finished(self) -> bool:
        """Whether every epoch of the configuration is done."""
        return self.epoch >= self.config.epochs


class Run:
    """Reads and writes one run folder; every file is written atomically."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes from training in this folder until the block ends.

        Raises:
            CheckpointError: another process is training in it.
            WriteError: the folder cannot be written.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            # Locks the folder itself, since a lock file could be deleted while it is held.
            descriptor = os.open(self.folder, os.O_RDONLY)
        except OSError as error:
            raise WriteError(self.folder, error) from error
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise CheckpointError(f"another process is training in {self.folder}") from error
            yield
        finally:
            os.close(descriptor)  # releases the lock

    def begin(self, config: TrainConfig) -> None:
        """Start a new run. Raises CheckpointError if the folder holds one already."""
        if (self.folder / CHECKPOINT_NAME).exists():
            raise CheckpointError(
                f"{self.folder} already holds a run: continue it with --resume {self.folder}, "
                "or choose another --out"
            )
        write_text(self.folder / _CONFIG_NAME, json.dumps(asdict(config), indent=2) + "\n")
        write_text(self.folder / _METRICS_NAME, "")

    def save(self, checkpoint: Checkpoint) -> None:
        """Replace the latest checkpoint. Raises WriteError."""
        content = {"format": _FORMAT, **vars(checkpoint), "config": asdict(checkpoint.config)}
        buffer = io.BytesIO()
        torch.save(content, buffer)
        write_bytes(self.folder / CHECKPOINT_NAME, buffer.getbuffer())

    def load(self) -> Checkpoint:
        """Read the latest checkpoint. Raises CheckpointError."""
        return load_checkpoint(self.folder / CHECKPOINT_NAME)

    def metrics(self) -> list[dict[str, Any]]:
        """Return the metrics of each epoch, oldest first. Raises CheckpointError for a damaged file."""
        try:
            text = (self.folder / _METRICS_NAME).read_text()
        except FileNotFoundError:
            return []
        try:
            rows = [json.loads(line) for line in text.splitlines()]
            if not all(isinstance(row["epoch"], int) for row in rows):
                raise TypeError("an epoch is no number")
        except (ValueError, KeyError, TypeError) as error:
            raise CheckpointError(
                f"{self.folder / _METRICS_NAME} is damaged ({error}); remove its bad lines"
            ) from error
        return rows

    def record(self, row: dict[str, Any]) -> None:
        """Add the metrics of an epoch, replacing rows of the same and later epochs.

        A run that was killed between recording an epoch and saving its checkpoint repeats that epoch.
        """
        rows = [old for old in self.metrics() if old["epoch"] < row["epoch"]] + [row]
        write_text(self.folder / _METRICS_NAME, "".join(f"{json.dumps(each)}\n" for each in rows))

    def keep_filters(self, epoch: int, filters: npt.NDArray[np.float32]) -> None:
        """Write the filters (outputs, 3, height, width) after an epoch. Raises WriteError."""
        buffer = io.BytesIO()
        np.save(buffer, filters, allow_pickle=False)
        write_bytes(self.folder / _FILTERS_NAME / f"{epoch:05}.npy", buffer.getbuffer())


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint file, without executing code from it.

    Raises:
        CheckpointError: the file is missing, damaged, or no checkpoint of cifar10net-train.
    """
    try:
        with zipfile.ZipFile(path) as archive:  # torch.load checks no checksums
            if damaged := archive.testzip():
                raise zipfile.BadZipFile(f"wrong checksum of {damaged}")
        content = torch.load(path, map_location="cpu", weights_only=True)
        if not isinstance(content, dict) or content.pop("format", None) != _FORMAT:
            raise ValueError("it is not of cifar10net-train")
        return Checkpoint(**{**content, "config": TrainConfig(**content["config"])})
    except FileNotFoundError as error:
        raise CheckpointError(
            f"no checkpoint at {path}: the file does not exist; start with cifar10net-train fit"
        ) from error
    except (*_DAMAGE, pickle.UnpicklingError, zipfile.BadZipFile, TrainingError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise CheckpointError(f"{path} is not a readable checkpoint ({reason})") from error
