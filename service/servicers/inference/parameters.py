"""What clients say beside tensors: named values of one of several types.

In: a map of InferParameter. Out: the value of a name in the type that it must have. Knows no name.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from service.errors import InvalidRequestError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cifar10net.pb import inference_pb2 as pb

_WHOLE_NUMBERS = {"int64_param", "uint64_param"}


def whole_number(parameters: Mapping[str, pb.InferParameter], name: str, where: str) -> int | None:
    """Find a number that is not negative; None if it is not given.

    Args:
        parameters: what the client gave.
        name: of the parameter.
        where: it was given, such as ``outputs[0]``; for messages.

    Raises:
        InvalidRequestError: the value is negative or of another type.
    """
    if name not in parameters:  # asking a message map for what is not there would put it there
        return None
    parameter = parameters[name]
    kind = parameter.WhichOneof("parameter_choice")
    if kind not in _WHOLE_NUMBERS:
        raise _wrong_type(name, where, kind, "int64_param")
    value: int = getattr(parameter, kind)
    if value < 0:
        raise InvalidRequestError(f"{where} has {name} {value}, expected a number that is not negative")
    return value


def text(parameters: Mapping[str, pb.InferParameter], name: str, where: str) -> str | None:
    """Find a text, as ``whole_number`` finds a number."""
    if name not in parameters:
        return None
    parameter = parameters[name]
    kind = parameter.WhichOneof("parameter_choice")
    if kind != "string_param":
        raise _wrong_type(name, where, kind, "string_param")
    return parameter.string_param


def _wrong_type(name: str, where: str, kind: str | None, wanted: str) -> InvalidRequestError:
    return InvalidRequestError(f"{where} has {name} as {kind or 'nothing'}, expected {wanted}")
