"""The interface of sources, and the columns that some of them read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from service.batch.item import Item


@dataclass(frozen=True)
class Columns:
    """The columns of a table, or members of records, to read."""

    input: str | None = None
    """Holds images, paths or URLs; None: the first of the usual names."""
    label: str | None = None
    """Holds the true labels; None: not wanted."""


class Source(Protocol):
    """A stream of inputs, the same each time it is read."""

    def items(self, names_only: int = 0) -> Iterator[Item]:
        """Yield the inputs one by one, in order, without holding them all in memory.

        Args:
            names_only: of this many inputs at the beginning, only the names are used.

        Raises:
            SourceError: the source is damaged, or a part of it cannot be read.
        """

    def count(self) -> int | None:
        """Count the inputs, which may take a while; None if they would all have to be read."""


def items_of(sources: Iterable[Source], names_only: int = 0) -> Iterator[Item]:
    """Yield the inputs of several sources; ``names_only`` as for ``Source.items``. Raises SourceError."""
    seen = 0
    for source in sources:
        for item in source.items(max(0, names_only - seen)):
            seen += 1
            yield item


def total(sources: Iterable[Source]) -> int | None:
    """Count the inputs of several sources; None if one of them cannot be counted."""
    count = 0
    for source in sources:
        more = source.count()
        if more is None:
            return None
        count += more
    return count
