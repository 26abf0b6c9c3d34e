"""Read typed values from a map of InferParameter."""

from __future__ import annotations

from typing import TYPE_CHECKING

from service.errors import InvalidRequestError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cifar10net.pb import inference_pb2 as pb

_INTEGERS = {"int64_param", "uint64_param"}


def int_parameter(parameters: Mapping[str, pb.InferParameter], name: str, where: str) -> int | None:
    """Return an integer that is not negative; None if it is absent.

    Args:
        parameters: of the request or of a tensor.
        name: of the parameter.
        where: what the parameters belong to, for messages: ``output probabilities``.

    Raises:
        InvalidRequestError: the value is negative or of another type.
    """
    if name not in parameters:  # indexing a message map inserts a missing key
        return None
    parameter = parameters[name]
    kind = parameter.WhichOneof("parameter_choice")
    if kind not in _INTEGERS:
        raise _wrong_type(name, where, kind, "int64_param")
    value: int = getattr(parameter, kind)
    if value < 0:
        raise InvalidRequestError(f"{where} has {name} {value}, expected 0 or more")
    return value


def str_parameter(parameters: Mapping[str, pb.InferParameter], name: str, where: str) -> str | None:
    """Return a string, as ``int_parameter`` does an integer."""
    if name not in parameters:
        return None
    parameter = parameters[name]
    kind = parameter.WhichOneof("parameter_choice")
    if kind != "string_param":
        raise _wrong_type(name, where, kind, "string_param")
    return parameter.string_param


def _wrong_type(name: str, where: str, kind: str | None, wanted: str) -> InvalidRequestError:
    return InvalidRequestError(f"{where} has {name} as {kind or 'nothing'}, expected {wanted}")
