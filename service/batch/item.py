"""One input of a job: what it is called, how its bytes are had, and what it is if somebody has said so.

Made by the sources, read by the engines. Knows nothing of either.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, NamedTuple

from cifar10net.errors import ImageError, ImageErrorCode
from cifar10net.protocol import MAX_MESSAGE_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Sequence

MOST_BYTES = MAX_MESSAGE_BYTES - (1 << 20)
"""Of an input; what is larger fits into no message, and is refused before it is read."""


class Reading(Enum):
    """When an item's bytes can be had, and how long that takes."""

    ANY_TIME = "any time"
    """At once, in any thread."""
    SLOW = "slow"
    """The same, but from far away: many should be asked for at a time."""
    HERE = "here"
    """At once, in this process alone: they are in its memory."""
    NOW = "now"
    """Before the next item is asked for, in the same thread."""


class Item(NamedTuple):
    """One input."""

    source: str
    """What its row is called; printable."""
    read: Callable[[], bytes]
    """Returns the picture's file. Raises ImageError, or SourceError for what no other input would survive."""
    label: str | int | None = None
    """What it is, by name or by its place among the model's labels."""
    reading: Reading = Reading.ANY_TIME
    held_bytes: int = 0
    """What of it is in memory already."""


def printable(text: str) -> str:
    """Make a name that UTF-8 can hold of one that may come from a disk or from JSON."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


def check_size(size: int) -> None:
    """Refuse what is too large for any engine. Raises ImageError."""
    if size > MOST_BYTES:
        raise ImageError(
            ImageErrorCode.TOO_LARGE, f"has {size:,} bytes, wanted at most {MOST_BYTES:,}; make it smaller"
        )


def unreadable(reason: object) -> ImageError:
    """Make the error of an input whose bytes cannot be had."""
    return ImageError(ImageErrorCode.UNREADABLE_FILE, f"cannot be read: {reason}")


def named(items: Iterable[Item], labels: Sequence[str]) -> Generator[Item]:
    """Give labels that are numbers the names of the model's classes."""
    for item in items:
        if isinstance(item.label, int):
            is_known = 0 <= item.label < len(labels)
            yield item._replace(label=labels[item.label] if is_known else str(item.label))
        else:
            yield item
