"""Describes the messages of a protocol's generated code, so that two versions can be compared.

Run by the interpreter of the Triton client's environment it prints, as JSON, what that client says; it cannot
be imported where our own code is, since both describe the same names.
"""

from __future__ import annotations

import json
from typing import Any


def describe(*modules: Any) -> dict[str, dict[str, list[Any]]]:
    """Describe every message, enumeration and service of generated modules: its parts by number or name."""
    told: dict[str, dict[str, list[Any]]] = {}
    for module in modules:
        file = module.DESCRIPTOR
        for message in file.message_types_by_name.values():
            _describe_message(message, told)
        for enum in file.enum_types_by_name.values():
            told[enum.full_name] = {str(value.number): [value.name] for value in enum.values}
        for service in file.services_by_name.values():
            told[service.full_name] = {
                method.name: [
                    method.input_type.full_name,
                    method.output_type.full_name,
                    method.client_streaming,
                    method.server_streaming,
                ]
                for method in service.methods
            }
    return told


def _describe_message(message: Any, told: dict[str, dict[str, list[Any]]]) -> None:
    told[message.full_name] = {
        str(field.number): [
            field.name,
            field.type,
            field.is_repeated,
            field.message_type and field.message_type.full_name,
            field.enum_type and field.enum_type.full_name,
            field.containing_oneof and field.containing_oneof.name,
        ]
        for field in message.fields
    }
    for enum in message.enum_types:
        told[enum.full_name] = {str(value.number): [value.name] for value in enum.values}
    for inner in message.nested_types:
        _describe_message(inner, told)


if __name__ == "__main__":
    from tritonclient.grpc import model_config_pb2, service_pb2

    print(json.dumps(describe(service_pb2, model_config_pb2)))
