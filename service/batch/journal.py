"""The journal of a job: the rows so far, a line each, in ``OUT.partial`` beside the output.

It survives the process, however that ends: when the job resumes, an incomplete last line is cut off. The
first line identifies the job, and a lock keeps other processes out.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar

from cifar10net.errors import ClientError
from service.errors import JobError, OutputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from typing import BinaryIO

FORMAT = 1
_FORMAT_KEY = "cifar10net_journal"
_Row = TypeVar("_Row")


class Journal(Generic[_Row]):
    """The rows of one job; a context manager that closes the file but does not remove it."""

    def __init__(  # noqa: PLR0913 - two are the format of a row
        self,
        out: Path,
        job: dict[str, Any],
        *,
        to_line: Callable[[_Row], str],
        from_line: Callable[[str | bytes], _Row],
        resume: bool,
        overwrite: bool,
    ) -> None:
        """Start or resume a journal.

        Args:
            out: the job's output.
            job: identifies the job; JSON-ready.
            to_line: writes a row as a line, without its end.
            from_line: reads such a line; raises ValueError if it is not one.
            resume: whether to keep the rows that are there.
            overwrite: whether to drop them.

        Raises:
            OutputError: the file cannot be written, is another job's, is in use by another process, or has
                rows and neither ``resume`` nor ``overwrite`` was asked for.
        """
        self.path = journal_of(out)
        self.rows = 0
        """Number of rows."""
        self._end = 0
        self._to_line = to_line
        self._from_line = from_line
        self._file = self._open()
        try:
            self._lock()
            has_rows = os.fstat(self._file.fileno()).st_size > 0
            if has_rows and not resume and not overwrite:
                raise OutputError(
                    f"{self.path} is of a job that was not finished: continue with --resume, or start again "
                    "with --overwrite"
                )
            if overwrite:
                self._file.truncate(0)
            self._end = self._repair(job)
            self._file.seek(self._end)
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._file.close()

    def append(self, rows: list[_Row]) -> None:
        """Append rows; from then on they survive the process. Raises OutputError, such as for a full disk."""
        self._write("".join(f"{self._to_line(row)}\n" for row in rows).encode())
        self.rows += len(rows)

    def replay(self) -> Iterator[_Row]:
        """Yield the rows so far."""
        return map(self._from_line, self.lines())

    def lines(self) -> Iterator[str]:
        """Yield their lines."""
        with self.path.open(encoding="utf-8", newline="\n") as file:
            file.readline()
            yield from file

    def remove(self) -> None:
        """Remove the file."""
        self.path.unlink(missing_ok=True)

    def _open(self) -> BinaryIO:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            # Not "a": rows are written where the last whole one ends.
            return os.fdopen(os.open(self.path, os.O_RDWR | os.O_CREAT, 0o666), "r+b", buffering=0)
        except OSError as error:
            raise OutputError(f"{self.path} cannot be written: {error.strerror}") from error

    def _lock(self) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise OutputError(f"{self.path} is being written by another process") from error
        if not self.path.exists() or not os.path.samestat(self.path.stat(), os.fstat(self._file.fileno())):
            raise OutputError(f"{self.path} has just been finished by another process")

    def _repair(self, job: dict[str, Any]) -> int:
        """Check the job, count the rows, cut off an incomplete one, and return where the next one goes."""
        with self.path.open("rb") as file:
            head = file.readline()
            if not head.endswith(b"\n"):  # empty, or cut off before its first row
                self._file.truncate(0)
                self._end = 0
                self._write(json.dumps({_FORMAT_KEY: FORMAT, **job}, ensure_ascii=False).encode() + b"\n")
                return self._end
            self._check(head, job)
            end = len(head)
            for line in file:
                if not line.endswith(b"\n") or not self._is_row(line):
                    break
                end += len(line)
                self.rows += 1
        self._file.truncate(end)
        return end

    def _is_row(self, line: bytes) -> bool:
        try:
            self._from_line(line)
        except ValueError:
            return False
        return True

    def _check(self, head: bytes, job: dict[str, Any]) -> None:
        try:
            there = json.loads(head)
        except ValueError:
            there = None
        if not isinstance(there, dict) or there.get(_FORMAT_KEY) != FORMAT:
            raise OutputError(
                f"{self.path} is not a journal of this version; move it away, or use --overwrite"
            )
        for key, value in job.items():
            if there.get(key) != value:
                raise OutputError(
                    f"{self.path} is another job's, whose {key} was {_short(there.get(key))} and is now "
                    f"{_short(value)}: finish that job, or start again with --overwrite"
                )

    def _write(self, data: bytes) -> None:
        """Write all of the data or, if that fails or is interrupted, nothing."""
        end = self._end + len(data)
        view = memoryview(data)
        try:
            while view:
                view = view[self._file.write(view) :]
            self._end = end
        except OSError as error:
            raise OutputError(
                f"{self.path} cannot be written: {error.strerror}; the rows so far are kept, and --resume "
                "continues from there"
            ) from error
        finally:
            if self._end != end:
                with contextlib.suppress(OSError):  # else it is cut off when the job resumes
                    self._file.truncate(self._end)
                    self._file.seek(self._end)


@contextlib.contextmanager
def explaining_kept_output(explain: Callable[[str], str]) -> Iterator[None]:
    """Add by ``explain`` to the reason of an early end which rows are kept; an OutputError says so itself."""
    try:
        yield
    except OutputError:
        raise
    except (ClientError, JobError) as error:
        raise JobError(explain(str(error))) from error
    except KeyboardInterrupt as error:
        raise KeyboardInterrupt(explain("interrupted")) from error


def journal_of(out: Path) -> Path:
    """Return the path of an output's journal."""
    return out.with_name(f"{out.name}.partial")


def _short(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 100 else f"{text[:97]}..."  # noqa: PLR2004 - characters
