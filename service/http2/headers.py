"""Header blocks of HTTP/2 (HPACK, RFC 7541): decoded with a cache, encoded without a table.

Clients repeat their header blocks call after call. A block that was seen before is read from the cache, as
long as the dynamic table that it refers to has not changed since. The hpack library decodes the others.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar

from hpack import Decoder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

MAX_HEADER_LIST_BYTES = 16 << 10
"""Announced to clients. Not all respect it: up to eight times as much is decoded, so that the service can
refuse that one request; beyond, the connection ends, since the dynamic table is lost with the block."""
MAX_DECODED_BYTES = 8 * MAX_HEADER_LIST_BYTES
_FIELD_OVERHEAD_BYTES = 32
_MAX_CACHED_BLOCK_BYTES = 1_024
_MAX_CACHED_BLOCKS = 64
_MORE_FOLLOWS = 0x80
_MAX_7_BITS = 0x7F

Fields = list[tuple[bytes, bytes]]
_Head = TypeVar("_Head")


class HeaderReader(Generic[_Head]):
    """Decodes the header blocks of one connection, in order."""

    def __init__(self, read_head: Callable[[Fields], _Head]) -> None:
        """Begin with an empty table; ``read_head`` gets the fields of each block that is not in the cache."""
        self._decoder = Decoder(max_header_list_size=MAX_DECODED_BYTES)
        self._read_head = read_head
        self._cache: dict[bytes, _Head] = {}

    def read(self, block: bytes) -> _Head:
        """Decode a whole block.

        Raises:
            hpack.HPACKError: the block is damaged or too long, and the connection unusable.
            Exception: whatever ``read_head`` raises; the dynamic table is in order then.
        """
        head = self._cache.get(block)
        if head is not None:
            return head
        fields: Fields = [(name, value) for name, value in self._decoder.decode(block, raw=True)]
        if not keeps_table(block):
            self._cache.clear()  # cached blocks may refer to entries that have moved
            return self._read_head(fields)
        head = self._read_head(fields)
        if len(block) <= _MAX_CACHED_BLOCK_BYTES:
            if len(self._cache) == _MAX_CACHED_BLOCKS:
                self._cache.clear()
            self._cache[block] = head
        return head


def list_bytes(fields: Fields) -> int:
    """Return the size of a header list as MAX_HEADER_LIST_SIZE counts it (RFC 9113, section 6.5.2)."""
    return sum(_FIELD_OVERHEAD_BYTES + len(name) + len(value) for name, value in fields)


def keeps_table(block: bytes) -> bool:
    """Whether a valid block leaves the dynamic table unchanged (RFC 7541, section 6)."""
    position = 0
    while position < len(block):
        first = block[position]
        if first & 0x80:  # an entry of the table
            _, position = _integer(block, position, 7)
        elif first & 0x60:  # a field added to the table, or a change of its size
            return False
        else:
            name, position = _integer(block, position, 4)
            for _ in range(1 if name else 2):
                length, position = _integer(block, position, 7)
                position += length
    return True


def _integer(block: bytes, position: int, bits: int) -> tuple[int, int]:
    """Decode an integer with a prefix of ``bits`` (RFC 7541, section 5.1); return it and its end."""
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
    """Encode fields, lower-case names and values, as literals: such a block is valid on every connection."""
    return b"".join(b"\x00" + _string(name) + _string(value) for name, value in fields)


def _string(value: bytes) -> bytes:
    """Encode the length with a 7-bit prefix, without Huffman coding, then the bytes."""
    size = len(value)
    if size < _MAX_7_BITS:
        return bytes([size]) + value
    size -= _MAX_7_BITS
    head = [_MAX_7_BITS]
    while size >= _MORE_FOLLOWS:
        head.append(size & 0x7F | _MORE_FOLLOWS)
        size >>= 7
    return bytes([*head, size]) + value
