"""ModelInfer and ModelStreamInfer of a real server: each rule of the proto, and requests that break it."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import grpc
import numpy as np
import pytest

from cifar10net import Client
from cifar10net.pb import inference_pb2 as pb
from tests.service.colours import COLOURS, expected_probabilities
from tests.service.servicers.inference.requests import (
    SERVICE,
    infer_request,
    numbers,
    output,
    parameters,
    strings,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.inference_stub import InferenceStub

    Stub = InferenceStub

ONE = np.zeros((1, 32, 32, 3), np.uint8)
Tensor = pb.ModelInferRequest.InferInputTensor
Contents = pb.InferTensorContents


def _tensor(**fields: Any) -> pb.ModelInferRequest.InferInputTensor:
    return Tensor(**{"name": "images", "datatype": "UINT8", "shape": ONE.shape, **fields})


def _refusal(stub: Stub, request: pb.ModelInferRequest) -> tuple[str, str]:
    with pytest.raises(grpc.RpcError) as caught:
        stub.ModelInfer(request, timeout=60)
    return caught.value.code().name, str(caught.value.details())


def test_a_tensor_is_answered_by_the_probabilities_of_each_image(stub: Stub, coloured: np.ndarray) -> None:
    response = stub.ModelInfer(infer_request(coloured, id="a name"), timeout=60)

    assert (response.model_name, response.model_version, response.id) == ("colours", "1", "a name")
    assert np.allclose(numbers(response), expected_probabilities(coloured), atol=1e-5)


def test_contents_are_answered_as_raw_contents_are(stub: Stub, coloured: np.ndarray) -> None:
    images = np.concatenate([coloured[:10], np.full_like(ONE, 255), ONE])
    tensor = _tensor(shape=images.shape, contents=Contents(uint_contents=images.ravel().tolist()))

    response = stub.ModelInfer(infer_request(images, inputs=[tensor], raw_input_contents=[]), timeout=60)

    assert response == stub.ModelInfer(infer_request(images), timeout=60)


def test_other_models_and_versions_answer_when_asked(stub: Stub) -> None:
    response = stub.ModelInfer(infer_request(ONE, "shades", model_version="3"), timeout=60)

    assert (response.model_name, response.model_version) == ("shades", "3")


def test_4096_images_fit_in_one_request(stub: Stub, coloured: np.ndarray) -> None:
    images = np.resize(coloured, (4096, 32, 32, 3))

    answer = numbers(stub.ModelInfer(infer_request(images), timeout=60))

    assert np.array_equal(answer.argmax(axis=1), np.arange(4096) % 90 % 3)


@pytest.mark.parametrize(("classes", "given_back"), [(1, 1), (2, 2), (3, 3), (2**63 - 1, 3)])
def test_a_classification_names_the_best_classes(
    stub: Stub, address: str, coloured: np.ndarray, classes: int, given_back: int
) -> None:
    request = infer_request(coloured, outputs=[output(classification=classes)])

    found = strings(stub.ModelInfer(request, timeout=60))

    with Client(address) as client:
        expected = [
            [f"{each.probability:.6f}:{COLOURS.index(each.label)}:{each.label}" for each in result.classes]
            for result in client.classify(coloured, top_k=given_back)
        ]
    assert found == expected


def test_a_named_output_without_parameters_is_the_same_as_none(stub: Stub) -> None:
    named = infer_request(ONE, outputs=[output()])

    assert stub.ModelInfer(named, timeout=60) == stub.ModelInfer(infer_request(ONE), timeout=60)


def test_reserved_and_unknown_parameters_are_ignored(stub: Stub) -> None:
    request = infer_request(
        ONE,
        parameters=parameters(
            {
                "triton_enable_empty_final_response": False,
                "triton_anything": "?",
                "sequence_id": 7,
                "sequence_start": True,
                "headers": "x",
                "my_own": "value",
                "priority": 1,
                "timeout": 60_000_000,
            }
        ),
        inputs=[_tensor(parameters=parameters({"binary_data_size": 3072}))],
        outputs=[output(binary_data=True)],
    )

    assert numbers(stub.ModelInfer(request, timeout=60)).shape == (1, 3)


@pytest.mark.parametrize(
    ("fields", "code", "message"),
    [
        ({"model_name": ""}, "INVALID_ARGUMENT", "names no model"),
        ({"model_name": "none"}, "NOT_FOUND", "'none'; there are: colours, shades"),
        ({"model_version": "7"}, "NOT_FOUND", "no version '7'"),
        ({"inputs": []}, "INVALID_ARGUMENT", "has no input, expected 'images' alone"),
        ({"inputs": [_tensor(name="x")]}, "INVALID_ARGUMENT", "1 inputs: 'x', expected 'images' alone"),
        ({"inputs": [_tensor()] * 2}, "INVALID_ARGUMENT", "2 inputs: 'images', 'images', expected 'images'"),
        (
            {"inputs": [_tensor()] * 9},
            "INVALID_ARGUMENT",
            "9 inputs: 'images', 'images', 'images', 'images', ...",
        ),
        ({"inputs": [_tensor(datatype="FP32")]}, "INVALID_ARGUMENT", "datatype 'FP32', expected 'UINT8'"),
        ({"inputs": [_tensor(datatype="BYTES")]}, "INVALID_ARGUMENT", "datatype 'BYTES', expected 'UINT8'"),
        (
            {"inputs": [_tensor(shape=[32, 32, 3])]},
            "INVALID_ARGUMENT",
            "shape [32,32,3], expected [n,32,32,3]",
        ),
        ({"inputs": [_tensor(shape=[1, 3, 32, 32])]}, "INVALID_ARGUMENT", "shape [1,3,32,32], expected"),
        ({"inputs": [_tensor(shape=[1, 32, 32, 3, 1])]}, "INVALID_ARGUMENT", "shape [1,32,32,3,1], expected"),
        ({"inputs": [_tensor(shape=[1] * 9)]}, "INVALID_ARGUMENT", "[1,1,1,1,1,1,1,1,...], expected"),
        ({"inputs": [_tensor(shape=[])]}, "INVALID_ARGUMENT", "shape [], expected"),
        ({"inputs": [_tensor(shape=[0, 32, 32, 3])]}, "INVALID_ARGUMENT", "and n from 1 to 4,096"),
        ({"inputs": [_tensor(shape=[-1, 32, 32, 3])]}, "INVALID_ARGUMENT", "and n from 1 to 4,096"),
        ({"inputs": [_tensor(shape=[4097, 32, 32, 3])]}, "INVALID_ARGUMENT", "and n from 1 to 4,096"),
        ({"raw_input_contents": []}, "INVALID_ARGUMENT", "the request has none"),
        ({"raw_input_contents": [bytes(3072)] * 2}, "INVALID_ARGUMENT", "2 entries of raw_input_contents"),
        ({"raw_input_contents": [bytes(3071)]}, "INVALID_ARGUMENT", "raw_input_contents[0] has 3,071 bytes"),
        (
            {"raw_input_contents": [b""]},
            "INVALID_ARGUMENT",
            "has 0 bytes, expected 3,072 for shape [1,32,32,3]",
        ),
        (
            {"inputs": [_tensor(contents=Contents(uint_contents=[0]))]},
            "INVALID_ARGUMENT",
            "the request has raw_input_contents and contents",
        ),
        ({"outputs": [output("x")]}, "INVALID_ARGUMENT", "outputs[0] is 'x', expected 'probabilities'"),
        ({"outputs": [output(), output("x")]}, "INVALID_ARGUMENT", "outputs[1] is 'x'"),
        ({"outputs": [output(), output()]}, "INVALID_ARGUMENT", "requested 2 times, expected once"),
        (
            {"outputs": [output(classification=0)]},
            "INVALID_ARGUMENT",
            "classification 0, expected at least 1",
        ),
        ({"outputs": [output(classification=-1)]}, "INVALID_ARGUMENT", "classification -1"),
        (
            {"outputs": [output(classification="3")]},
            "INVALID_ARGUMENT",
            "as string_param, expected int64_param",
        ),
        (
            {"outputs": [output(classification=True)]},
            "INVALID_ARGUMENT",
            "as bool_param, expected int64_param",
        ),
        ({"parameters": parameters({"priority": -1})}, "INVALID_ARGUMENT", "the request has priority -1"),
        ({"parameters": parameters({"priority": "high"})}, "INVALID_ARGUMENT", "priority as string_param"),
        ({"parameters": parameters({"timeout": -5})}, "INVALID_ARGUMENT", "the request has timeout -5"),
        ({"parameters": {"timeout": pb.InferParameter()}}, "INVALID_ARGUMENT", "timeout as nothing"),
        ({"parameters": parameters({"timeout": 1})}, "DEADLINE_EXCEEDED", ""),
    ],
)
def test_a_request_that_breaks_a_rule_is_refused_with_a_reason(
    stub: Stub, fields: dict[str, Any], code: str, message: str
) -> None:
    request = infer_request(ONE)
    for name in fields:
        request.ClearField(name)  # type: ignore[arg-type]
    request.MergeFrom(pb.ModelInferRequest(**fields))

    got_code, got_message = _refusal(stub, request)

    assert got_code == code
    assert message in got_message


@pytest.mark.parametrize(
    ("contents", "message"),
    [
        (Contents(), "empty contents, expected uint_contents"),
        (Contents(int_contents=[0] * 3072), "has int_contents, expected uint_contents"),
        (Contents(uint_contents=[0], fp32_contents=[0]), "has uint_contents and fp32_contents, expected"),
        (Contents(bytes_contents=[bytes(3072)]), "has bytes_contents, expected uint_contents"),
        (Contents(uint_contents=[0] * 3071), "has 3,071 uint_contents, expected 3,072 for shape [1,32,32,3]"),
        (Contents(uint_contents=[0] * 3071 + [256]), "has 256 among its uint_contents, expected 0 to 255"),
    ],
)
def test_contents_that_are_no_images_are_refused(
    stub: Stub, contents: pb.InferTensorContents, message: str
) -> None:
    code, got = _refusal(stub, infer_request(ONE, inputs=[_tensor(contents=contents)], raw_input_contents=[]))

    assert code == "INVALID_ARGUMENT"
    assert message in got


def test_many_images_must_be_sent_raw(stub: Stub) -> None:
    tensor = _tensor(shape=[257, 32, 32, 3], contents=Contents(uint_contents=[0] * 257 * 3072))

    code, message = _refusal(stub, infer_request(ONE, inputs=[tensor], raw_input_contents=[]))

    assert code == "INVALID_ARGUMENT"
    assert "257 images in contents, expected at most 256" in message


@pytest.mark.parametrize(
    "request_",
    [
        infer_request(ONE, inputs=[_tensor()] * 2_000),
        infer_request(ONE, outputs=[output()] * 20_000),
        infer_request(ONE, raw_input_contents=[b""] * 20_000),
        infer_request(ONE, parameters=parameters({f"{number}": 1 for number in range(2_000)})),
        infer_request(ONE, inputs=[_tensor(parameters=parameters({f"{i}": 1 for i in range(2_000)}))]),
        infer_request(ONE, inputs=[_tensor(shape=[1] * 20_000)]),
        infer_request(ONE, inputs=[_tensor(contents=Contents(int64_contents=[1] * 20_000))]),
        infer_request(ONE, inputs=[_tensor(contents=Contents(bytes_contents=[b""] * 20_000))]),
    ],
    ids=lambda request: f"{request.ByteSize()} bytes",
)
def test_a_message_that_would_take_many_times_its_size_is_refused_unparsed(
    stub: Stub, request_: pb.ModelInferRequest
) -> None:
    code, message = _refusal(stub, request_)

    assert code == "INVALID_ARGUMENT"
    assert "more than 1,000 fields" in message or "expected at most 1,024" in message


@pytest.mark.parametrize("compression", [grpc.Compression.Gzip, grpc.Compression.Deflate])
def test_compressed_requests_are_accepted(stub: Stub, compression: grpc.Compression) -> None:
    request = infer_request(np.zeros((100, 32, 32, 3), np.uint8))

    assert numbers(stub.ModelInfer(request, timeout=60, compression=compression)).shape == (100, 3)


# -- streams


def _requests(coloured: np.ndarray, sizes: list[int]) -> Iterator[pb.ModelInferRequest]:
    for number, size in enumerate(sizes):
        yield infer_request(coloured[:size], id=f"number {number}")


def test_a_stream_is_answered_in_the_order_of_its_requests(stub: Stub, coloured: np.ndarray) -> None:
    sizes = [1, 90, 3, 1, 45, 2] * 20

    replies = list(stub.ModelStreamInfer(_requests(coloured, sizes), timeout=60))

    assert [reply.error_message for reply in replies] == [""] * len(sizes)
    assert [reply.infer_response.id for reply in replies] == [f"number {i}" for i in range(len(sizes))]
    assert all(reply.infer_response.parameters["triton_final_response"].bool_param for reply in replies)
    expected = expected_probabilities(coloured)
    for size, reply in zip(sizes, replies, strict=True):
        assert np.allclose(numbers(reply.infer_response), expected[:size], atol=1e-5)


def test_an_error_in_a_stream_is_one_requests_and_the_stream_goes_on(stub: Stub) -> None:
    requests = [
        infer_request(ONE, id="good"),
        infer_request(ONE, id="lost", model="none"),
        infer_request(ONE, id="short", raw_input_contents=[b"1"]),
        infer_request(ONE, id="late", parameters=parameters({"timeout": 1})),
        infer_request(ONE, id="good too"),
    ]

    replies = list(stub.ModelStreamInfer(iter(requests), timeout=60))

    assert [reply.infer_response.id for reply in replies] == [request.id for request in requests]
    assert [len(reply.infer_response.outputs) for reply in replies] == [1, 0, 0, 0, 1]
    errors = [reply.error_message for reply in replies]
    assert [bool(error) for error in errors] == [False, True, True, True, False]
    assert "no model is called 'none'" in errors[1]
    assert "1 bytes, expected 3,072" in errors[2]
    assert all(reply.infer_response.parameters["triton_final_response"].bool_param for reply in replies)


def test_junk_in_a_stream_is_that_messages_error(channel: grpc.Channel) -> None:
    call: grpc.StreamStreamMultiCallable[bytes, bytes] = channel.stream_stream(f"{SERVICE}/ModelStreamInfer")
    good = infer_request(ONE, id="good").SerializeToString()

    answers = call(iter([good, b"\xff\xff", good]), timeout=60)

    replies = [pb.ModelStreamInferResponse.FromString(answer) for answer in answers]
    assert [reply.infer_response.id for reply in replies] == ["good", "", "good"]
    assert "not the method's request message" in replies[1].error_message


def test_a_stream_that_is_cancelled_leaves_others_alone(stub: Stub) -> None:
    for _ in range(20):
        call = stub.ModelStreamInfer((infer_request(ONE) for _ in itertools.count()), timeout=60)
        next(call)
        call.cancel()

    assert len(list(stub.ModelStreamInfer(iter([infer_request(ONE)] * 9), timeout=60))) == 9
