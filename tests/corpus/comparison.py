"""Compares an answer with a recorded one.

What was there has to be there: fields may be added and sentences reworded, classes, codes and names may not
change, and probabilities not by more than 1e-5. Of statistics only the names are compared.
"""

from __future__ import annotations

import math
import struct
from typing import TYPE_CHECKING, Any

from google.protobuf import descriptor_pool, message_factory

if TYPE_CHECKING:
    from collections.abc import Iterator

    from google.protobuf.descriptor import FieldDescriptor
    from google.protobuf.message import Message

    from tests.corpus.exchange import Exchange

TOLERANCE = 1e-5
_SENTENCES = frozenset({"ImageError.message", "CallError.message", "ModelStreamInferResponse.error_message"})
_OF_THE_MACHINE = frozenset({"Model.provider", "ServerMetadataResponse.version"})
_COUNTS = {"GetStatisticsResponse": ("versions", "model"), "ModelStatisticsResponse": ("model_stats", "name")}
_RAW = "raw_output_contents"


def differences(recorded: Exchange, now: Exchange) -> list[str]:
    """List what has changed for those who sent this."""
    if recorded.status != now.status:
        return [f"status was {recorded.status}, is {now.status}"]
    if len(recorded.answers) != len(now.answers):
        return [f"{len(recorded.answers)} answers were {len(now.answers)}"]
    service, _, method = recorded.method[1:].rpartition("/")
    methods = descriptor_pool.Default().FindServiceByName(service).methods_by_name
    kind = message_factory.GetMessageClass(methods[method].output_type)
    found: list[str] = []
    for number, pair in enumerate(zip(recorded.answers, now.answers, strict=True)):
        old, new = map(kind.FromString, pair)
        compare = _counts if kind.DESCRIPTOR.name in _COUNTS else _messages
        found += compare(old, new, f"answer {number}")
    return found


def _counts(old: Message, new: Message, where: str) -> Iterator[str]:
    """Compare what is counted: the models that there are, for the figures are another server's."""
    field, key = _COUNTS[old.DESCRIPTOR.name]
    before, after = ({getattr(item, key) for item in getattr(each, field)} for each in (old, new))
    if gone := before - after - {""}:
        yield f"{where} no longer counts {gone}"


def _messages(old: Message, new: Message, where: str) -> Iterator[str]:
    for field, value in old.ListFields():
        place, other = f"{where}.{field.name}", getattr(new, field.name)
        if f"{old.DESCRIPTOR.name}.{field.name}" in _SENTENCES | _OF_THE_MACHINE:
            if not other:
                yield f"{place} is gone"
        elif field.name == _RAW:
            yield from _tensors(old, new, place)
        elif field.is_repeated:
            yield from _repeated(field, value, other, place)
        elif field.has_presence and not new.HasField(field.name):
            yield f"{place} is gone"
        else:
            yield from _values(field, value, other, place)


def _repeated(field: FieldDescriptor, old: Any, new: Any, where: str) -> Iterator[str]:
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        yield from _maps(old, new, where)
        return
    if len(old) != len(new):
        yield f"{where} had {len(old)} items, has {len(new)}"
    for index, pair in enumerate(zip(old, new, strict=False)):
        yield from _values(field, *pair, f"{where}[{index}]")


def _values(field: FieldDescriptor, old: Any, new: Any, where: str) -> Iterator[str]:
    if field.message_type is not None:
        yield from _messages(old, new, where)
    elif isinstance(old, float):
        if not math.isclose(old, new, rel_tol=0, abs_tol=TOLERANCE):
            yield f"{where} was {old}, is {new}"
    elif old != new:
        yield f"{where} was {old!r}, is {new!r}"


def _maps(old: Any, new: Any, where: str) -> Iterator[str]:
    for key, value in old.items():
        if key not in new or (isinstance(value, str | int) and new[key] != value):
            yield f"{where}[{key!r}] was {value!r}, is {new.get(key)!r}"


def _tensors(old: Any, new: Any, where: str) -> Iterator[str]:
    """Compare what ModelInfer answers in bytes, as the outputs beside it say what they are."""
    if len(old.raw_output_contents) != len(new.raw_output_contents):
        yield f"{where} had {len(old.raw_output_contents)} tensors, has {len(new.raw_output_contents)}"
        return
    contents = zip(old.outputs, old.raw_output_contents, new.raw_output_contents, strict=True)
    for index, (output, before, after) in enumerate(contents):
        read = _words if output.datatype == "BYTES" else _numbers
        olds, news = read(before), read(after)
        if len(olds) != len(news):
            yield f"{where}[{index}] had {len(olds)} values, has {len(news)}"
        for (value, label), (other, other_label) in zip(olds, news, strict=False):
            if abs(value - other) > TOLERANCE or label != other_label:
                yield f"{where}[{index}] had {value}:{label}, has {other}:{other_label}"


def _numbers(data: bytes) -> list[tuple[float, str]]:
    return [(value, "") for (value,) in struct.iter_unpack("<f", data)]


def _words(data: bytes) -> list[tuple[float, str]]:
    """``value:index:label``, each behind its length."""
    found = []
    while data:
        (size,) = struct.unpack_from("<I", data)
        value, _, label = data[4 : 4 + size].decode().partition(":")
        found.append((float(value), label))
        data = data[4 + size :]
    return found
