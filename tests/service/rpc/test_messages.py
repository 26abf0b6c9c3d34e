"""gRPC's messages: the same however the data is cut, and within limits however it is packed."""

from __future__ import annotations

import gzip
import resource
import struct
import sys
import zlib
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.errors import InvalidRequestError, MessageTooLargeError
from service.rpc.messages import MessageReader, decompress, framed, only_message
from tests.service import raw_client

LIMIT = 1 << 20


@given(
    st.lists(st.tuples(st.booleans(), st.binary(max_size=50)), max_size=10),
    st.lists(st.integers(0, 600), max_size=20),
)
def test_messages_are_the_same_however_their_data_is_cut(
    messages: list[tuple[bool, bytes]], cuts: list[int]
) -> None:
    data = b"".join(raw_client.framed(message, compressed=flag) for flag, message in messages)
    reader = MessageReader(LIMIT)
    positions = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]

    read = []
    for start, end in pairwise(positions):
        read += reader.feed(data[start:end])

    assert read == messages
    assert reader.is_between_messages


@given(st.binary(max_size=50), st.integers(1, 54))
def test_a_message_that_is_cut_off_is_not_between_messages(message: bytes, size: int) -> None:
    data = framed(message)[:size]
    reader = MessageReader(LIMIT)
    reader.feed(data)

    assert reader.is_between_messages == (len(data) == len(message) + 5)


def test_a_message_over_the_limit_is_refused_by_its_length() -> None:
    reader = MessageReader(1000)

    assert reader.feed(framed(bytes(1000))) == [(False, bytes(1000))]
    with pytest.raises(MessageTooLargeError, match=r"1,001 bytes, more than the 1,000"):
        reader.feed(struct.pack(">BL", 0, 1001))


@pytest.mark.parametrize("flag", [2, 128, 255])
def test_a_flag_that_is_neither_0_nor_1_is_refused(flag: int) -> None:
    with pytest.raises(InvalidRequestError, match=f"flag {flag}"):
        MessageReader(LIMIT).feed(bytes([flag, 0, 0, 0, 0]))


def test_a_message_in_many_pieces_costs_no_more_than_one_in_few() -> None:
    reader = MessageReader(LIMIT)
    reader.feed(struct.pack(">BL", 0, LIMIT))
    for _ in range(LIMIT // 2 - 1):
        reader.feed(b"..")

    held = sum(sys.getsizeof(part) for part in vars(reader).values())
    assert held < 2 * LIMIT


@given(st.binary(max_size=60))
def test_only_message_is_what_a_reader_makes_of_it(data: bytes) -> None:
    reader = MessageReader(LIMIT)
    try:
        read = reader.feed(data) if data else []
    except (InvalidRequestError, MessageTooLargeError):
        read = []
    is_one = len(read) == 1 and reader.is_between_messages and not read[0][0]

    assert only_message(data) == (read[0][1] if is_one else None)


@given(st.binary(max_size=1000))
@pytest.mark.parametrize(("encoding", "pack"), [(b"gzip", gzip.compress), (b"deflate", zlib.compress)])
def test_a_compressed_message_is_decompressed(encoding: bytes, pack: Any, message: bytes) -> None:
    packed = pack(message)

    assert decompress(packed, encoding, 1000) == message
    with pytest.raises(InvalidRequestError, match="damaged"):
        decompress(packed[:-1], encoding, 1000)
    with pytest.raises(InvalidRequestError, match="damaged"):
        decompress(packed + b"!", encoding, 1000)


@pytest.mark.parametrize(("encoding", "pack"), [(b"gzip", gzip.compress), (b"deflate", zlib.compress)])
def test_a_message_decompresses_to_the_limit_and_no_further(encoding: bytes, pack: Any) -> None:
    assert len(decompress(pack(bytes(LIMIT)), encoding, LIMIT)) == LIMIT
    with pytest.raises(MessageTooLargeError, match="bytes, decompressed"):
        decompress(pack(bytes(LIMIT + 1)), encoding, LIMIT)


def test_a_bomb_is_not_decompressed() -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    with pytest.raises(MessageTooLargeError):
        decompress(raw_client.bomb(), b"gzip", 32 << 20)

    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200 << 10  # KiB


@pytest.mark.parametrize("encoding", [b"identity", b"snappy", b""])
def test_a_compressed_message_needs_an_encoding_that_compresses(encoding: bytes) -> None:
    with pytest.raises(InvalidRequestError, match="names no compression"):
        decompress(b"data", encoding, LIMIT)


@given(st.binary(max_size=100))
def test_junk_is_damaged_or_too_large(data: bytes) -> None:
    for encoding in (b"gzip", b"deflate"):
        try:
            decompress(data, encoding, LIMIT)
        except (InvalidRequestError, MessageTooLargeError):
            continue
