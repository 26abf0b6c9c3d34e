"""Shows a person how a job goes: a bar on a terminal, a line now and then elsewhere.

In: a tally that grows, and how many inputs there are as soon as that is known. Out: standard error. Knows
nothing of what is counted.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Self

from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from service.errors import JobError

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.console import Console

    from service.batch.summary import Tally

LINE_EVERY_S = 30.0
_REFRESH_S = 0.2


class JobProgress:
    """A context manager, because a bar must be closed."""

    def __init__(
        self,
        console: Console,
        tally: Tally,
        count: Callable[[], int | None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Make it.

        Args:
            console: where it is shown.
            tally: what is shown of.
            count: says how many inputs there are; is asked for a bar alone, and in a thread of its own.
            clock: seconds.
        """
        self._console = console
        self._tally = tally
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
        """Show how it goes, if it is time to."""
        now_s = self._clock()
        if now_s - self._shown_s < (_REFRESH_S if self._console.is_terminal else LINE_EVERY_S):
            return
        self._shown_s = now_s
        speed, errors = self._tally.images_per_s, self._tally.failed
        if self._console.is_terminal:
            self._bar.update(self._task, completed=self._tally.images, speed=speed, errors=errors)
        else:
            line = f"{self._tally.images:,} images, {speed:,.0f} images/s, {errors:,} errors"
            self._console.print(line, highlight=False, soft_wrap=True)

    def _find_total(self) -> None:
        try:
            total = self._count()
        except JobError:
            return  # the job itself will come to it, and say so
        self._bar.update(self._task, total=total)
