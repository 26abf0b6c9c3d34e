"""Zip archives, read in place and in the archive's order; as in APPNOTE.TXT of PKWARE, version 6.3.10.

The directory at the end is read piece by piece. Python's zipfile holds 600 bytes a member in memory, takes
twice as long to list them, and 15 us to read one of a kilobyte where this takes 5 us (one core of a Xeon,
shared). A ZipFile cannot be pickled, as ``--engine ray`` does with the items of this source.
"""

from __future__ import annotations

import struct
import zlib
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from cifar10net.errors import ImageError, ImageErrorCode
from service.batch.item import Item, check_size, printable, unreadable
from service.batch.sources.places import open_random_access
from service.errors import SourceError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from service.batch.sources.places import RandomAccessFile
    from service.batch.sources.selection import Selection

_END = struct.Struct("<4s4H2LH")
_END_64_PLACE = struct.Struct("<4sLQL")
_END_64 = struct.Struct("<4sQ2H2L4Q")
_ENTRY = struct.Struct("<8x2H4x3L14xL")
_ENTRY_LENGTHS = struct.Struct("<4s24x3H12x")
"""The fields of an entry that lead to the next one."""
_LOCAL = struct.Struct("<4s22x2H")
_LONGEST_COMMENT = 0xFFFF
_IS_IN_64 = 0xFFFFFFFF
_PIECE_BYTES = 1 << 20
_ENCRYPTED, _UTF8 = 0x1, 0x800
_STORED, _DEFLATED = 0, 8
_EXTRA_64 = 1


class Member(NamedTuple):
    """A member's entry in the directory."""

    name: str
    name_bytes: int
    flags: int
    method: int
    crc: int
    packed_bytes: int
    size: int
    offset: int


class Zip:
    """The selected members of a zip archive."""

    def __init__(self, place: str, selection: Selection) -> None:
        """Open the archive. Raises SourceError."""
        self._place = printable(place)
        self._selection = selection
        self._file = open_random_access(place)
        self._begin, self._directory_bytes, self._shift = _find_directory(self._file, self._place)

    def items(self, names_only: int = 0) -> Iterator[Item]:  # noqa: ARG002 - reads the directory only
        read_mode = self._file.read_mode
        for member in self._selected():
            name = printable(f"{self._place}/{member.name}")
            yield Item(name, partial(self._read, member), None, read_mode)

    def count(self) -> int:
        return sum(1 for _ in self._selected())

    def _selected(self) -> Iterator[Member]:
        """Scan the directory, fast past members that are not selected: there may be very many of those."""
        offset, end = self._begin, self._begin + self._directory_bytes
        matches, prefix = self._selection.matches, self._selection.prefix
        lengths, unpack, head = _ENTRY_LENGTHS.unpack_from, _ENTRY.unpack_from, _ENTRY.size
        piece, at = b"", 0
        while offset < end or at < len(piece):
            more = self._file.read_at(offset, min(_PIECE_BYTES, end - offset)) if offset < end else b""
            if not more:
                raise _damaged(self._place, "its directory ends within an entry")
            offset += len(more)
            piece, at = piece[at:] + more, 0
            length = len(piece)
            while length >= at + head:
                mark, name, extra, comment = lengths(piece, at)
                entry, begin = at, at + head
                after = begin + name + extra + comment
                if mark != b"PK\1\2":
                    raise _damaged(self._place, "its directory has an invalid entry")
                if length < after:
                    break
                at = after
                if not piece.startswith(prefix, begin):
                    continue
                flags, method, crc, packed, size, place = unpack(piece, entry)
                text = _read_name(piece[begin : begin + name], flags)
                if matches(text):
                    if _IS_IN_64 in {size, packed, place}:
                        more_numbers = piece[begin + name : begin + name + extra]
                        size, packed, place = _in_64(more_numbers, size, packed, place)
                    yield Member(text, name, flags, method, crc, packed, size, place + self._shift)

    def _read(self, member: Member) -> bytes:
        if member.flags & _ENCRYPTED:
            raise unreadable("it is encrypted")
        if member.method not in {_STORED, _DEFLATED}:
            raise unreadable(f"it is compressed by method {member.method}, wanted stored (0) or deflated (8)")
        check_size(max(member.size, member.packed_bytes))
        try:
            data = self._packed(member)
            if member.method == _DEFLATED:
                data = zlib.decompressobj(-zlib.MAX_WBITS).decompress(data, member.size + 1)
        except (OSError, zlib.error, struct.error) as error:
            raise unreadable(error) from error
        if len(data) != member.size or zlib.crc32(data) != member.crc:
            raise ImageError(ImageErrorCode.CORRUPT, "differs from the archive's checksum; it is damaged")
        return data

    def _packed(self, member: Member) -> bytes:
        """Read header and content at once; the length of the header is only in the header."""
        likely = _LOCAL.size + member.name_bytes + 64 + member.packed_bytes
        data = self._file.read_at(member.offset, likely)
        mark, name_bytes, extra_bytes = _LOCAL.unpack_from(data)
        if mark != b"PK\3\4":
            raise unreadable("the archive's directory has a wrong offset for it; it is damaged")
        begin = _LOCAL.size + name_bytes + extra_bytes
        if len(data) < begin + member.packed_bytes:
            return self._file.read_at(member.offset + begin, member.packed_bytes)
        return data[begin : begin + member.packed_bytes]


def _find_directory(file: RandomAccessFile, name: str) -> tuple[int, int, int]:
    """Return the directory's offset and length, and what to add to all offsets of members."""
    tail_begin = max(0, file.size - _END.size - _LONGEST_COMMENT)
    tail = file.read_at(tail_begin, file.size - tail_begin)
    place = tail.rfind(b"PK\5\6")
    if place < 0 or len(tail) < place + _END.size:
        raise _damaged(name, "it has no directory")
    *_, size, offset, _ = _END.unpack_from(tail, place)
    end = tail_begin + place
    locator = file.read_at(max(0, end - _END_64_PLACE.size), _END_64_PLACE.size)
    if locator.startswith(b"PK\6\7"):
        end = _END_64_PLACE.unpack(locator)[2]
        *_, size, offset = _END_64.unpack(file.read_at(end, _END_64.size).ljust(_END_64.size))
    shift = end - size - offset  # bytes before the archive, as of a self-extracting one
    if shift < 0:
        raise _damaged(name, "its directory is cut off")
    return offset + shift, size, shift


def _read_name(raw: bytes, flags: int) -> str:
    if raw.isascii():
        return raw.decode("ascii")
    return raw.decode("utf-8", "backslashreplace") if flags & _UTF8 else raw.decode("cp437")


def _in_64(extra: bytes, *values: int) -> list[int]:
    """Replace the numbers that are too large for four bytes by those in the extra field."""
    while len(extra) >= 4:  # noqa: PLR2004 - two bytes each: kind, length
        kind, length = struct.unpack_from("<2H", extra)
        if kind == _EXTRA_64:
            large = iter(struct.unpack_from(f"<{length // 8}Q", extra, 4))
            return [next(large, value) if value == _IS_IN_64 else value for value in values]
        extra = extra[4 + length :]
    return list(values)


def _damaged(name: str, reason: str) -> SourceError:
    return SourceError(f"{name} is not a zip archive, or incomplete: {reason}")
