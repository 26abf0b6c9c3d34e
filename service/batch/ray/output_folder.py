"""The output of a job on a cluster: a folder of parts that appears at once, whole, with its manifest.

In: receipts. Out: ``OUT/`` with ``_manifest.json``; until then the parts are in ``.OUT.new/`` beside it, and
the receipts in the journal ``OUT.partial``, from which a job goes on. Knows nothing of how parts come about.
"""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from service.batch.journal import Journal, journal_of
from service.batch.output import sync_folder
from service.batch.ray import parts
from service.batch.ray.shards import Done, Share
from service.errors import OutputError

if TYPE_CHECKING:
    from pathlib import Path

MANIFEST = "_manifest.json"
"""Readers of a folder of Parquet leave out what begins with an underscore."""
FORMAT = 1


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where the parts go."""

    out: Path
    resume: bool = False
    overwrite: bool = False

    def check(self) -> bool:
        """Whether there is something to do; a finished output is all that ``resume`` asks for.

        Raises:
            OutputError: something is in the way.
        """
        if not self.out.exists() or self.overwrite:
            return True
        if not self.out.is_dir():
            raise OutputError(f"{self.out} is a file, wanted a folder: --engine ray writes parts")
        if not (self.out / MANIFEST).exists():
            raise OutputError(
                f"{self.out} is there already, and no output of such a job: choose another --out"
            )
        if not self.resume:
            raise OutputError(f"{self.out} is there already: --overwrite replaces it")
        return journal_of(self.out).exists()


class Collection:
    """Receipts and parts of one job; a context manager, which leaves what there is for the next start."""

    def __init__(self, place: Place, job: dict[str, Any]) -> None:
        """Begin, or go on.

        Args:
            place: where the parts go.
            job: what makes two jobs the same; JSON-ready.

        Raises:
            OutputError: as of Journal.
        """
        self._out = place.out
        self.parts = _absolute(place.out.with_name(f".{place.out.name}.new"))
        """The folder for the parts."""
        self._job = job
        self._journal: Journal[parts.Receipt] = Journal(
            place.out,
            job,
            to_line=parts.to_line,
            from_line=parts.from_line,
            resume=place.resume,
            overwrite=place.overwrite,
        )
        self._receipts: dict[int, dict[int, parts.Receipt]] = {}
        """By unit, and by number within it."""
        self._ends: dict[int, int] = {}
        if not self._journal.rows:
            shutil.rmtree(self.parts, ignore_errors=True)
        try:
            self.parts.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"{self.parts} cannot be written: {error.strerror}") from error
        for receipt in self._journal.replay():
            if not receipt.file or _has(self.parts, receipt):
                self._note(receipt)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._journal.__exit__(*exception)

    def add(self, receipt: parts.Receipt) -> bool:
        """Note what was done; returns whether it is new, and a part."""
        known = self._receipts.get(receipt.unit, {}) if receipt.file else {self._ends.get(receipt.unit)}
        if receipt.number in known:
            return False
        self._journal.append([receipt])
        self._note(receipt)
        return bool(receipt.file)

    @property
    def receipts(self) -> list[parts.Receipt]:
        """Of the parts that there are, in the order of their rows."""
        return [unit[number] for _, unit in sorted(self._receipts.items()) for number in sorted(unit)]

    def done(self, unit: int) -> dict[int, Done]:
        """Say which shares of a unit are done."""
        known = self._receipts.get(unit, {})
        return {number: Done(receipt.rows, receipt.names) for number, receipt in known.items()}

    def is_whole(self, unit: int) -> bool:
        """Whether all shares of a unit are done."""
        end = self._ends.get(unit)
        return end is not None and self._receipts.get(unit, {}).keys() >= set(range(end))

    def publish(self, facts: dict[str, Any], *, top_k: int, has_labels: bool) -> None:
        """Write the manifest, and give the folder its name.

        Args:
            facts: of the job and its results; JSON-ready.
            top_k: classes of a row.
            has_labels: whether there is a column for what the input is.

        Raises:
            OutputError: a part is missing, or the folder cannot be written.
        """
        if not self._receipts:  # readers want the columns, of an empty job too
            nothing = parts.write(self.parts, Share(0, 0, 0, ()), [], top_k, has_labels=has_labels)
            self._note(nothing)
        receipts = self.receipts
        self._keep_only({receipt.file for receipt in receipts})
        manifest = {
            "format": FORMAT,
            "job": self._job,
            **facts,
            "columns": parts.names_of(top_k, has_labels=has_labels),
            "ordered_by": parts.INDEX,
            "parts": [_told(receipt) for receipt in receipts],
        }
        old = self._out.with_name(f".{self._out.name}.old")
        try:
            _write(self.parts / MANIFEST, manifest)
            shutil.rmtree(old, ignore_errors=True)
            if self._out.is_dir() and not self._out.is_symlink():
                self._out.rename(old)
            elif self._out.exists():
                self._out.unlink()
            self.parts.rename(self._out)
            sync_folder(self._out.absolute().parent)
            self._journal.remove()
            shutil.rmtree(old, ignore_errors=True)
        except OSError as error:
            raise OutputError(
                f"{self._out} cannot be written: {error.strerror}; all parts are in {self.parts}, and "
                "--resume makes the output of them"
            ) from error

    def what_is_kept(self, reason: str) -> str:
        """Say how a job that has ended too early can go on; nothing is left of one that has no part."""
        if not self._receipts:
            self._journal.remove()
            shutil.rmtree(self.parts, ignore_errors=True)
            return reason
        rows = sum(receipt.rows for receipt in self.receipts)
        count = len(self.receipts)
        kept = "1 part is" if count == 1 else f"{count:,} parts are"
        return f"{reason}; {kept} kept in {self.parts.name} ({rows:,} rows), --resume goes on from there"

    def _note(self, receipt: parts.Receipt) -> None:
        if receipt.file:
            self._receipts.setdefault(receipt.unit, {})[receipt.number] = receipt
        else:
            self._ends[receipt.unit] = receipt.number

    def _keep_only(self, files: set[str]) -> None:
        """Remove what workers left that died, and find out whether this machine sees all parts."""
        there = {entry.name for entry in os.scandir(self.parts)}
        for name in there - files:
            (self.parts / name).unlink()
        for missing in sorted(files - there)[:1]:
            raise OutputError(
                f"{missing} was written and is not in {self.parts}: --out has to be in a folder that all "
                "machines see"
            )


def _absolute(path: Path) -> Path:
    return path.absolute()  # not resolve: a link may lead elsewhere on another machine


def _has(folder: Path, receipt: parts.Receipt) -> bool:
    try:
        return (folder / receipt.file).stat().st_size == receipt.bytes
    except OSError:
        return False


def _told(receipt: parts.Receipt) -> dict[str, Any]:
    return {
        "file": receipt.file,
        "rows": receipt.rows,
        "first_index": receipt.first,
        "bytes": receipt.bytes,
        "sha256": receipt.sha256,
        "errors": receipt.counts.get("errors", {}),
    }


def _write(path: Path, content: dict[str, Any]) -> None:
    with path.open("w", encoding="utf-8") as file:
        json.dump(content, file, ensure_ascii=False, indent=1)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())
