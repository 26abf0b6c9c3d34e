"""What every source of inputs can do, and the columns that some of them look at.

Knows none of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator

    from service.batch.item import Item


@dataclass(frozen=True)
class Columns:
    """Which columns of a table or list of records are of interest."""

    input: str | None = None
    """Holds images, paths or URLs; None: whichever usual name there is."""
    label: str | None = None
    """Says what each input is; None: nobody asks."""


class Source(Protocol):
    """A stream of inputs, the same each time that it is asked for."""

    def items(self, unread: int = 0) -> Iterator[Item]:
        """Yield the inputs one by one, in order and without holding them all.

        Args:
            unread: of so many at the beginning only the names will be looked at.

        Raises:
            SourceError: the source is damaged, or a part of it cannot be read.
        """

    def count(self) -> int | None:
        """Say how many there are; None if that would take reading all of them. May take a while."""
