"""Cuts the inputs of a job into shares, the same ones each time.

In: one unit of a job's sources (an archive, a table, a list, a folder) and which of its shares are done. Out:
the others, each with its inputs in a form that another process can be sent: where they lie, or their bytes.
Knows nothing of who turns them into rows.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

from service.batch.item import Reading
from service.batch.prefetch import ahead, kept
from service.batch.sources import Sources
from service.errors import SourceError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from service.batch.item import Item

MOST_BYTES = 64 << 20
"""Of the inputs whose bytes go with a share; one that has more is the last of its share."""
UNIT_BITS = 40
"""An input's index is its unit's number, shifted by so many bits, and its own within the unit."""


class Share(NamedTuple):
    """Inputs that follow one another, and become one part."""

    unit: int
    number: int
    """Of the share within its unit, from 0."""
    first: int
    """Index of its first input."""
    items: tuple[Item, ...]

    @property
    def names(self) -> str:
        """A digest of what its inputs are called."""
        return digest(item.source for item in self.items)


class End(NamedTuple):
    """There is no more in a unit."""

    unit: int
    shares: int


class Done(NamedTuple):
    """What is known of a share whose part there is."""

    rows: int
    names: str


@dataclass(frozen=True, kw_only=True)
class Cutter:
    """Cuts one unit; is sent to whoever reads it."""

    unit: int
    place: str
    column: str | None = None
    labels: str | None = None
    rows: int
    """Of a share, at most."""
    ships_bytes: bool = False
    """Whether inputs are read here, for workers that do not see where they lie."""
    folder: str
    """Working directory, from which relative paths are taken."""
    done: Mapping[int, Done] = field(default_factory=dict)
    """Shares to be left out, by number."""

    def shares(self) -> Iterator[Share | End]:
        """Yield the shares that are not done, and the end.

        Raises:
            SourceError: the unit is missing or damaged, or its inputs are not those of what is done.
        """
        enter(self.folder)
        sources = Sources([self.place], self.column, self.labels)
        leading = 0
        for number in range(len(self.done)):
            if number not in self.done:
                break
            leading += self.done[number].rows
        items = sources.items(leading)
        if self.ships_bytes:
            items = map(kept, ahead(items))
        number = first = 0
        while True:
            done = self.done.get(number)
            share = Share(self.unit, number, (self.unit << UNIT_BITS) + first, self._next(items, done))
            if not share.items and done is None:
                break
            if done is None:
                yield share
            elif share.names != done.names:
                raise SourceError(
                    f"the inputs in {self.place} have changed since share {number} of it was done: begin "
                    "anew with --overwrite"
                )
            number += 1
            first += len(share.items)
        yield End(self.unit, number)

    def _next(self, items: Iterator[Item], done: Done | None) -> tuple[Item, ...]:
        if done is not None:
            return tuple(islice(items, done.rows))
        return tuple(_up_to(map(_sendable, islice(items, self.rows))))


def _sendable(item: Item) -> Item:
    return kept(item) if item.reading in {Reading.NOW, Reading.HERE} else item


def _up_to(items: Iterator[Item]) -> Iterator[Item]:
    held = 0
    for item in items:
        yield item
        held += item.held_bytes
        if held >= MOST_BYTES:
            return


def digest(names: Iterable[str]) -> str:
    """Make 16 bytes, in hexadecimal, of names in their order."""
    text = "\n".join(names).encode("utf-8", "surrogateescape")
    return hashlib.blake2b(text, digest_size=16).hexdigest()


def enter(folder: str) -> None:
    """Take relative paths from a folder that this machine has to have, too. Raises SourceError."""
    try:
        os.chdir(folder)
    except OSError as error:
        raise SourceError(
            f"{os.uname().nodename} has no folder {folder} ({error.strerror}), where relative paths would "
            "begin: start the job in a folder that all machines see"
        ) from error
