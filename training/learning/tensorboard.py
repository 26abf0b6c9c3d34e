"""Writes the metrics of a run as TensorBoard event files, to ``tensorboard/`` in its folder.

A resumed run purges the events of epochs that it repeats.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from training.errors import WriteError, required

if TYPE_CHECKING:
    from pathlib import Path

FOLDER_NAME = "tensorboard"
_FLUSH_S = 1
_TAGS = {
    "loss": "loss/training",
    "validation_loss": "loss/validation",
    "validation_top1": "accuracy/top-1",
    "validation_top3": "accuracy/top-3",
    "learning_rate": "learning_rate",
    "images_per_s": "images_per_s",
}


class EventReporter:
    """Reports epochs to TensorBoard; a context manager that closes the files."""

    def __init__(self, folder: Path) -> None:
        """Prepare to write to the folder of a run.

        Raises:
            MissingPackageError: tensorboardX is not installed.
        """
        with required("train"):
            import tensorboardX  # noqa: PLC0415 - needed only for --tensorboard
        self._open = tensorboardX.SummaryWriter
        self._folder = folder / FOLDER_NAME
        self._writer: Any = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        if self._writer is not None:
            self._writer.close()

    def on_step(self, epoch: int, step: int, steps: int, loss: float) -> None:
        """Write nothing: there are thousands of steps."""

    def on_epoch(self, row: dict[str, Any]) -> None:
        """Write the metrics of an epoch, and flush within a second. Raises WriteError."""
        try:
            if self._writer is None:
                self._writer = self._open(
                    str(self._folder),
                    purge_step=row["epoch"],
                    flush_secs=_FLUSH_S,
                    filename_suffix=f".{row['epoch']}",  # without it, files of the same second collide
                )
            for name, tag in _TAGS.items():
                self._writer.add_scalar(tag, row[name], row["epoch"])
        except OSError as error:
            raise WriteError(self._folder, error) from error
