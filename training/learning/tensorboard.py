"""Writes how a run goes as event files, which TensorBoard shows.

In: the metrics of each epoch. Out: ``tensorboard/`` in the run's folder. A run that goes on takes back what
it had told of epochs that it does again. Knows nothing of networks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from training.errors import MissingPackageError, WriteError

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
    """Tells TensorBoard of epochs; a context manager, because files must be closed."""

    def __init__(self, folder: Path) -> None:
        """Prepare to write into a run's folder, with its first epoch to come.

        Raises:
            MissingPackageError: tensorboardX is not installed.
        """
        try:
            import tensorboardX  # noqa: PLC0415 - needed where events are asked for
        except ImportError as error:
            raise MissingPackageError("tensorboardX", "train") from error
        self._open = tensorboardX.SummaryWriter
        self._folder = folder / FOLDER_NAME
        self._writer: Any = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        if self._writer is not None:
            self._writer.close()

    def on_step(self, epoch: int, step: int, steps: int, loss: float) -> None:
        """Steps are not told: there are thousands."""

    def on_epoch(self, row: dict[str, Any]) -> None:
        """Write the metrics of an epoch, which can be seen within seconds. Raises WriteError."""
        try:
            if self._writer is None:
                self._writer = self._open(
                    str(self._folder),
                    purge_step=row["epoch"],
                    flush_secs=_FLUSH_S,
                    filename_suffix=f".{row['epoch']}",  # two files of one second would be one file
                )
            for name, tag in _TAGS.items():
                self._writer.add_scalar(tag, row[name], row["epoch"])
        except OSError as error:
            raise WriteError(self._folder, error) from error
