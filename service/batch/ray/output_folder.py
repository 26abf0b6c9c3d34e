"""The output folder of a job on a cluster: parts and ``_manifest.json``, complete or not there at all.

Until the job is complete, the parts are in ``.OUT.new/`` beside ``OUT/``, and their receipts in the journal
``OUT.partial``, from which the job resumes.
"""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from service.batch.journal import Journal, journal_of
from service.batch.output import complete_file, sync_folder
from service.batch.ray import parts
from service.batch.ray.shards import FinishedShard, Shard
from service.errors import OutputError

if TYPE_CHECKING:
    from pathlib import Path

MANIFEST = "_manifest.json"
"""Readers of Parquet folders skip files that begin with an underscore."""
FORMAT = 1


@dataclass(frozen=True, kw_only=True)
class FolderTarget:
    """The output folder."""

    out: Path
    resume: bool = False
    overwrite: bool = False

    def check(self) -> bool:
        """Whether there is something to do: not if ``resume`` finds a finished output.

        Raises:
            OutputError: the folder exists, or is something else.
        """
        if not self.out.exists() or self.overwrite:
            return True
        if not self.out.is_dir():
            raise OutputError(f"{self.out} is a file, wanted a folder: --engine ray writes parts")
        if not (self.out / MANIFEST).exists():
            raise OutputError(
                f"{self.out} exists already, and is not the output of such a job: choose another --out"
            )
        if not self.resume:
            raise OutputError(f"{self.out} exists already: --overwrite replaces it")
        return journal_of(self.out).exists()


class OutputFolder:
    """Parts and receipts of one job; a context manager that keeps them unless they are published."""

    def __init__(self, target: FolderTarget, job: dict[str, Any]) -> None:
        """Start or resume.

        Args:
            target: the output folder.
            job: identifies the job; JSON-ready.

        Raises:
            OutputError: as for ``Journal``, or the folder cannot be written.
        """
        self._out = target.out
        # Not resolve(): a link may lead elsewhere on another machine.
        self.parts = target.out.with_name(f".{target.out.name}.new").absolute()
        """The folder for the parts; absolute."""
        self._job = job
        self._journal: Journal[parts.Receipt] = Journal(
            target.out,
            job,
            to_line=parts.to_line,
            from_line=parts.from_line,
            resume=target.resume,
            overwrite=target.overwrite,
        )
        self._receipts: dict[int, dict[int, parts.Receipt]] = {}
        """By unit, and by number of the shard within it."""
        self._shard_counts: dict[int, int] = {}
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
        """Record a receipt; return whether it is for a new part."""
        known = (
            self._receipts.get(receipt.unit, {}) if receipt.file else {self._shard_counts.get(receipt.unit)}
        )
        if receipt.number in known:
            return False
        self._journal.append([receipt])
        self._note(receipt)
        return bool(receipt.file)

    @property
    def receipts(self) -> list[parts.Receipt]:
        """Return the receipts of the parts, in the order of their rows."""
        return [unit[number] for _, unit in sorted(self._receipts.items()) for number in sorted(unit)]

    def finished(self, unit: int) -> dict[int, FinishedShard]:
        """Return the finished shards of a unit, by number."""
        known = self._receipts.get(unit, {})
        return {number: FinishedShard(receipt.rows, receipt.names) for number, receipt in known.items()}

    def is_complete(self, unit: int) -> bool:
        """Whether all shards of a unit are finished."""
        shards = self._shard_counts.get(unit)
        return shards is not None and self._receipts.get(unit, {}).keys() >= set(range(shards))

    def publish(self, facts: dict[str, Any], *, top_k: int, has_labels: bool) -> None:
        """Write the manifest, and rename the folder.

        ``facts`` are the summary of the job, JSON-ready; the manifest has them, too.

        Raises:
            OutputError: a part is missing, or the folder cannot be written.
        """
        if not self._receipts:  # readers need the columns, even without rows
            self._note(parts.write(self.parts, Shard(0, 0, 0, ()), [], top_k, has_labels=has_labels))
        receipts = self.receipts
        self._keep_only({receipt.file for receipt in receipts})
        manifest = {
            "format": FORMAT,
            "job": self._job,
            **facts,
            "columns": parts.column_names_of(top_k, has_labels=has_labels),
            "ordered_by": parts.INDEX,
            "parts": [_as_dict(receipt) for receipt in receipts],
        }
        old = self._out.with_name(f".{self._out.name}.old")
        try:
            with complete_file(self.parts / MANIFEST, self.parts / f".{MANIFEST}") as file:
                file.write(json.dumps(manifest, ensure_ascii=False, indent=1).encode() + b"\n")
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

    def with_parts_kept(self, reason: str) -> str:
        """Add to the reason of an early end how to resume; if there is no part, remove the files instead."""
        if not self._receipts:
            self._journal.remove()
            shutil.rmtree(self.parts, ignore_errors=True)
            return reason
        rows = sum(receipt.rows for receipt in self.receipts)
        count = len(self.receipts)
        kept = "1 part is" if count == 1 else f"{count:,} parts are"
        return f"{reason}; {kept} kept in {self.parts.name} ({rows:,} rows), --resume continues from there"

    def _note(self, receipt: parts.Receipt) -> None:
        if receipt.file:
            self._receipts.setdefault(receipt.unit, {})[receipt.number] = receipt
        else:
            self._shard_counts[receipt.unit] = receipt.number

    def _keep_only(self, files: set[str]) -> None:
        """Remove files that killed workers have left, and check that this machine sees all parts."""
        there = {entry.name for entry in os.scandir(self.parts)}
        for name in there - files:
            (self.parts / name).unlink()
        for missing in sorted(files - there)[:1]:
            raise OutputError(
                f"{missing} was written and is not in {self.parts}: --out has to be in a folder that all "
                "machines share"
            )


def _has(folder: Path, receipt: parts.Receipt) -> bool:
    try:
        return (folder / receipt.file).stat().st_size == receipt.bytes
    except OSError:
        return False


def _as_dict(receipt: parts.Receipt) -> dict[str, Any]:
    return {
        "file": receipt.file,
        "rows": receipt.rows,
        "first_index": receipt.first,
        "bytes": receipt.bytes,
        "sha256": receipt.sha256,
        "errors": receipt.counts.get("errors", {}),
    }
