"""Nearly valid messages, made from a server's reflection."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import grpc
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from random import Random

    from google.protobuf.descriptor import Descriptor
    from google.protobuf.message import Message

_LONGEST_SPLICE = 12
_MOST_EDITS = 4
_DEPTH = 4
_EXTREMES = (0, 1, 2, 3, 10, 127, 128, 4_096, 2**31 - 1)


@dataclass(frozen=True)
class Target:
    """A method, and the form of its request."""

    path: str
    is_streaming: bool
    request: Descriptor


def targets(address: str) -> Iterator[Target]:
    """Every method that a server says it has."""
    with grpc.insecure_channel(address) as channel:
        database = ProtoReflectionDescriptorDatabase(channel)
        pool = DescriptorPool(database)  # of its own: other tests' messages may have the same names
        for name in sorted(database.get_services()):
            for method in pool.FindServiceByName(name).methods:
                is_streaming = bool(method.client_streaming or method.server_streaming)
                yield Target(f"/{name}/{method.name}", is_streaming, method.input_type)


def mutant(target: Target, random: Random, words: Mapping[str, tuple[Any, ...]]) -> bytes:
    """Make a request of a method's form, and spoil a few bytes of nine in ten.

    Args:
        target: the method.
        random: decides.
        words: by field name, values that mean something to the server.
    """
    message = GetMessageClass(target.request)()
    _fill(message, random, words, _DEPTH)
    data = bytearray(message.SerializeToString())
    for _ in range(random.randrange(_MOST_EDITS) if random.random() < 0.9 else 0):
        random.choice(_EDITS)(data, random)
    return bytes(data)


def _fill(message: Message, random: Random, words: Mapping[str, tuple[Any, ...]], depth: int) -> None:
    for field in message.DESCRIPTOR.fields:
        if random.random() < 0.4:
            continue
        many = random.choice((1, 1, 2, 3)) if field.is_repeated else 1
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            _fill_map(message, field, random, words, depth)
        elif field.message_type is not None:
            for _ in range(many if depth else 0):
                inner = getattr(message, field.name)
                _fill(inner.add() if field.is_repeated else inner, random, words, depth - 1)
        elif field.is_repeated:
            getattr(message, field.name).extend(_value(field, random, words) for _ in range(many))
        else:
            setattr(message, field.name, _value(field, random, words))


def _fill_map(
    message: Message, field: Any, random: Random, words: Mapping[str, tuple[Any, ...]], depth: int
) -> None:
    entry = field.message_type.fields_by_name
    key = random.choice(words.get(f"{field.name}.key", ("key",)))
    if entry["value"].message_type is None:
        getattr(message, field.name)[key] = _value(entry["value"], random, words)
    else:
        _fill(getattr(message, field.name)[key], random, words, depth - 1)


def _value(field: Any, random: Random, words: Mapping[str, tuple[Any, ...]]) -> Any:
    known = words.get(field.name)
    if known is not None and random.random() < 0.8:
        return random.choice(known)
    make: Callable[[Any, Random], Any] = _MAKERS.get(field.cpp_type, _integer)
    return make(field, random)


def _text(field: Any, random: Random) -> str | bytes:
    size = random.choice((0, 1, 5, 40))
    if field.type == FieldDescriptor.TYPE_BYTES:
        return random.randbytes(size)
    return "".join(chr(random.randrange(1, 0x2FF)) for _ in range(size))


def _enum(field: Any, random: Random) -> int:
    number: int = random.choice(field.enum_type.values).number
    return number


def _float(_field: Any, random: Random) -> float:
    return random.choice((0.0, -1.5, float("inf"), float("nan")))


def _integer(field: Any, random: Random) -> int:
    is_signed = field.cpp_type in {FieldDescriptor.CPPTYPE_INT32, FieldDescriptor.CPPTYPE_INT64}
    return random.choice(_EXTREMES) * (random.choice((1, 1, -1)) if is_signed else 1)


def _bool(_field: Any, random: Random) -> bool:
    return random.random() < 0.5


_MAKERS: dict[int, Callable[[Any, Random], Any]] = {
    FieldDescriptor.CPPTYPE_STRING: _text,
    FieldDescriptor.CPPTYPE_BOOL: _bool,
    FieldDescriptor.CPPTYPE_ENUM: _enum,
    FieldDescriptor.CPPTYPE_FLOAT: _float,
    FieldDescriptor.CPPTYPE_DOUBLE: _float,
}


def _flip(data: bytearray, random: Random) -> None:
    if data:
        data[random.randrange(len(data))] ^= 1 << random.randrange(8)


def _cut(data: bytearray, random: Random) -> None:
    del data[random.randrange(len(data) + 1) :]


def _drop(data: bytearray, random: Random) -> None:
    start = random.randrange(len(data) + 1)
    del data[start : start + random.randrange(1, _LONGEST_SPLICE)]


def _insert(data: bytearray, random: Random) -> None:
    start = random.randrange(len(data) + 1)
    data[start:start] = random.randbytes(random.randrange(1, _LONGEST_SPLICE))


def _repeat(data: bytearray, random: Random) -> None:
    start = random.randrange(len(data) + 1)
    data[start:start] = data[start : start + random.randrange(1, 200)] * random.randrange(1, 4)


def _overflow(data: bytearray, random: Random) -> None:
    """Put in a varint that is as long as it may be, or longer."""
    start = random.randrange(len(data) + 1)
    data[start:start] = b"\xff" * random.randrange(5, 12) + b"\x01"


_EDITS: tuple[Callable[[bytearray, Random], None], ...] = (_flip, _cut, _drop, _insert, _repeat, _overflow)
