"""Any bytes sent to any method are answered, or refused as the caller's fault."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cifar10net.pb import inference_pb2 as pb
from tests.service.servicers.inference.requests import SERVICE, infer_request

if TYPE_CHECKING:
    import grpc
    from google.protobuf.message import Message

CALLERS_FAULT = {
    "INVALID_ARGUMENT",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "FAILED_PRECONDITION",
    "DEADLINE_EXCEEDED",
}
METHODS = pb.DESCRIPTOR.services_by_name["GRPCInferenceService"].methods
UNARY = [method.name for method in METHODS if not method.client_streaming]
_many = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

_texts = st.sampled_from(["", "colours", "images", "probabilities", "UINT8", "1", "x", "../x"]) | st.text(
    max_size=9
)
_keys = st.sampled_from(
    ["priority", "timeout", "classification", "shared_memory_region", "shared_memory_byte_size", "other"]
)
_values = st.one_of(
    st.builds(pb.InferParameter),
    st.builds(pb.InferParameter, int64_param=st.integers(-(2**63), 2**63 - 1)),
    st.builds(pb.InferParameter, uint64_param=st.integers(0, 2**64 - 1)),
    st.builds(pb.InferParameter, string_param=_texts),
    st.builds(pb.InferParameter, bool_param=st.booleans()),
)
_parameters = st.dictionaries(_keys, _values, max_size=3)
_shapes = st.sampled_from([[1, 32, 32, 3], [2, 32, 32, 3]]) | st.lists(
    st.integers(-(2**63), 2**63 - 1), max_size=5
)
_contents = st.builds(
    pb.InferTensorContents,
    uint_contents=st.lists(st.integers(0, 2**32 - 1), max_size=5),
    bytes_contents=st.lists(st.binary(max_size=5), max_size=3),
)
_inputs = st.builds(
    pb.ModelInferRequest.InferInputTensor,
    name=_texts,
    datatype=_texts,
    shape=_shapes,
    parameters=_parameters,
    contents=st.none() | _contents,
)
_outputs = st.builds(pb.ModelInferRequest.InferRequestedOutputTensor, name=_texts, parameters=_parameters)
_raw = st.sampled_from([bytes(3072), bytes(6144), b""]) | st.binary(max_size=50)
_requests = st.builds(
    pb.ModelInferRequest,
    model_name=_texts,
    model_version=_texts,
    id=st.text(max_size=5),
    parameters=_parameters,
    inputs=st.lists(_inputs, max_size=2),
    outputs=st.lists(_outputs, max_size=2),
    raw_input_contents=st.lists(_raw, max_size=2),
)
_image = np.zeros((1, 32, 32, 3), np.uint8)
_nearly_right = st.builds(
    lambda fields: _changed(fields),  # noqa: PLW0108 - defined below
    st.fixed_dictionaries(
        {},
        optional={
            "parameters": _parameters,
            "outputs": st.lists(_outputs, max_size=2),
            "raw_input_contents": st.lists(_raw, max_size=2),
        },
    ),
)


def _changed(fields: dict[str, Any]) -> pb.ModelInferRequest:
    return infer_request(_image, **fields)


@_many
@given(request_=_requests | _nearly_right)
def test_any_request_for_answers_is_answered_or_refused(
    channel: grpc.Channel, request_: pb.ModelInferRequest
) -> None:
    call: grpc.UnaryUnaryMultiCallable[Message, bytes] = channel.unary_unary(
        f"{SERVICE}/ModelInfer", request_serializer=type(request_).SerializeToString
    )

    outcome = call.future(request_, timeout=60)

    if outcome.exception() is None:
        response = pb.ModelInferResponse.FromString(outcome.result())
        assert len(response.outputs) == len(response.raw_output_contents) == 1
        assert response.id == request_.id
    else:
        assert outcome.code().name in CALLERS_FAULT, outcome.details()


@pytest.mark.parametrize("method", UNARY)
@_many
@given(data=st.binary(max_size=60))
def test_any_bytes_are_answered_or_refused(channel: grpc.Channel, method: str, data: bytes) -> None:
    call: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(f"{SERVICE}/{method}")

    outcome = call.future(data, timeout=60)

    assert outcome.exception() is None or outcome.code().name in CALLERS_FAULT, outcome.details()


@_many
@given(messages=st.lists(st.binary(max_size=60), max_size=5))
def test_any_bytes_in_a_stream_have_an_answer_each(channel: grpc.Channel, messages: list[bytes]) -> None:
    call: grpc.StreamStreamMultiCallable[bytes, bytes] = channel.stream_stream(f"{SERVICE}/ModelStreamInfer")

    answers = [pb.ModelStreamInferResponse.FromString(answer) for answer in call(iter(messages), timeout=60)]

    assert len(answers) == len(messages)
    assert all(answer.error_message for answer in answers)
