"""Shows how a job goes on standard error: a bar on a terminal, elsewhere a line every half minute."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Self

from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from service.errors import JobError

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.console import Console

    from service.batch.summary import JobSummary

LINE_EVERY_S = 30.0
_REFRESH_S = 0.2


class JobProgress:
    """The progress of one job; a context manager, which closes the bar."""

    def __init__(
        self,
        console: Console,
        summary: JobSummary,
        count: Callable[[], int | None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Show the counts of ``summary`` on ``console``.

        ``count`` returns the number of inputs, None if unknown. It is called only for a bar, in its own
        thread.
        """
        self._console = console
        self._summary = summary
        self._count = count
        self._clock = clock
        self._shown_s = clock()
        self._bar = Progress(
            TextColumn("{task.completed:,.0f}"),
            BarColumn(),
            TextColumn("{task.fields[speed]:,.0f} images/s  {task.fields[errors]:,} errors"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(elapsed_when_finished=False),
            console=console,
            disable=not console.is_terminal,
            transient=True,
        )
        self._task = self._bar.add_task("", total=None, speed=0.0, errors=0)

    def __enter__(self) -> Self:
        self._bar.start()
        if self._console.is_terminal:
            threading.Thread(target=self._find_total, name="count", daemon=True).start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._bar.stop()

    def update(self) -> None:
        """Show the counts, if the last time was long enough ago."""
        now_s = self._clock()
        if now_s - self._shown_s < (_REFRESH_S if self._console.is_terminal else LINE_EVERY_S):
            return
        self._shown_s = now_s
        images, speed, errors = self._summary.images, self._summary.images_per_s, self._summary.failed
        if self._console.is_terminal:
            self._bar.update(self._task, completed=images, speed=speed, errors=errors)
        else:
            line = f"{images:,} images, {speed:,.0f} images/s, {errors:,} errors"
            self._console.print(line, highlight=False, soft_wrap=True)

    def _find_total(self) -> None:
        try:
            total = self._count()
        except JobError:
            return  # the job will run into the same error, and report it
        self._bar.update(self._task, total=total)
