"""Header blocks of HTTP/2 (HPACK, RFC 7541): read with a memory, written without one.

In: the blocks of one connection, in order. Out: what a caller-given function makes of their fields. Clients
repeat themselves, call after call: a block that was seen before, while the table it refers to has not
changed since, is answered from memory. The decoding itself is the hpack library's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar

from hpack import Decoder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

MAX_HEADER_LIST_BYTES = 16 << 10
"""What clients are told. Some do not keep to it: up to eight times as much is read, so that the service can
refuse the one request; beyond, the connection ends, since its table is lost with the block."""
MOST_READ_BYTES = 8 * MAX_HEADER_LIST_BYTES
_FIELD_COST_BYTES = 32
_LONGEST_KEPT = 1_024
_MOST_KEPT = 64
_MORE_FOLLOWS = 0x80
_LONG_STRING = 0x7F

Fields = list[tuple[bytes, bytes]]
_Head = TypeVar("_Head")


class HeaderReader(Generic[_Head]):
    """Decodes the header blocks of one connection."""

    def __init__(self, make_head: Callable[[Fields], _Head]) -> None:
        """Decode with an empty table; ``make_head`` sees the fields of each block that is new."""
        self._decoder = Decoder(max_header_list_size=MOST_READ_BYTES)
        self._make_head = make_head
        self._seen: dict[bytes, _Head] = {}

    def read(self, block: bytes) -> _Head:
        """Decode a whole block.

        Raises:
            hpack.HPACKError: the block is damaged or too long; the connection cannot go on.
            Exception: whatever ``make_head`` raises; the table is as it must be.
        """
        head = self._seen.get(block)
        if head is not None:
            return head
        fields: Fields = [(name, value) for name, value in self._decoder.decode(block, raw=True)]
        if not keeps_table(block):
            self._seen.clear()  # what was seen may refer to entries that have moved
            return self._make_head(fields)
        head = self._make_head(fields)
        if len(block) <= _LONGEST_KEPT:
            if len(self._seen) == _MOST_KEPT:
                self._seen.clear()
            self._seen[block] = head
        return head


def list_bytes(fields: Fields) -> int:
    """The size of a header list as MAX_HEADER_LIST_SIZE counts it (RFC 9113, section 6.5.2)."""
    return sum(_FIELD_COST_BYTES + len(name) + len(value) for name, value in fields)


def keeps_table(block: bytes) -> bool:
    """Whether a valid block leaves the dynamic table as it is (RFC 7541, section 6)."""
    position = 0
    while position < len(block):
        first = block[position]
        if first & 0x80:  # an entry of the table
            _, position = _integer(block, position, 7)
        elif first & 0x60:  # a field that is added to the table, or a change of its size
            return False
        else:
            name, position = _integer(block, position, 4)
            for _ in range(1 if name else 2):
                length, position = _integer(block, position, 7)
                position += length
    return True


def _integer(block: bytes, position: int, bits: int) -> tuple[int, int]:
    """Read an integer whose prefix has some bits; returns it and the position behind."""
    largest = (1 << bits) - 1
    value = block[position] & largest
    position += 1
    shift = 0
    if value == largest:
        more = True
        while more:
            value += (block[position] & 0x7F) << shift
            more = bool(block[position] & _MORE_FOLLOWS)
            shift += 7
            position += 1
    return value, position


def encode(fields: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Write fields as literals that need no table, so that a block means the same on every connection.

    Args:
        fields: lower-case names and values; ``:status`` among them as any other.
    """
    return b"".join(b"\x00" + _string(name) + _string(value) for name, value in fields)


def _string(value: bytes) -> bytes:
    """Length, 7-bit prefix, without Huffman coding; then the bytes."""
    size = len(value)
    if size < _LONG_STRING:
        return bytes([size]) + value
    size -= _LONG_STRING
    head = [_LONG_STRING]
    while size >= _MORE_FOLLOWS:
        head.append(size & 0x7F | _MORE_FOLLOWS)
        size >>= 7
    return bytes([*head, size]) + value
