"""Progress of a training run on the console: a bar on a terminal, and a line for each epoch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

if TYPE_CHECKING:
    from rich.console import Console

    from training.learning.train import Reporter


class ProgressBar:
    """A context manager that shows a bar on a terminal, and nothing elsewhere.

    Columns are those of ``rich.progress.Progress``, and ``fields`` their initial values.
    """

    def __init__(self, console: Console, *columns: ProgressColumn, **fields: Any) -> None:  # noqa: ANN401
        self._console = console
        columns = columns or (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
        self._bar = Progress(*columns, console=console, disable=not console.is_terminal, transient=True)
        self._task = self._bar.add_task("", total=None, **fields)

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._bar.stop()


class ProgressReporter(ProgressBar):
    """Reports steps and epochs on a console."""

    def __init__(self, console: Console, epochs: int) -> None:
        super().__init__(
            console,
            TextColumn("epoch {task.fields[epoch]}/{task.fields[epochs]}"),
            BarColumn(),
            TextColumn("loss {task.fields[loss]:.3f}  val {task.fields[validation]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(elapsed_when_finished=False),
            epoch=0,
            epochs=epochs,
            loss=float("nan"),
            validation="-",
        )
        self._epochs = epochs
        self._validation = "-"

    def on_step(self, epoch: int, step: int, steps: int, loss: float) -> None:
        """Move the bar."""
        self._bar.update(
            self._task,
            total=self._epochs * steps,
            completed=epoch * steps + step,
            epoch=epoch + 1,
            loss=loss,
            validation=self._validation,
        )

    def on_epoch(self, row: dict[str, Any]) -> None:
        """Print a line."""
        self._validation = f"{row['validation_top1']:.2%}"
        self._console.print(
            f"epoch {row['epoch']:>3}/{self._epochs}  loss {row['loss']:.4f}  "
            f"validation loss {row['validation_loss']:.4f}  top-1 {row['validation_top1']:.2%}  "
            f"top-3 {row['validation_top3']:.2%}  {row['images_per_s']:,.0f} images/s",
            highlight=False,
            soft_wrap=True,
        )


class Reporters:
    """Calls several reporters in turn."""

    def __init__(self, *reporters: Reporter) -> None:
        self._reporters = reporters

    def on_step(self, epoch: int, step: int, steps: int, loss: float) -> None:
        """Report a step to each."""
        for reporter in self._reporters:
            reporter.on_step(epoch, step, steps, loss)

    def on_epoch(self, row: dict[str, Any]) -> None:
        """Report an epoch to each."""
        for reporter in self._reporters:
            reporter.on_epoch(row)
