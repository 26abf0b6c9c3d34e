"""What a job has done so far, in a file beside its output: ``OUT.partial``.

In: rows, in order, or whatever else becomes a line. Out: the same after whatever has ended the process, a
line that was half written apart. The first line says of which job they are; a lock keeps a second process
away. What the rows become in the end, it does not know.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar

from service.errors import OutputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from typing import BinaryIO

FORMAT = 1
_FORMAT_KEY = "cifar10net_journal"
_Row = TypeVar("_Row")


class Journal(Generic[_Row]):
    """The rows of one job; a context manager, which closes the file and leaves it there."""

    def __init__(  # noqa: PLR0913 - the forms of a row are two of them
        self,
        out: Path,
        job: dict[str, Any],
        *,
        to_line: Callable[[_Row], str],
        from_line: Callable[[str | bytes], _Row],
        resume: bool,
        overwrite: bool,
    ) -> None:
        """Begin, or go on.

        Args:
            out: the job's output, beside which the journal lies.
            job: what makes two jobs the same; JSON-ready.
            to_line: writes a row as a line, without its end.
            from_line: reads such a line; raises ValueError if it is none.
            resume: whether to go on with what is there.
            overwrite: whether to begin anew whatever is there.

        Raises:
            OutputError: it cannot be written, somebody else writes it, it is there and nobody said what to
                do about it, or it is another job's.
        """
        self.path = journal_of(out)
        self.rows = 0
        """How many there are."""
        self._end = 0
        self._to_line = to_line
        self._from_line = from_line
        self._file = self._open()
        try:
            self._lock()
            has_rows = os.fstat(self._file.fileno()).st_size > 0
            if has_rows and not resume and not overwrite:
                raise OutputError(
                    f"{self.path} is there, of a job that was not finished: go on with --resume, or begin "
                    "anew with --overwrite"
                )
            if overwrite:
                self._file.truncate(0)
            self._end = self._mend(job)
            self._file.seek(self._end)
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._file.close()

    def append(self, rows: list[_Row]) -> None:
        """Write rows behind the others; a process that is killed from now on does not lose them.

        Raises:
            OutputError: the disk is full, or gone.
        """
        self._write("".join(f"{self._to_line(row)}\n" for row in rows).encode())
        self.rows += len(rows)

    def replay(self) -> Iterator[_Row]:
        """Yield the rows so far."""
        return map(self._from_line, self.lines())

    def lines(self) -> Iterator[str]:
        """Yield them as they are written."""
        with self.path.open(encoding="utf-8", newline="\n") as file:
            file.readline()
            yield from file

    def skip_head(self, file: BinaryIO) -> BinaryIO:
        """Move a file that was opened at the journal's path to its first row."""
        file.readline()
        return file

    def remove(self) -> None:
        """Remove it: its rows are where they belong."""
        self.path.unlink(missing_ok=True)

    def _open(self) -> BinaryIO:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            # Not "a": what was torn has to be cut off, and a row is written where the last one ended.
            return os.fdopen(os.open(self.path, os.O_RDWR | os.O_CREAT, 0o666), "r+b", buffering=0)
        except OSError as error:
            raise OutputError(f"{self.path} cannot be written: {error.strerror}") from error

    def _lock(self) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise OutputError(f"{self.path} is being written by another process") from error
        if not self.path.exists() or not os.path.samestat(self.path.stat(), os.fstat(self._file.fileno())):
            raise OutputError(f"{self.path} was finished by another process this very moment")

    def _mend(self, job: dict[str, Any]) -> int:
        """Check whose it is, cut off what is no whole row, and return where the next one goes."""
        with self.path.open("rb") as file:
            head = file.readline()
            if not head.endswith(b"\n"):  # nothing, or torn before there was a row
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
            told = json.loads(head)
        except ValueError:
            told = None
        if not isinstance(told, dict) or told.get(_FORMAT_KEY) != FORMAT:
            raise OutputError(f"{self.path} is no journal of this version; move it away, or use --overwrite")
        for key, value in job.items():
            if told.get(key) != value:
                raise OutputError(
                    f"{self.path} is another job's, whose {key} was {_short(told.get(key))} and is now "
                    f"{_short(value)}: finish that one, or begin anew with --overwrite"
                )

    def _write(self, data: bytes) -> None:
        """Write all of it or, whatever comes between, nothing."""
        end = self._end + len(data)
        view = memoryview(data)
        try:
            while view:
                view = view[self._file.write(view) :]
            self._end = end
        except OSError as error:
            raise OutputError(
                f"{self.path} cannot be written: {error.strerror}; the rows so far are kept, and --resume "
                "goes on from there"
            ) from error
        finally:
            if self._end != end:
                with contextlib.suppress(OSError):  # else what is torn is cut off when it is opened again
                    self._file.truncate(self._end)
                    self._file.seek(self._end)


def journal_of(out: Path) -> Path:
    """Say where the journal of an output lies."""
    return out.with_name(f"{out.name}.partial")


def _short(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 100 else f"{text[:97]}..."  # noqa: PLR2004 - characters that are shown
