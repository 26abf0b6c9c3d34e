"""Cuts the inputs of a job into shards, the same ones each time.

A unit is one source of a job: an archive, a table, a list or a folder. The inputs of a shard can be sent to
another process, as their places or with their bytes.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

from service.batch.item import ReadMode
from service.batch.prefetch import prefetch, with_bytes
from service.batch.sources import Sources
from service.errors import SourceError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from service.batch.item import Item

MOST_BYTES = 64 << 20
"""Bytes of inputs after which a shard ends; only bytes that are sent count."""
UNIT_BITS = 40
"""An input's index is its unit's number, shifted left by this many bits, plus its number within the unit."""


class Shard(NamedTuple):
    """Consecutive inputs of a unit, which become one part."""

    unit: int
    number: int
    """Within the unit, from 0."""
    first: int
    """Index of its first input."""
    items: tuple[Item, ...]

    @property
    def names(self) -> str:
        """Digest of the names of its inputs."""
        return digest(item.source for item in self.items)


class EndOfUnit(NamedTuple):
    """Follows the last shard of a unit."""

    unit: int
    shards: int


class FinishedShard(NamedTuple):
    """A shard whose part has been written."""

    rows: int
    names: str


@dataclass(frozen=True, kw_only=True)
class Sharder:
    """Cuts one unit; sent to the process that reads it."""

    unit: int
    place: str
    column: str | None = None
    labels: str | None = None
    rows: int
    """Most inputs of a shard."""
    ships_bytes: bool = False
    """Whether to read all inputs here, for workers that cannot read them from their places."""
    folder: str
    """Working directory, for relative paths."""
    finished: Mapping[int, FinishedShard] = field(default_factory=dict)
    """Shards to skip, by number."""

    def shards(self) -> Iterator[Shard | EndOfUnit]:
        """Yield the shards that are not finished, and the end of the unit.

        Raises:
            SourceError: the unit is missing or damaged, or its inputs have changed.
        """
        change_folder(self.folder)
        sources = Sources([self.place], self.column, self.labels)
        leading = 0
        for number in range(len(self.finished)):
            if number not in self.finished:
                break
            leading += self.finished[number].rows
        items = sources.items(leading)
        if self.ships_bytes:
            items = map(with_bytes, prefetch(items))
        number = first = 0
        while True:
            finished = self.finished.get(number)
            shard = Shard(self.unit, number, (self.unit << UNIT_BITS) + first, self._next(items, finished))
            if not shard.items and finished is None:
                break
            if finished is None:
                yield shard
            elif shard.names != finished.names:
                raise SourceError(
                    f"the inputs in {self.place} have changed since its shard {number} was written: "
                    "start again with --overwrite"
                )
            number += 1
            first += len(shard.items)
        yield EndOfUnit(self.unit, number)

    def _next(self, items: Iterator[Item], finished: FinishedShard | None) -> tuple[Item, ...]:
        if finished is not None:
            return tuple(islice(items, finished.rows))
        return tuple(_up_to(map(_sendable, islice(items, self.rows))))


def _sendable(item: Item) -> Item:
    return with_bytes(item) if item.read_mode in {ReadMode.STREAMED, ReadMode.IN_MEMORY} else item


def _up_to(items: Iterator[Item]) -> Iterator[Item]:
    held = 0
    for item in items:
        yield item
        held += item.held_bytes
        if held >= MOST_BYTES:
            return


def digest(names: Iterable[str]) -> str:
    """Return a digest of names in their order: 16 bytes, in hexadecimal."""
    text = "\n".join(names).encode("utf-8", "surrogateescape")
    return hashlib.blake2b(text, digest_size=16).hexdigest()


def change_folder(folder: str) -> None:
    """Change the working directory. Raises SourceError if this machine has no such folder."""
    try:
        os.chdir(folder)
    except OSError as error:
        raise SourceError(
            f"{os.uname().nodename} has no folder {folder} ({error.strerror}), the working "
            "directory of the job: start it in a folder that all machines share"
        ) from error
