"""One input of a job: its name, how to read its bytes, and its true label if that is known."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, NamedTuple

from cifar10net.errors import ImageError, ImageErrorCode
from cifar10net.protocol import MAX_MESSAGE_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Sequence

MOST_BYTES = MAX_MESSAGE_BYTES - (1 << 20)
"""Largest input; a larger one would not fit into a message to a server, and is refused before it is read."""


class ReadMode(Enum):
    """When and from where the bytes of an item can be read."""

    DIRECT = "direct"
    """At any time, in any thread and process, without waiting."""
    REMOTE = "remote"
    """As DIRECT, but over a network: worth reading many at a time."""
    IN_MEMORY = "in memory"
    """At any time, but in this process alone."""
    STREAMED = "streamed"
    """Only before the next item is taken from the source, in the same thread."""


class Item(NamedTuple):
    """One input."""

    source: str
    """Name of the input in its row; valid UTF-8."""
    read: Callable[[], bytes]
    """Returns the encoded picture. Raises ImageError, or SourceError if no other input can be read either."""
    label: str | int | None = None
    """The true label, by name or by index among the model's labels."""
    read_mode: ReadMode = ReadMode.DIRECT
    held_bytes: int = 0
    """How many of its bytes are in memory already."""


def printable(text: str) -> str:
    """Make a name from a file system or from JSON valid UTF-8, by escaping what is not."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


def check_size(size: int) -> None:
    """Refuse an input that is too large for any engine. Raises ImageError."""
    if size > MOST_BYTES:
        raise ImageError(
            ImageErrorCode.TOO_LARGE, f"has {size:,} bytes, wanted at most {MOST_BYTES:,}; make it smaller"
        )


def unreadable(reason: object) -> ImageError:
    """Make the error of an input whose bytes cannot be read."""
    return ImageError(ImageErrorCode.UNREADABLE_FILE, f"cannot be read: {reason}")


def with_label_names(items: Iterable[Item], labels: Sequence[str]) -> Generator[Item]:
    """Replace labels that are indices by the names of the model's classes."""
    for item in items:
        if isinstance(item.label, int):
            is_known = 0 <= item.label < len(labels)
            yield item._replace(label=labels[item.label] if is_known else str(item.label))
        else:
            yield item
