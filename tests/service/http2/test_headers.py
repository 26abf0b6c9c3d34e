"""Header blocks: whatever was read before, a block means what the HPACK library says it means now."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hpack import Decoder, Encoder, HPACKError, OversizedHeaderListError
from hypothesis import given
from hypothesis import strategies as st

from service.http2.headers import HeaderReader, encode, keeps_table

NAMES = st.sampled_from([b":path", b":method", b"te", b"grpc-timeout", b"x-one", b"x-two"])
VALUES = st.one_of(
    st.sampled_from([b"POST", b"/a", b"trailers", b"1S", b""]), st.binary(max_size=40), st.just(b"x" * 300)
)
Fields = list[tuple[bytes, bytes]]


@dataclass(frozen=True)
class Block:
    """A header list, and how a client writes it."""

    fields: Fields
    is_indexed: bool
    is_huffman: bool
    table_size: int | None


BLOCKS = st.builds(
    Block,
    fields=st.lists(st.tuples(NAMES, VALUES), max_size=6),
    is_indexed=st.booleans(),
    is_huffman=st.booleans(),
    table_size=st.one_of(st.none(), st.sampled_from([0, 64, 200, 4096])),
)


def _written(encoder: Encoder, block: Block) -> bytes:
    if block.table_size is not None:
        encoder.header_table_size = block.table_size
    if block.is_indexed:
        return encoder.encode(block.fields, huffman=block.is_huffman)
    sensitive = [(name, value, True) for name, value in block.fields]  # never added to the table
    return encoder.encode(sensitive, huffman=block.is_huffman)


@given(st.lists(BLOCKS, max_size=4), st.lists(st.integers(0, 3), max_size=40))
def test_blocks_in_any_order_are_read_as_by_a_decoder_without_a_memory(
    blocks: list[Block], order: list[int]
) -> None:
    encoder, decoder = Encoder(), Decoder()
    reader = HeaderReader(lambda fields: fields)
    for index in order:
        if index < len(blocks):
            data = _written(encoder, blocks[index])

            assert reader.read(data) == [tuple(field) for field in decoder.decode(data, raw=True)]


@given(st.lists(st.binary(max_size=12), max_size=30))
def test_any_bytes_are_read_as_by_a_decoder_without_a_memory(blocks: list[bytes]) -> None:
    decoder = Decoder(max_header_list_size=128 << 10)
    reader = HeaderReader(lambda fields: fields)
    for data in blocks:
        try:
            fields = [tuple(field) for field in decoder.decode(data, raw=True)]
        except (HPACKError, IndexError, ValueError) as error:
            with pytest.raises(type(error)):
                reader.read(data)
            return
        assert reader.read(data) == fields


def test_a_block_that_was_seen_is_not_decoded_again() -> None:
    numbers = iter(range(10))
    reader = HeaderReader(lambda _: str(next(numbers)))
    block = encode([(b"a", b"b")])

    assert [reader.read(block) for _ in range(3)] == ["0", "0", "0"]


def test_a_block_means_something_else_once_the_table_has_changed() -> None:
    encoder = Encoder()
    reader = HeaderReader(lambda fields: fields)
    reader.read(encoder.encode([(b"x", b"first")]))
    refers = encoder.encode([(b"x", b"first")])  # to the newest entry of the table
    assert (len(refers), reader.read(refers)) == (1, [(b"x", b"first")])

    reader.read(encoder.encode([(b"x", b"second")]))

    assert reader.read(refers) == [(b"x", b"second")]


def test_the_memory_is_bounded() -> None:
    reader = HeaderReader(lambda fields: fields)
    for number in range(10_000):
        reader.read(encode([(b"number", b"%d" % number)]))
    reader.read(encode([(b"long", bytes(4000))]))

    assert len(reader._cache) <= 64
    assert sum(map(len, reader._cache)) <= 64 << 10


@given(st.lists(BLOCKS, max_size=8))
def test_keeps_table_says_whether_a_block_changes_the_table(blocks: list[Block]) -> None:
    encoder, decoder = Encoder(), Decoder()
    for block in blocks:
        before = list(decoder.header_table.dynamic_entries), decoder.header_table_size
        data = _written(encoder, block)
        decoder.decode(data, raw=True)

        if keeps_table(data):
            assert (list(decoder.header_table.dynamic_entries), decoder.header_table_size) == before
        elif data[0] & 0xE0 != 0x20:  # a change of size may be to the size that it has
            assert block.is_indexed


@given(st.lists(st.tuples(st.binary(min_size=1, max_size=60), st.binary(max_size=400)), max_size=8))
def test_encode_decodes_back(fields: Fields) -> None:
    block = encode(fields)

    assert [tuple(field) for field in Decoder().decode(block, raw=True)] == fields
    assert keeps_table(block)


@pytest.mark.parametrize("size", [0, 1, 126, 127, 128, 254, 255, 256, 383, 16_000])
def test_strings_of_every_length_decode_back(size: int) -> None:
    (field,) = Decoder().decode(encode([(b"name", b"v" * size)]), raw=True)

    assert tuple(field) == (b"name", b"v" * size)


def test_a_list_over_the_limit_is_refused_although_its_block_is_short() -> None:
    encoder = Encoder()
    reader = HeaderReader(lambda fields: fields)
    reader.read(encoder.encode([(b"long", b"x" * 4000)]))

    with pytest.raises(OversizedHeaderListError):
        reader.read(b"\xbe" * 33)  # the table's newest entry, again and again
