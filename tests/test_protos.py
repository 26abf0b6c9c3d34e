"""Messages stay compatible with the last release; checked without buf."""

from __future__ import annotations

import zipfile
from typing import TYPE_CHECKING

from google.protobuf import descriptor_pb2 as d

from cifar10net.pb import classifier_pb2, inference_pb2

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def _promises(file: d.FileDescriptorProto) -> Iterator[str]:
    """List what clients rely on, a line each: methods, fields by number, enum values."""
    for service in file.service:
        for method in service.method:
            takes = f"{method.client_streaming} {method.input_type}"
            gives = f"{method.server_streaming} {method.output_type}"
            yield f"rpc {file.package}.{service.name}/{method.name} {takes} {gives}"
    for message in file.message_type:
        yield from _of_message(message, f"{file.package}.{message.name}")
    for enum in file.enum_type:
        yield from _of_enum(enum, file.package)


def _of_message(message: d.DescriptorProto, name: str) -> Iterator[str]:
    for field in message.field:
        group = message.oneof_decl[field.oneof_index].name if field.HasField("oneof_index") else ""
        kind = f"{field.type} {field.type_name} {field.label} {group}"
        yield f"field {name}.{field.number} {field.name} {kind}"
    for nested in message.nested_type:
        yield from _of_message(nested, f"{name}.{nested.name}")
    for enum in message.enum_type:
        yield from _of_enum(enum, name)


def _of_enum(enum: d.EnumDescriptorProto, scope: str) -> Iterator[str]:
    for value in enum.value:
        yield f"enum {scope}.{enum.name} {value.number} {value.name}"


def _now() -> set[str]:
    files = (classifier_pb2.DESCRIPTOR, inference_pb2.DESCRIPTOR)
    return {
        promise
        for file in files
        for promise in _promises(d.FileDescriptorProto.FromString(file.serialized_pb))
    }


def _released(root: Path) -> set[str]:
    kept = d.FileDescriptorSet.FromString((root / "proto" / "released.binpb").read_bytes())
    return {promise for file in kept.file for promise in _promises(file)}


def test_nothing_that_was_released_is_gone_or_changed(root: Path) -> None:
    released = _released(root)

    assert sorted(released - _now()) == []
    assert "field cifar10net.v1.ClassScore.3 probability 2  1 " in released
    assert any(promise.startswith("rpc cifar10net.v1.Classifier/ClassifyStream True") for promise in released)
    assert "enum cifar10net.v1.Priority 2 PRIORITY_BULK" in released


def test_the_wheel_has_the_proto_files(root: Path, wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        for name in ("cifar10net/v1/classifier.proto", "inference/inference.proto"):
            assert archive.read(f"cifar10net/proto/{name}") == (root / "proto" / name).read_bytes()
